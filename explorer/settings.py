"""What the page asks for, and its answer in closed form: the plans of every strategy, and phases.

Nothing is trained. Students of latents get the closed form of ``compare_strategies`` (its column
w2_squared_predicted), with the shrinkage of whole gradient steps. Students of given variances, and
those for which gradient steps would diverge, get that of ``plan_merges``, with the shrinkage of
gradient flow.
"""

import shlex
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseSchedule
from diffusion.schedule_choice import ScheduleFlags, choose_noise_schedule, find_schedule
from distill.jobs import steps_per_merge
from distill.law import decay_rates, operators_after, refuse_unstable, train_time
from planner.budget import Budget, BudgetKind, Stage
from planner.effort import Effort
from planner.parametrisation import Parametrisation
from planner.plan_all import plan_every_strategy
from planner.plan_set import PlanSet, StrategyPlans
from planner.problem import Problem, make_problem
from planner.regimes import plan_kinds, sweep

Array = NDArray[np.float64]

LR = 1e-3
"""Learning rate of the students, the default of ``compare_strategies``."""
EFFORT = Effort(solvers=("greedy",))
"""The other joint solvers take too long for a page that follows a slider."""
PHASE_VARIANCES = np.geomspace(0.02, 8.0, 80)
PHASE_STEPS = np.geomspace(1.0, 1_000.0, 40)
"""Gradient steps per merge of the rows of the phase diagram; the theory takes fractions too."""


class ScheduleChoice(NamedTuple):
    """A noise schedule by its name or file. A file that changes is another choice."""

    name: str
    """One of ``SCHEDULES``, or a file."""
    changed: int = 0
    """When the file was last changed, in nanoseconds; 0 for a name."""


@dataclass(frozen=True)
class Setting:
    """One question: a teacher, its data, and the training of the students."""

    num_steps: int
    """T, the teacher's steps."""
    schedule: ScheduleChoice
    variances: tuple[float, ...]
    steps_per_merge: int
    """Gradient steps per merge; under a total budget those of a plan that makes T - 1 merges."""
    budget: BudgetKind
    students: Parametrisation
    student_steps: int
    """K, the steps of the student."""
    of_latents: bool
    """Whether the variances are those of the latents."""

    @property
    def train_time(self) -> float:
        """The training time s: that of every merge, or the total."""
        merges = max(1, self.num_steps - 1) if self.budget == "total" else 1
        return train_time(LR, self.steps_per_merge * merges)

    def problem(self) -> Problem:
        """The planning problem.

        Raises:
            FileNotFoundError, ValueError: schedule, variances or students cannot be used.
        """
        schedule = noise_schedule(self.schedule, self.num_steps)
        return make_problem(schedule, np.array(self.variances), self.students)

    @property
    def takes_steps(self) -> bool:
        """Whether the students take whole gradient steps, as those of ``compare_strategies``.

        The others, those for which these steps would diverge among them, follow gradient flow.

        Raises:
            FileNotFoundError, ValueError: as ``problem``.
        """
        return self.of_latents and self.students.law == "gradient_flow" and not self.diverges

    @property
    def diverges(self) -> bool:
        """Whether gradient steps of the learning rate ``LR`` would diverge.

        Raises:
            FileNotFoundError, ValueError: as ``problem``.
        """
        problem = self.problem()
        try:
            refuse_unstable(LR, problem)
        except ValueError:
            return True
        return False

    def command(self, vae: Path | None, latents: Path | None, seed: int) -> str:
        """The command line whose run gives the same plans."""
        chosen = self.students
        flags: dict[str, object] = {
            "num-steps": self.num_steps,
            "schedule": self.schedule.name,
            "parametrisation": chosen.kind,
            "student-steps": self.student_steps,
        }
        if chosen.kind == "denoiser":
            flags |= {"loss": chosen.loss, "prediction": chosen.prediction}
        if self.takes_steps:
            given = {"vae": vae, "latents": latents}
            flags |= {name: path for name, path in given.items() if path is not None}
            flags |= {"budgets": self.budget, "steps-per-merge": self.steps_per_merge, "seed": seed}
            command = "compare_strategies"
        else:
            flags |= {"budget": self.budget, "train-time": self.train_time, "law": chosen.law}
            command = "plan_merges"
        words = [f"--{name} {shlex.quote(str(value))}" for name, value in flags.items()]
        if not self.takes_steps:
            words.append("--variances " + " ".join(map(str, self.variances)))
        words += ["--zero-snr"] if keeps_a_signal(self.schedule) else []
        line = " ".join(["mergelab", command, *words])
        # Each command has a folder of its own, so that a second one is not refused.
        return f"{line} --out runs/explored_{sha256(line.encode()).hexdigest()[:6]}"


@lru_cache(maxsize=64)
def keeps_a_signal(schedule: ScheduleChoice) -> bool:
    """Whether a schedule has alpha_T > 0. The page rescales it, as --zero-snr does.

    All faces then start from the same unit noise.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it holds no schedule.
    """
    return bool(find_schedule(schedule.name, 2).alpha[-1] > 0)


@lru_cache(maxsize=8)
def noise_schedule(schedule: ScheduleChoice, num_steps: int) -> NoiseSchedule:
    """T steps of a schedule; one that keeps a signal at T is rescaled.

    Raises:
        FileNotFoundError, ValueError: as ``keeps_a_signal``, or it has fewer steps.
    """
    flags = ScheduleFlags(schedule=schedule.name, zero_snr=keeps_a_signal(schedule))
    return choose_noise_schedule(flags, num_steps, "T =")


@lru_cache(maxsize=128)
def plans_of(setting: Setting) -> PlanSet:
    """The plans of all strategies, with the operators that their students end with.

    Raises:
        FileNotFoundError, ValueError: as ``Setting.problem``, or K is above T.
    """
    return plan_every_strategy(
        setting.problem(),
        Budget(
            setting.train_time,
            setting.budget,
            partial(decay_rates, lr=LR) if setting.takes_steps else None,
        ),
        student_steps=setting.student_steps,
        effort=EFFORT,
    )


@lru_cache(maxsize=128)
def students_of(setting: Setting) -> PlanSet:
    """The plans with the operators and errors of students that take whole gradient steps.

    The planner divides an equal total evenly, and gradient steps are integers. Elsewhere nothing
    differs from ``plans_of``.

    Raises:
        FileNotFoundError, ValueError: as ``plans_of``.
    """
    planned = plans_of(setting)
    if setting.budget == "per_merge" or not setting.takes_steps:
        return planned
    problem = setting.problem()
    stage = Stage(setting.budget, setting.steps_per_merge, setting.student_steps)

    def trained(own: StrategyPlans) -> StrategyPlans:
        steps = steps_per_merge(own.plans, stage)
        operator = operators_after(problem, own.plans, problem.second_moments, LR, steps)
        error = float(problem.distance(operator, problem.target))
        return replace(own, operator=operator, w2_squared=error)

    strategies = {name: trained(own) for name, own in planned.strategies.items()}
    return replace(planned, strategies=strategies)


@lru_cache(maxsize=16)
def phases(num_steps: int, schedule: ScheduleChoice, students: Parametrisation) -> NDArray[np.str_]:
    """The kind of the optimal plan of one step, with equal training per merge.

    Returns:
        ``planner.regimes.plan_kinds``, (len(PHASE_STEPS), len(PHASE_VARIANCES)).

    Raises:
        FileNotFoundError, ValueError: schedule or students cannot be used.
    """
    found = noise_schedule(schedule, num_steps)
    rows = []
    for steps in PHASE_STEPS:
        swept = sweep(found, PHASE_VARIANCES, train_time(LR, 1) * steps, students)
        rows.append(plan_kinds(swept.canonical, swept.optimum))
    return np.stack(rows)
