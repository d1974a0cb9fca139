"""The sampler part of docs/errata.md, in NumPy alone; see ``tests.errata_oracles``.

Data is N(mean, V) in one dimension. A grid of half log-SNRs ("level") rises from noise to data;
a = alpha**2 is 1 / (1 + exp(-2 level)), as in the lecture.
"""

from collections.abc import Callable

import numpy as np

from tests.errata_oracles import Row, shows

MEAN, VARIANCE = 0.7, 0.25
LOW, HIGH = -3.0, 3.0  # ends of the grids


def scales(half_log_snr):
    """alpha and sigma."""
    return 1 / np.sqrt(1 + np.exp(-2 * half_log_snr)), 1 / np.sqrt(1 + np.exp(2 * half_log_snr))


def exact_eps(z, half_log_snr, mean=MEAN, variance=VARIANCE):
    """E[eps | z]."""
    alpha, sigma = scales(half_log_snr)
    return sigma * (z - alpha * mean) / (alpha**2 * variance + sigma**2)


# One step from level to level + h. ``eps``, ``last``: at z and at the step before, h times r apart.


def ddim(z, eps, last, level, h, r):
    (alpha, _), (alpha_u, sigma_u) = scales(level), scales(level + h)
    return alpha_u / alpha * z - sigma_u * np.expm1(h) * eps


def first_line_of_53(z, eps, last, level, h, r):
    (alpha, sigma), (alpha_u, _) = scales(level), scales(level + h)
    return alpha_u / alpha * z - (alpha_u - alpha) / sigma * eps


def euler(z, eps, last, level, h, r):
    sigma = scales(level)[1]
    return z + h * (sigma**2 * z - sigma * eps)


def euler_as_printed(z, eps, last, level, h, r):
    (alpha, sigma), (alpha_u, _) = scales(level), scales(level + h)
    drift, pull = (alpha_u / alpha - 1) / h, alpha_u - alpha  # (46), (47)
    return z + h * (drift * z - pull / sigma * eps)


def two_step_eps(z, eps, last, level, h, r):
    step = ddim(z, eps, last, level, h, r)
    return step - scales(level + h)[1] * np.expm1(h) * (eps - last) / (2 * r) if r else step


def two_step_x(z, eps, last, level, h, r):
    (alpha, sigma), (alpha_u, sigma_u) = scales(level), scales(level + h)
    x = (z - sigma * eps) / alpha
    if r:
        x = x + (x - last) / (2 * r)
    return sigma_u / sigma * z - alpha_u * np.expm1(-h) * x


STEPS: dict[str, Callable] = {
    "DDIM, (54)": ddim,
    "Euler, corrected": euler,
    "Euler, (55) as printed": euler_as_printed,
    "first line of (53)": first_line_of_53,
    "2M, eps": two_step_eps,
    "2M, x₀": two_step_x,
}


def end_error(step: Callable, grid: np.ndarray, keep_ratio: bool = True) -> float:
    """|error| of the endpoint, from one standard deviation above the mean, exact eps."""
    alpha, sigma = scales(grid)
    deviation = np.sqrt(alpha**2 * VARIANCE + sigma**2)
    z = alpha[0] * MEAN + deviation[0]
    last, r = 0.0, 0.0  # no step before the first
    for k, h in enumerate(np.diff(grid)):
        eps = exact_eps(z, grid[k])
        kept = (z - sigma[k] * eps) / alpha[k] if step is two_step_x else eps
        if k:
            r = (grid[k] - grid[k - 1]) / h if keep_ratio else 1.0
        z = step(z, eps, last, grid[k], h, r)
        last = kept
    return float(abs(z - alpha[-1] * MEAN - deviation[-1]))


def uneven(num_steps: int) -> np.ndarray:
    """Steps that alternate in the ratio 1 : 2."""
    steps = np.where(np.arange(num_steps) % 2, 2.0, 1.0)
    return LOW + (HIGH - LOW) * np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])


@shows("L-7", 1)
def endpoints(row: Row) -> dict[str, float]:
    step = STEPS[row["scheme"]]
    errors = {n: end_error(step, np.linspace(LOW, HIGH, n + 1)) for n in (20, 80, 320, 640)}
    order = np.log2(errors[320] / errors[640])
    return {f"{n} steps": errors[n] for n in (20, 80, 320)} | {"order": order}


@shows("L-7", 2)
def uneven_endpoints(row: Row) -> dict[str, float]:
    keep = row["ratio r"] == "kept"
    assert keep or row["ratio r"] == "taken for 1"
    coarse, fine = (end_error(STEPS[row["scheme"]], uneven(n), keep) for n in (320, 640))
    return {"640 steps": fine, "order": np.log2(coarse / fine)}


@shows("L-3")
def drift(row: Row) -> dict[str, float]:
    h, level = float(row["h"]), 0.3
    (alpha, sigma), (alpha_u, sigma_u) = scales(level), scales(level + h)
    return {
        "(46)": (alpha_u / alpha - 1) / h,
        "(47)": alpha_u - alpha,
        "corrected (47)": sigma * sigma_u * np.expm1(h) / h,
        "1 - a": sigma**2,
    }


def from_a(a: float) -> float:
    """Half log-SNR."""
    return 0.5 * np.log(a / (1 - a))


@shows("L-4")
def chain(row: Row) -> dict[str, float]:
    low, high = float(row["a_k"]), float(row["a_{k+1}"])
    h = from_a(high) - from_a(low)
    direct = np.sqrt(1 - high) - np.sqrt(high * (1 - low) / low)
    assert abs(direct + np.sqrt(1 - high) * np.expm1(h)) < 1e-15
    return {
        "first line of (53)": -(np.sqrt(high) - np.sqrt(low)) / np.sqrt(1 - low),
        "coefficient of eps": direct,
    }


@shows("L-7", 0)
def printed_coefficient(row: Row) -> dict[str, float]:
    """(62) with phi_1, and what the coefficient of (56) must be: O(h)."""
    h, level = float(row["h"]), 0.3
    (alpha, _), (alpha_u, sigma_u) = scales(level), scales(level + h)
    phi_1 = np.expm1(h) / h
    printed = sigma_u - alpha_u / alpha * phi_1
    return {"b₀ of (62)": printed, "b₀": -sigma_u * np.expm1(h)}


@shows("L-7", 3)
def printed_step(row: Row) -> dict[str, float]:
    low, high = float(row["a_k"]), float(row["a_{k+1}"])
    return {
        "e^h of (64)": np.sqrt(high / low),
        "e^h": np.exp(from_a(high) - from_a(low)),
    }


def gaussian_kl(variance: float, other: float, shift: float = 0.0) -> float:
    """KL(N(shift, variance) || N(0, other))."""
    excess = variance / other - 1
    return 0.5 * (excess - np.log1p(excess) + shift**2 / other)


@shows("L-6", 0)
def kl_of_a_velocity_error(row: Row) -> dict[str, float]:
    """One step of length h with w against one without, from q = N(0, V)."""
    h, V = 1e-4, float(row["V"])
    if row["w"] == "0.7 z":
        exact = gaussian_kl(V * (1 + 0.7 * h) ** 2, V)
        # sym(Sigma^-1/2 C Sigma^1/2) = 0.7, and E|w|^2 = 0.49 V.
        return {"KL / h²": exact / h**2, "corrected": 0.49, "(35)": 0.49 * V / 2}
    assert row["w"] == "0.7"
    exact = gaussian_kl(V, V, 0.7 * h)
    return {"KL / h²": exact / h**2, "corrected": 0.49 / V / 2, "(35)": 0.49 / 2}


@shows("L-6", 1)
def local_kl_of_ddim(row: Row) -> dict[str, float]:
    """DDIM with the exact score, V = 1, level = 0.5: output variance against the marginal's."""
    h, level, V = float(row["h"]), 0.5, 1.0
    ends = np.array([level, level + h])
    alpha, sigma = scales(ends)
    n = alpha**2 * V + sigma**2
    operator = (alpha[0] * alpha[1] * V + sigma[0] * sigma[1]) / n[0]
    step = ddim(1.0, exact_eps(1.0, level, 0.0, V), 0.0, level, h, 0.0)
    assert abs(step - operator) < 1e-15  # [OM] eq. 14 is [SCH] eq. 54
    kappa = alpha[0] * sigma[0] * np.sqrt(V) / n[0]
    return {"KL / h⁴": gaussian_kl(operator**2 * n[0], n[1]) / h**4, "κ⁴/4": kappa**4 / 4}


@shows("L-6", 2)
def local_kl_exponents(row: Row) -> dict[str, float]:
    """KL of one step, V = 0.25, level = 0.2, the step before exact."""
    level, V = 0.2, VARIANCE
    step = STEPS[row["scheme"]]

    def kl(h: float) -> float:
        before, now, after = (scales(point) for point in (level - h, level, level + h))
        n = [alpha**2 * V + sigma**2 for alpha, sigma in (before, now, after)]
        z_before, z = np.sqrt(n[0] / n[1]), 1.0  # on one exact path
        eps, last = exact_eps(z, level, 0.0, V), exact_eps(z_before, level - h, 0.0, V)
        if step is two_step_x:
            last = (z_before - before[1] * last) / before[0]
        return gaussian_kl(step(z, eps, last, level, h, 1.0) ** 2 * n[1], n[2])

    return {"exponent of h": np.log2(kl(0.05) / kl(0.025)), "2p + 2": 2 * int(row["order p"]) + 2}


@shows("L-8")
def dropped_drift(row: Row) -> dict[str, float]:
    """Proposition 9.1's sampler on data of variance 1, whose marginals all have variance 1."""
    a = scales(np.linspace(-4, 4, int(row["steps"]) + 1))[0] ** 2
    with_drift = without = 1.0
    for rho in a[:-1] / a[1:]:
        noise = 1 - rho
        without = (without + noise) / rho
        mean_factor = (1 - noise) / np.sqrt(rho)  # xi + delta^2 grad log q = (1 - delta^2) xi
        with_drift = mean_factor**2 * with_drift + noise  # the exact variance beta m_{k+1} / m_k
    return {"variance without drift": without, "with drift": with_drift}


@shows("L-9")
def forward_steps_compose(row: Row) -> dict[str, float]:
    cleaner, noisier = float(row["a_k"]), float(row["a_{k-1}"])
    share = noisier / cleaner
    return {
        "noise of both steps": share * (1 - cleaner) + 1 - share,
        "1 - a_{k-1}": 1 - noisier,
        "a_{k-1} - a_k": noisier - cleaner,
    }


@shows("L-10", 0)
def posterior_of_a_point(row: Row) -> dict[str, float]:
    """Data is the point x = 1.7, so the reverse step is Gaussian; by Bayes' rule."""
    x, z, a, a_u = 1.7, 0.4, 0.3, 0.45
    rho = a / a_u
    # z_u ~ N(sqrt(a_u) x, 1 - a_u) and z | z_u ~ N(sqrt(rho) z_u, 1 - rho).
    precision = 1 / (1 - a_u) + rho / (1 - rho)
    mean = (np.sqrt(a_u) * x / (1 - a_u) + np.sqrt(rho) * z / (1 - rho)) / precision
    eps = (z - np.sqrt(a) * x) / np.sqrt(1 - a)
    return {
        "exact (Bayes)": {"mean": mean, "variance": 1 / precision},
        "corrected (80), (84)": {
            "mean": z / np.sqrt(rho) - (a_u - a) / np.sqrt(a * a_u * (1 - a)) * eps,
            "variance": (1 - rho) * (1 - a_u) / (1 - a),
        },
        "as printed": {"mean": np.sqrt(a_u) * x, "variance": 1 - a_u / a},
    }[row["step"]]


def ancestral_variance(kind: str, num_steps: int, V: float) -> float:
    """Relative error of the final variance, level from -4 to 4, exact score: linear maps."""
    a = scales(np.linspace(-4, 4, num_steps + 1))[0] ** 2
    n = a * V + 1 - a
    variance = n[0]
    for k, rho in enumerate(a[:-1] / a[1:]):
        beta = 1 - rho
        of_eps = np.sqrt(1 - a[k]) / n[k]  # eps = of_eps z
        small = beta * (1 - a[k + 1]) / (1 - a[k])
        factor = (1 - beta / np.sqrt(1 - a[k]) * of_eps) / np.sqrt(rho)
        noise = {"large": beta, "small": small, "exact": beta * n[k + 1] / n[k]}.get(kind, beta)
        if kind == "DDIM plus noise":
            h = from_a(a[k + 1]) - from_a(a[k])
            factor = 1 / np.sqrt(rho) - np.sqrt(1 - a[k + 1]) * np.expm1(h) * of_eps
        if kind == "printed mean":
            factor = np.sqrt(a[k + 1] / a[k]) * (1 - np.sqrt(1 - a[k]) * of_eps)
        variance = factor**2 * variance + noise
    return float(variance / n[-1] - 1)


KINDS = {
    "β": "large",
    "β̃": "small",
    "β n_{k+1}/n_k": "exact",
    "(79): mean of x₀ alone, β": "printed mean",
    "(54) plus noise β": "DDIM plus noise",
}


@shows("L-10", 1)
def ancestral(row: Row) -> dict[str, float]:
    kind, V = KINDS[row["variance of the noise"]], float(row["V"])
    return {f"{n} steps": ancestral_variance(kind, n, V) for n in (20, 80, 320)}


@shows("L-10", 2)
def euler_ancestral(row: Row) -> dict[str, float]:
    """k-diffusion's Euler a in sigma / alpha, beside DDPM's small variance."""
    a, a_u = float(row["a_k"]), float(row["a_{k+1}"])
    q, q_u = np.sqrt((1 - a) / a), np.sqrt((1 - a_u) / a_u)
    up = q_u**2 * (q**2 - q_u**2) / q**2
    rho = a / a_u
    z, eps = 0.4, -0.9
    down = np.sqrt(q_u**2 - up)
    stepped = np.sqrt(a_u) * (z / np.sqrt(a) + (down - q) * eps)
    mean = z / np.sqrt(rho) - (1 - rho) / np.sqrt(rho * (1 - a)) * eps
    assert abs(stepped - mean) < 1e-14
    return {"Euler a": a_u * up, "β̃": (1 - rho) * (1 - a_u) / (1 - a), "β": 1 - rho}


@shows("L-11")
def bracket(row: Row) -> dict[str, float]:
    u, d = float(row["σ₁/σ₂"]), 3
    return {
        "KL": d * gaussian_kl(u**2, 1.0),
        "corrected (77)": 0.5 * 2 * d * (u - 1) ** 2,
        "(77) as printed": 0.5 * (u - 1) ** 2,
    }
