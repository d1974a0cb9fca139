"""The planning problem: the teacher's steps, the target of the students, and how far they train.

Two products of operators recur everywhere. The *composite* is the product of all teacher steps:
what the teacher itself does from noise to data. The *surrogate* is the target of [OM]: the
composite without those steps that contract (A_t < 1) where the variance is above 1
(``diffusion.gaussian.surrogate_composite``). Students of the parametrisation ``operator`` are
compared with the surrogate, as in [OM], and those of ``denoiser`` with the composite.

The teacher starts from x_T = sqrt(n_T) z, z ~ N(0, I), the Gaussian that the data become at t = T.
Where the schedule ends in pure noise, n_T = 1. Elsewhere distances of outputs weigh the coordinates
by n_T, and images are decoded from sqrt(n_T) z (``Problem.on_unit_noise``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diffusion.gaussian import ddim_operators, noised_variances, surrogate_composite
from diffusion.schedule import NoiseLevels, TeacherSchedule
from planner.parametrisation import (
    OPERATOR,
    Parametrisation,
    ddim_coefficients,
    loss_weights,
    x_0_by_prediction,
)
from planner.plan import Plan
from planner.value import plan_operator, trained_operator, w2_squared

Array = NDArray[np.float64]
Columns = NDArray[np.intp] | NDArray[np.bool_]
"""Some of the coordinates: their indices, or a mask (d,)."""
Decay = Callable[[Array], Array]
"""n_b w -> the rate r of the shrinkage exp(-2 s r), elementwise. Gradient flow has r = n_b w."""

SHRINKAGE_ROUNDING = 1e-12
"""Relative rounding of shrinkages: at lam = 1 all g_t are equal and must not seem to rise."""


@dataclass(frozen=True, eq=False)
class Problem:
    """T teacher steps on d independent centred Gaussian coordinates; see ``make_problem``."""

    schedule: NoiseLevels
    variances: Array
    """lam of the data, (d,)."""
    second_moments: Array
    """n_t, the variance of x_t, (T, d); row t - 1 belongs to t."""
    operators: Array
    """Teacher steps A_t, (T, d); row t - 1 belongs to t."""
    surrogate: Array
    """S, (d,)."""
    parametrisation: Parametrisation = OPERATOR
    """What the students consist of and how they train."""
    start_deviations: Array | None = None
    """sqrt(n_T), (d,); None for the start at unit noise."""

    @property
    def num_steps(self) -> int:
        """T, the number of teacher steps."""
        return len(self.operators)

    def on_unit_noise(self, operator: Array) -> Array:
        """The operator as a function of z, where x_T = sqrt(n_T) z: sqrt(n_T) a, (..., d)."""
        return on_unit_noise(operator, self.start_deviations)

    def distance(self, operator: Array, target: Array) -> Array:
        """Squared W2 between the outputs of two operators that start from x_T, (..., d) -> (...).

        W2**2 = sum_i n_T (S_i - a_i)**2
        """
        return w2_squared(self.on_unit_noise(operator), self.on_unit_noise(target))

    @property
    def composite(self) -> Array:
        """C, the product of all teacher steps, (d,)."""
        composite: Array = self.operators.prod(axis=0)
        return composite

    @property
    def target(self) -> Array:
        """The operator that students are compared with, (d,): S for ``operator``, else C."""
        return self.surrogate if self.parametrisation.kind == "operator" else self.composite

    @property
    def direction(self) -> Array:
        """-1.0 where a smaller operator is better, else +1.0, (d,); see ``better_direction``."""
        return better_direction(self.variances)

    @cached_property
    def coefficients(self) -> tuple[Array, Array]:
        """r and k of the DDIM jumps, (T + 1, T + 1) each, at [b, u]."""
        return ddim_coefficients(self.schedule)

    @cached_property
    def weights(self) -> Array:
        """w of the loss of every jump, (T + 1, T + 1), at [b, u]; 1 for ``operator``."""
        return loss_weights(self.schedule, self.parametrisation)

    def initial(self, start: int, cut: int, stop: int, first: Array) -> Array:
        """Operator that the student of the merge x_start -> x_stop begins with, (..., d).

        Args:
            cut: Where the noisiest part x_start -> x_cut ends.
            first: Operator of that part, (..., d).
        """
        if self.parametrisation.kind == "operator":
            return first
        ratio, factor = self.coefficients
        estimate = (first - ratio[start, cut]) / factor[start, cut]
        initial: Array = ratio[start, stop] + factor[start, stop] * estimate
        return initial

    def operator_of(self, plan: Plan, shrinkage_of: Callable[[Plan], Array | float]) -> Array:
        """Operator of the student that ``plan`` ends with, (..., d), where shrinkages are known.

            value = (1 - g) prod(parts) + g (the operator that the student begins with)

        Args:
            shrinkage_of: merge -> its g, (..., d); called once per merge.
        """

        def train(merge: Plan, first: Array, product: Array) -> Array:
            g = shrinkage_of(merge)
            initial = self.initial(merge.start, merge.parts[0].stop, merge.stop, first)
            return (1.0 - g) * product + g * initial

        return trained_operator(plan, self.operators, train)

    def select(self, columns: Columns) -> "Problem":
        """The same problem for some of the coordinates."""
        return replace(
            self,
            variances=self.variances[columns],
            second_moments=self.second_moments[:, columns],
            operators=self.operators[:, columns],
            surrogate=self.surrogate[columns],
            start_deviations=selected(self.start_deviations, columns),
        )

    def section(self, start: int, stop: int) -> "Problem":
        """The problem of the teacher steps between x_start and x_stop alone.

        Its times count from 0 at x_stop. It does not end with clean data unless ``stop`` is 0.
        Coordinates have equal weights, because other steps of the student stand around it.
        """
        return make_problem(
            self.schedule.section(start, stop), self.variances, self.parametrisation
        )

    def trained(
        self, train_time: float, decay: Decay | None = None
    ) -> "MergeProblem | DenoiserProblem":
        """The problem of planning merges that each train for ``train_time``.

        Args:
            decay: n_b w -> the rate of decay. Without it, the rate is n_b w, that of gradient flow.

        Raises:
            ValueError: ``train_time`` is not a finite number above 0.
        """
        if self.parametrisation.kind == "operator":
            return self.with_training(train_time, decay and decay(self.second_moments))
        check_train_time(train_time)
        return DenoiserProblem(self, train_time, decay)

    def with_training(self, train_time: float, rates: Array | None = None) -> "MergeProblem":
        """The problem of planning merges of operators that each train for ``train_time``.

        Args:
            rates: r_t of the shrinkages exp(-2 s r_t), (T, d). Without them r_t is n_t, the rate
                of gradient flow.

        Raises:
            ValueError: ``train_time`` is not a finite number above 0.
        """
        rates = self.second_moments if rates is None else rates
        return self.with_shrinkage(shrinkage_of(rates, train_time))

    def with_shrinkage(self, shrinkage: Array) -> "MergeProblem":
        """The problem of planning merges of operators with these shrinkages g_t, (T, d)."""
        return MergeProblem(
            self.variances, self.operators, self.surrogate, shrinkage, self.start_deviations
        )


@dataclass(frozen=True, eq=False)
class MergeProblem:
    """Merges of operators that train for a known time: what their planners need to know."""

    variances: Array
    """lam of the data, (d,)."""
    operators: Array
    """Teacher steps A_t, (T, d); row t - 1 belongs to t."""
    surrogate: Array
    """S, the target of the students, (d,)."""
    shrinkage: Array
    """g_t, (T, d): the share of the way to its target that a merge starting at t leaves undone."""
    start_deviations: Array | None = None
    """sqrt(n_T), (d,); None for the start at unit noise."""

    @property
    def num_steps(self) -> int:
        """T, the number of teacher steps."""
        return len(self.operators)

    @property
    def direction(self) -> Array:
        """-1.0 where a smaller operator is better, else +1.0, (d,); see ``better_direction``."""
        return better_direction(self.variances)

    def select(self, columns: Columns) -> "MergeProblem":
        """The same problem for some of the coordinates."""
        return MergeProblem(
            self.variances[columns],
            self.operators[:, columns],
            self.surrogate[columns],
            self.shrinkage[:, columns],
            selected(self.start_deviations, columns),
        )

    def from_unit_noise(self) -> "MergeProblem":
        """The same problem with x_T = sqrt(n_T) z made part of the first step.

        All blocks that begin at T, and the surrogate, are multiplied by sqrt(n_T), so that their
        plain squared distance is W2**2. No plan becomes better or worse in any coordinate.
        """
        if self.start_deviations is None:
            return self
        operators = self.operators.copy()
        operators[-1] *= self.start_deviations
        surrogate = self.surrogate * self.start_deviations
        return MergeProblem(self.variances, operators, surrogate, self.shrinkage)

    def student_operator(self, plan: Plan) -> Array:
        """Operator of the student that ``plan`` ends with, (d,)."""
        return plan_operator(plan, self.operators, self.shrinkage)


@dataclass(frozen=True, eq=False)
class DenoiserProblem:
    """Merges of denoisers that train for a known time: what their planners need to know.

    Write r and k for the DDIM coefficients of a jump, and let a merge have the noisiest part p_1,
    which jumps from b to m, and the other parts p_2, ..., which jump from m to u.

        c     = (p_1 - r[b, m]) / k[b, m]             estimate of x_0 = c x_b of the noisiest part
        J     = r[b, u] + k[b, u] c                   where the student starts: the long jump
        value = min(P, (1 - g) P + g J + travel),  P = p_1 p_2 ...

    Under gradient flow g = exp(-2 s n_b w) and the travel is 0. At constant speed g = 1 and the
    travel is k times the largest change of c. J never exceeds P (docs/theory.md), so the minimum
    has an effect at constant speed only: there it stops the student at its target.
    """

    problem: Problem
    train_time: float
    decay: Decay | None = None

    @property
    def operators(self) -> Array:
        """Teacher steps A_t, (T, d); row t - 1 belongs to t."""
        return self.problem.operators

    @property
    def num_steps(self) -> int:
        """T, the number of teacher steps."""
        return len(self.operators)

    @property
    def coefficients(self) -> tuple[Array, Array]:
        """r and k, (T + 1, T + 1) each, at [b, u]."""
        return self.problem.coefficients

    def shrinkage(self, start: int, stops: int | slice) -> Array:
        """g of the jumps from x_start to the x_u with u in ``stops``, (..., d)."""
        problem = self.problem
        rates = problem.weights[start, stops][..., None] * problem.second_moments[start - 1]
        if problem.parametrisation.law == "constant_speed":
            return np.ones_like(rates)
        return shrinkage_of(rates if self.decay is None else self.decay(rates), self.train_time)

    def travel(self, start: int, stops: int | slice) -> Array:
        """How far the operators of the jumps to ``stops`` can move at constant speed, (...)."""
        problem = self.problem
        speed = x_0_by_prediction(problem.schedule, problem.parametrisation.prediction)[start]
        moves = problem.parametrisation.law == "constant_speed"
        travel: Array = self.train_time * speed * moves * self.coefficients[1][start, stops]
        return travel

    def merged(self, start: int, cut: int, stop: int, first: Array, product: Array) -> Array:
        """Operator of the student of a merge, (..., d).

        Args:
            cut: Where the noisiest part x_start -> x_cut ends.
            first: Operator of the noisiest part, (..., d).
            product: Product of all parts, (..., d).
        """
        initial = self.problem.initial(start, cut, stop, first)
        g, travel = self.shrinkage(start, stop), self.travel(start, stop)
        value: Array = np.minimum(product, (1.0 - g) * product + g * initial + travel)
        return value

    def student_operator(self, plan: Plan) -> Array:
        """Operator of the student that ``plan`` ends with, (d,)."""

        def train(merge: Plan, first: Array, product: Array) -> Array:
            return self.merged(merge.start, merge.parts[0].stop, merge.stop, first, product)

        return trained_operator(plan, self.operators, train)


def make_problem(
    schedule: NoiseLevels, variances: Array, parametrisation: Parametrisation = OPERATOR
) -> Problem:
    """The problem of a noise schedule and data with these variances, (d,).

    Where the schedule keeps a signal at t = T, the teacher starts from N(0, n_T).

    Raises:
        ValueError: variances are not finite and >= 0.
    """
    operators = ddim_operators(schedule, variances)
    second_moments = noised_variances(schedule, variances)
    keeps_signal = isinstance(schedule, TeacherSchedule) and schedule.alpha[-1] > 0
    return Problem(
        schedule=schedule,
        variances=variances,
        second_moments=second_moments,
        operators=operators,
        surrogate=surrogate_composite(operators, variances),
        parametrisation=parametrisation,
        start_deviations=np.sqrt(second_moments[-1]) if keeps_signal else None,
    )


def on_unit_noise(operator: Array, start_deviations: Array | None) -> Array:
    """sqrt(n_T) times an operator, (..., d); None stands for ones."""
    return operator if start_deviations is None else operator * start_deviations


def selected(start_deviations: Array | None, columns: Columns) -> Array | None:
    """The start deviations of some of the coordinates."""
    return None if start_deviations is None else start_deviations[columns]


def better_direction(variances: Array) -> Array:
    """-1.0 where a smaller operator of a block is better, +1.0 where a larger one is, (d,).

    A block's operator lies at or above the product of its steps where lam <= 1, and at or below
    its part of the surrogate where lam > 1 (ERRATA P-3). So it errs to one known side only.
    """
    return np.where(variances <= 1, -1.0, 1.0)


def shrinkage_of(rates: Array, train_time: float) -> Array:
    """Share of the way to its target that a merge leaves undone, elementwise.

        g = exp(-2 s r)

    [OM] eq. 17, with s = ``train_time``. For operators under gradient flow, r = n_t at start t.

    Args:
        rates: r, of any shape.

    Raises:
        ValueError: ``train_time`` is not a finite number above 0.
    """
    check_train_time(train_time)
    with np.errstate(over="ignore"):  # exp(-inf) is 0, the share to every digit
        return np.exp(-2.0 * (train_time * rates))


def check_train_time(train_time: float) -> None:
    """Refuse a training time that is not a finite number above 0.

    Raises:
        ValueError: with the time.
    """
    if not (np.isfinite(train_time) and train_time > 0):
        raise ValueError(f"train_time must be a finite number above 0, got {train_time}")
