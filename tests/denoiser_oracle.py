"""Denoiser students written apart from the planner: gradient steps, and the value of any plan."""

import itertools

import numpy as np

from diffusion.schedule import NoiseSchedule
from planner.plan import Plan

LOSSES = ("x_0", "z", "v")
PREDICTIONS = ("x_0", "v")


def random_schedule(num_steps: int, rng: np.random.Generator) -> NoiseSchedule:
    """Random angles between clean data and pure noise."""
    angle = np.concatenate([[0.0], np.sort(rng.uniform(0, np.pi / 2, num_steps - 1)), [np.pi / 2]])
    alpha, sigma = np.cos(angle), np.sin(angle)
    alpha[-1] = 0.0
    return NoiseSchedule(alpha, sigma)


def ddim(schedule: NoiseSchedule, b: int, u: int, x_0: float, x_b: float = 1.0) -> float:
    """x_u from x_b and an estimate of x_0, through the estimate of eps."""
    eps = (x_b - schedule.alpha[b] * x_0) / schedule.sigma[b]
    return float(schedule.alpha[u] * x_0 + schedule.sigma[u] * eps)


def estimate(schedule: NoiseSchedule, b: int, u: int, jump: float) -> float:
    """The estimate of x_0 with which ``ddim`` goes from x_b = 1 to x_u = ``jump``."""
    at_0, at_1 = (ddim(schedule, b, u, x_0) for x_0 in (0.0, 1.0))
    return (jump - at_0) / (at_1 - at_0)


def teacher(schedule: NoiseSchedule, variance: float, t: int) -> float:
    """x_{t-1} that the exact denoiser reaches from x_t = 1."""
    alpha, sigma = schedule.alpha[t], schedule.sigma[t]
    return ddim(schedule, t, t - 1, alpha * variance / (alpha**2 * variance + sigma**2))


def train(schedule, variance, b, u, initial, target, loss, prediction, step, num_steps, sign=False):
    """Value after plain (or sign) gradient steps on the exact second moment; no closed form.

    The parameter is the coefficient of what is predicted: x_0 = theta x_b or v = theta x_b.

    Args:
        initial, target: Estimate of x_0 to start with, and the jump x_b -> x_u to reach.
    """
    alpha, sigma = schedule.alpha[b], schedule.sigma[b]
    moment = alpha**2 * variance + sigma**2

    def x_0_of(theta: float) -> float:
        return theta if prediction == "x_0" else alpha - sigma * theta

    def error(theta: float) -> float:
        x_0, wanted = x_0_of(theta), estimate(schedule, b, u, target)
        if loss == "x_0":
            return x_0 - wanted
        if loss == "z":
            return ddim(schedule, b, u, x_0) - target
        v, wanted_v = ((alpha - value) / sigma for value in (x_0, wanted))
        return v - wanted_v

    theta = initial if prediction == "x_0" else (alpha - initial) / sigma
    for _ in range(num_steps):
        slope = error(theta + 1.0) - error(theta)  # the error is affine
        gradient = 2.0 * moment * error(theta) * slope
        theta -= step * (np.sign(gradient) if sign else gradient)
    return ddim(schedule, b, u, x_0_of(theta))


def weight(schedule, b, u, loss, prediction):
    """Squared derivative of the loss quantity by the prediction, by differences."""
    alpha, sigma = schedule.alpha[b], schedule.sigma[b]
    x_0_slope = 1.0 if prediction == "x_0" else sigma
    jump_slope = ddim(schedule, b, u, 1.0) - ddim(schedule, b, u, 0.0)
    slope = {"x_0": 1.0, "z": jump_slope, "v": (alpha - 1.0) / sigma - alpha / sigma}[loss]
    return (slope * x_0_slope) ** 2


def value(plan: Plan, schedule, variance, loss, prediction, law, time_of, gaps=None):
    """The plan's value by recursion; ``time_of`` gives the training time of a merge.

    ``gaps`` collects, for every merge, target minus start.
    """
    if not plan.parts:
        return teacher(schedule, variance, plan.start)
    b, u = plan.start, plan.stop
    parts = [
        value(part, schedule, variance, loss, prediction, law, time_of, gaps) for part in plan.parts
    ]
    target, noisiest = float(np.prod(parts)), plan.parts[0]
    start = ddim(schedule, b, u, estimate(schedule, b, noisiest.stop, parts[0]))
    if gaps is not None:
        gaps.append(target - start)
    if law == "constant_speed":
        most = time_of(plan) * (1.0 if prediction == "x_0" else schedule.sigma[b])
        most *= ddim(schedule, b, u, 1.0) - ddim(schedule, b, u, 0.0)
        return start + float(np.clip(target - start, -most, most))
    moment = schedule.alpha[b] ** 2 * variance + schedule.sigma[b] ** 2
    g = np.exp(-2.0 * time_of(plan) * moment * weight(schedule, b, u, loss, prediction))
    return float((1.0 - g) * target + g * start)


CASES = [
    *itertools.product(LOSSES, PREDICTIONS, ["gradient_flow"]),
    *itertools.product(["x_0"], PREDICTIONS, ["constant_speed"]),
]
