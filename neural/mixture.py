"""How well few gated affine pieces approximate a mixture teacher's composite, in one dimension.

Data are two equally likely Gaussians at -m and m with total variance m**2 + s0**2 = 1, so that the
separation m / s0 is their only parameter. Composites of DDIM steps are computed on a fine grid, so
every expectation is a sum. A student is a mixture of K affine maps:

    f(x) = sum_k p_k(x) (a_k x + b_k),  p = softmax(u_k x + v_k)

The least error of all such students is the *floor*: no training gets below it. Fits start from
several gates and keep the best, so the computed floors are upper estimates.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseSchedule, cosine_schedule
from experiment.folder import open_run
from experiment.progress import tqdm
from neural.config import MixtureConfig

Array = NDArray[np.float64]

POINTS = 801  # points of the grid; sums over smooth densities converge faster than any power of it
REACH = 8.0  # standard deviations on both sides of the outer means
SLOPES = (0.3, 1.0, 2.0, 4.0, 8.0)  # slopes of the gates that fits start from, per deviation
REACHES = (0.1, 0.5, 1.0, 2.0)  # outermost cuts of these gates, in standard deviations
ITERATIONS = 100  # steps of Levenberg and Marquardt's method
DIFFERENCE = 1e-6  # step of a gate's parameter when the error is differentiated by it
ROUNDING = 1e-20  # floors below are 0 but for the rounding of the fit
MOST_DAMPING = 1e8  # beyond it no step lowers the error


@dataclass(frozen=True)
class TwoModes:
    """Equal Gaussians at -mean and mean, with standard deviation ``spread`` each."""

    separation: float
    """mean / spread, above 0."""

    @property
    def spread(self) -> float:
        """s0, such that the total variance is 1."""
        return float(1.0 / np.sqrt(1.0 + self.separation**2))

    @property
    def mean(self) -> float:
        """The distance m of the modes from 0."""
        return self.separation * self.spread

    def denoise(self, x_t: Array, alpha: float, sigma: float) -> Array:
        """E[x_0 | x_t] = (alpha s0**2 x_t + sigma**2 m tanh(alpha m x_t / n)) / n, (N,)."""
        noised = alpha**2 * self.spread**2 + sigma**2
        side = np.tanh(alpha * self.mean * x_t / noised)
        found: Array = (alpha * self.spread**2 * x_t + sigma**2 * self.mean * side) / noised
        return found

    def grid(self, alpha: float, sigma: float) -> tuple[Array, Array]:
        """Points x_t, (N,), and the probabilities that they stand for, (N,), summing to 1."""
        spread = np.sqrt(alpha**2 * self.spread**2 + sigma**2)
        most = alpha * self.mean + REACH * spread
        points = np.linspace(-most, most, POINTS)
        gaps = (points[:, None] - alpha * self.mean * np.array([-1.0, 1.0])) / spread
        density = np.exp(-0.5 * gaps**2).sum(axis=1)
        return points, density / density.sum()


def composite(schedule: NoiseSchedule, data: TwoModes, x: Array, start: int, stop: int) -> Array:
    """The teacher's DDIM steps x_start -> x_stop, (N,) -> (N,)."""
    for t in range(start, stop, -1):
        alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
        x_0 = data.denoise(x, alpha, sigma)
        eps = (x - alpha * x_0) / sigma
        x = schedule.alpha[t - 1] * x_0 + schedule.sigma[t - 1] * eps
    return x


@dataclass(frozen=True, eq=False)
class Fit:
    """The best student found."""

    student: Array
    """Values of the student on the grid, (N,)."""
    floor: float
    """E|student - composite|**2 / Var(composite)."""


def fit_gated(x: Array, weights: Array, target: Array, gates: int) -> Fit:
    """Least squares over mixtures of ``gates`` affine maps; an upper estimate of the floor.

    Given the gates, the affine maps are a linear regression, so only the 2 (K - 1) numbers of the
    gates are searched, by Levenberg and Marquardt's method from several starts.

    Args:
        x, weights, target: Points, their probabilities, and the composite there, (N,).
    """
    root = np.sqrt(weights)
    centred = target - weights @ target
    variance = float(weights @ centred**2)
    scale = float(np.sqrt(weights @ x**2))

    def regressed(parameters: Array) -> Array:
        """Values of the best affine maps under these gates, (N,)."""
        features = _features(x / scale, parameters)
        solution = np.linalg.lstsq(root[:, None] * features, root * target, rcond=None)[0]
        fitted: Array = features @ solution
        return fitted

    def errors(parameters: Array) -> Array:
        found: Array = root * (regressed(parameters) - target)
        return found

    best = min((_descend(errors, start) for start in _starts(gates)), key=lambda found: found[1])
    return Fit(regressed(best[0]), best[1] / variance)


def _features(x: Array, parameters: Array) -> Array:
    """p_k and p_k x side by side, (N, 2 K); the first gate's logit is 0."""
    slopes, offsets = parameters.reshape(2, -1)
    logits = np.column_stack([np.zeros_like(x), np.outer(x, slopes) + offsets])
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return np.column_stack([shares, shares * x[:, None]])


def _starts(gates: int) -> Iterator[Array]:
    """Gates that cut the line at equal distances; REACHES bounds where the cuts lie."""
    for reach in REACHES:
        cuts = np.linspace(-reach, reach, gates + 1)[1:-1]
        for slope in SLOPES:
            # Logit k exceeds logit k - 1 to the right of cut k.
            yield np.concatenate([slope * np.arange(1, gates), -slope * np.cumsum(cuts)])


def _descend(errors: Callable[[Array], Array], parameters: Array) -> tuple[Array, float]:
    """Levenberg and Marquardt: parameters and the sum of squared errors that they end with."""
    found = errors(parameters)
    loss, damping = float(found @ found), 1e-3
    for _ in range(ITERATIONS if len(parameters) else 0):
        moved = parameters + DIFFERENCE * np.eye(len(parameters))
        slopes = np.column_stack([(errors(row) - found) / DIFFERENCE for row in moved])
        normal, gradient = slopes.T @ slopes, slopes.T @ found
        while damping < MOST_DAMPING:
            damped = normal + damping * np.diag(np.diag(normal) + 1e-12 * np.trace(normal) + 1e-300)
            trial = parameters - np.linalg.lstsq(damped, gradient, rcond=None)[0]
            tried = errors(trial)
            if tried @ tried < loss:
                break
            damping *= 4.0
        else:
            break
        parameters, found, loss = trial, tried, float(tried @ tried)
        damping = max(damping / 8.0, 1e-12)
    return parameters, loss


PIECES = 2  # gates of the students that lengths and separations are compared with

Side = Literal["from_noise", "to_data"]
"""Where a composite of k steps lies: x_T -> x_{T-k}, or x_k -> x_0."""


@dataclass(frozen=True)
class FloorRow:
    """The floor of one composite."""

    num_steps: int
    """T of the cosine schedule."""
    separation: float
    side: Side
    length: int
    """Teacher steps k of the composite."""
    gates: int
    """K; one gate is an affine student."""
    floor: float
    """E|student - composite|**2 / Var(composite)."""
    rms_gain: float
    """Root mean square of |dF/dx| of the teacher's steps that follow, from x_{T-k} to x_0."""
    max_gain: float
    """The largest |dF/dx| of them, over points with a probability above 1e-9."""
    amplification: float
    """E|error at x_0|**2 / E|error of the student|**2 after those steps; nan where there are none,
    or where the error is rounding."""


def measure_floor(
    num_steps: int, separation: float, side: Side, length: int, gates: int
) -> FloorRow:
    """Fit a student to one composite, and let the teacher's remaining steps carry its error on."""
    schedule, data = cosine_schedule(num_steps), TwoModes(separation)
    start = num_steps if side == "from_noise" else length
    stop = start - length
    x, weights = data.grid(float(schedule.alpha[start]), float(schedule.sigma[start]))
    target = composite(schedule, data, x, start, stop)
    fit = fit_gated(x, weights, target, gates)
    rms, most = _gain(schedule, data, stop)
    carried = composite(schedule, data, fit.student, stop, 0)
    gap = carried - composite(schedule, data, target, stop, 0)
    before = float(weights @ (fit.student - target) ** 2)
    is_real = stop > 0 and fit.floor > ROUNDING
    amplified = float(weights @ gap**2) / before if is_real else float("nan")
    return FloorRow(num_steps, separation, side, length, gates, fit.floor, rms, most, amplified)


def study_mixture(config: MixtureConfig) -> list[FloorRow]:
    """Floors over length and separation, over T and over the number of gates.

    Raises:
        ValueError: the run folder cannot be used.
    """
    open_run(config.out, "plot_mixture", config, {}, "cpu")
    whole = config.num_steps
    powers = [2**power for power in range(1, whole.bit_length()) if 2**power < whole]
    # The halves are what the summary is about. Where T is a power of 2 they are among the powers.
    lengths = sorted({*powers, *(whole - power for power in powers), whole // 2, whole})
    finest = max(config.separations)
    cells: dict[tuple[int, float, Side, int, int], None] = {}  # each once, in this order
    for separation in config.separations:
        for length in lengths:
            cells[whole, separation, "from_noise", length, PIECES] = None
            cells[whole, separation, "to_data", length, PIECES] = None
        for gates in config.gates:
            cells[whole, separation, "to_data", whole, gates] = None
    for num_steps in (2**power for power in range(1, whole.bit_length() + 2)):
        cells[num_steps, finest, "to_data", num_steps, PIECES] = None
    return [measure_floor(*cell) for cell in tqdm(cells, unit="fit", desc="floors")]


def _gain(schedule: NoiseSchedule, data: TwoModes, start: int) -> tuple[float, float]:
    """Root mean square and largest slope of the composite x_start -> x_0."""
    if start == 0:
        return 1.0, 1.0
    x, weights = data.grid(float(schedule.alpha[start]), float(schedule.sigma[start]))
    slope = np.abs(np.gradient(composite(schedule, data, x, start, 0), x))
    return float(np.sqrt(weights @ slope**2)), float(slope[weights > 1e-9].max())
