"""What a student consists of and how it trains: parametrisations, losses, predictions and laws.

operator    The paper's students ([OM]). A student is one number per coordinate. The student of a
            merge starts as its noisiest part, the shorter jump.
denoiser    The students of practice. A student estimates x_0 as c x_b and jumps from b to u by the
            DDIM formula (Song, Meng & Ermon 2021, arXiv:2010.02502, eq. 12):

                x_u = r x_b + k c x_b,  r = sigma_u / sigma_b,  k = alpha_u - r alpha_b

            The student of a merge starts with the c of its noisiest part, but makes the long jump.

The *loss* is the squared error of one quantity: the estimate of x_0, the point x_u that the jump
reaches (``z``), or v = alpha_b eps - sigma_b x_0. A network may predict x_0, v or eps; the
*prediction* is the quantity that gradient steps move. Gradient flow on the loss shrinks the
distance to the target by exp(-2 s n_b w), where the weight w is the squared derivative of the loss
quantity by the prediction:

    d loss quantity / d x_0 = 1 (x_0),  k (z),  1 / sigma_b (v; the weight SNR + 1)
    d x_0 / d prediction    = 1 (x_0),  sigma_b (v),  sigma_b / alpha_b (eps)

Adam moves a scalar at constant speed whatever the loss, and stops at the target. Its law is
``constant_speed``: in the time s the prediction travels at most s.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseLevels, Prediction

Array = NDArray[np.float64]

Kind = Literal["operator", "denoiser"]
Loss = Literal["x_0", "z", "v"]
Law = Literal["gradient_flow", "constant_speed"]


@dataclass(frozen=True)
class Parametrisation:
    """How students are made and trained; the module's docstring explains the choices."""

    kind: Kind = "operator"
    loss: Loss | None = None
    """None: x_0 for ``denoiser`` and z for ``operator``."""
    prediction: Prediction = "x_0"
    """What the student's network predicts; for ``denoiser`` only."""
    law: Law = "gradient_flow"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(filter(None, choices))}, got {value!r}"
                )
        if self.loss is None:
            object.__setattr__(self, "loss", "z" if self.kind == "operator" else "x_0")
        if self.prediction == "eps":
            raise ValueError(
                "an eps prediction says nothing about x_0 at alpha_T = 0, where every plan "
                "starts; choose the prediction x_0 or v"
            )
        if self.kind == "operator":
            if self.loss != "z" or self.prediction != "x_0":
                raise ValueError(
                    "a loss other than z and a prediction other than x_0 need the parametrisation "
                    "denoiser; an operator has no estimate of x_0"
                )
            if self.law == "constant_speed":
                raise ValueError(
                    "the law constant_speed needs the parametrisation denoiser; for operator no "
                    "exact planning is known"
                )

    @property
    def target(self) -> str:
        """The operator that students are compared with, by name; see ``planner.problem``."""
        return "surrogate" if self.kind == "operator" else "composite"

    @property
    def text(self) -> str:
        """The parametrisation in a few words, for titles and summaries."""
        if self.kind == "operator":
            return "operator"
        how = "constant speed" if self.law == "constant_speed" else f"{self.loss} loss"
        predicted = "" if self.prediction == "x_0" else f", {self.prediction} predicted"
        return f"denoiser, {how}{predicted}"


CHOICES: dict[str, tuple[str | None, ...]] = {
    "kind": get_args(Kind),
    "loss": (None, *get_args(Loss)),
    "prediction": get_args(Prediction),
    "law": get_args(Law),
}
OPERATOR = Parametrisation()


def ddim_coefficients(schedule: NoiseLevels) -> tuple[Array, Array]:
    """r and k of every DDIM jump x_b -> x_u = r x_b + k xhat_0, (T + 1, T + 1) each, at [b, u].

        r = sigma_u / sigma_b,  k = alpha_u - r alpha_b,  for u < b

    Entries with u >= b are 0.
    """
    alpha, sigma = schedule.alpha, schedule.sigma
    ratio = np.zeros((len(alpha), len(alpha)))
    ratio[1:] = sigma / sigma[1:, None]
    factor = alpha - ratio * alpha[:, None]
    return np.tril(ratio, -1), np.tril(factor, -1)


def operator_by_prediction(
    schedule: NoiseLevels, parametrisation: Parametrisation
) -> tuple[Array, Array]:
    """Offset and slope of every jump x_b -> x_u, (T + 1, T + 1) each, at [b, u].

        operator = offset + slope * coefficient

    The coefficient is that of the prediction: x_0 = coefficient x_b, or v = coefficient x_b, from
    which x_0 = (alpha_b - sigma_b coefficient) x_b. A student of the parametrisation ``operator``
    is the coefficient itself. Entries with u >= b mean nothing.
    """
    ratio, factor = ddim_coefficients(schedule)
    if parametrisation.kind == "operator":
        return np.zeros_like(ratio), np.ones_like(ratio)
    if parametrisation.prediction == "v":
        return ratio + factor * schedule.alpha[:, None], -factor * schedule.sigma[:, None]
    return ratio, factor


def x_0_by_prediction(schedule: NoiseLevels, prediction: Prediction) -> Array:
    """Size of d x_0 / d prediction at each t, (T + 1,): 1 for x_0, sigma_t for v.

    From x_0 = alpha x_t - sigma v, Salimans & Ho 2022 (arXiv:2202.00512), App. D.
    """
    return schedule.sigma if prediction == "v" else np.ones_like(schedule.sigma)


def loss_weights(schedule: NoiseLevels, parametrisation: Parametrisation) -> Array:
    """w of gradient flow, g = exp(-2 s n_b w), for every jump x_b -> x_u, (T + 1, T + 1), [b, u].

        w = (d loss quantity / d x_0 * d x_0 / d prediction)**2

    For ``operator`` w = 1. Entries with u >= b mean nothing.
    """
    _, factor = ddim_coefficients(schedule)
    if parametrisation.kind == "operator":
        return np.ones_like(factor)
    slope = x_0_by_prediction(schedule, parametrisation.prediction)[:, None]
    if parametrisation.loss == "z":
        slope = slope * factor
    elif parametrisation.loss == "v":
        slope = slope / np.where(schedule.sigma > 0, schedule.sigma, 1.0)[:, None]
    return np.broadcast_to(np.square(slope), factor.shape)
