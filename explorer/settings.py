"""What the page asks for, and its answer in closed form: the plans of every strategy, and phases.

Nothing is trained. Students of the latents of a VAE get the closed form of ``compare_strategies``
(its column w2_squared_predicted), with the shrinkage of whole gradient steps. Students of given
variances get that of ``plan_merges``, with the shrinkage of gradient flow.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import NoiseSchedule
from diffusion.schedule_choice import ScheduleFlags, choose_noise_schedule
from distill.law import decay_rates, train_time
from planner.budget import Budget, BudgetKind
from planner.effort import Effort
from planner.parametrisation import Parametrisation
from planner.plan_all import plan_every_strategy
from planner.plan_set import PlanSet
from planner.problem import Problem, make_problem
from planner.regimes import plan_kinds, sweep

Array = NDArray[np.float64]

LR = 1e-3
"""Learning rate of the students, the default of ``compare_strategies``."""
KEEP_A_SIGNAL = ("scaled_linear", "edm")
"""Schedules with alpha_T > 0. The page rescales them, so that all faces start from unit noise."""
EFFORT = Effort(solvers=("greedy",))
"""The other joint solvers take too long for a page that follows a slider."""
PHASE_VARIANCES = np.geomspace(0.02, 8.0, 80)
PHASE_STEPS = np.geomspace(1.0, 1_000.0, 40)
"""Gradient steps per merge of the rows of the phase diagram; the theory takes fractions too."""


@dataclass(frozen=True)
class Setting:
    """One question: a teacher, its data, and the training of the students."""

    num_steps: int
    """T, the teacher's steps."""
    schedule: str
    variances: tuple[float, ...]
    steps_per_merge: int
    """Gradient steps per merge; under a total budget those of a plan that makes T - 1 merges."""
    budget: BudgetKind
    students: Parametrisation
    student_steps: int
    """K, the steps of the student."""
    vae_latents: bool
    """Whether the variances are those of the latents of the VAE."""

    @property
    def train_time(self) -> float:
        """The training time s: that of every merge, or the total."""
        merges = max(1, self.num_steps - 1) if self.budget == "total" else 1
        return train_time(LR, self.steps_per_merge * merges)

    def problem(self) -> Problem:
        """The planning problem.

        Raises:
            ValueError: schedule, variances or students cannot be used.
        """
        return make_problem(
            noise_schedule(self.schedule, self.num_steps), np.array(self.variances), self.students
        )

    def command(self, vae: Path | None, latents: Path | None, seed: int) -> str:
        """The command line whose run gives the same plans."""
        chosen = self.students
        flags: dict[str, object] = {
            "num-steps": self.num_steps,
            "schedule": self.schedule,
            "parametrisation": chosen.kind,
            "student-steps": self.student_steps,
        }
        if chosen.kind == "denoiser":
            flags |= {"loss": chosen.loss, "prediction": chosen.prediction}
        if self.vae_latents and chosen.law == "gradient_flow":
            given = {"vae": vae, "latents": latents}
            flags |= {name: path for name, path in given.items() if path is not None}
            flags |= {"budgets": self.budget, "steps-per-merge": self.steps_per_merge, "seed": seed}
            command = "compare_strategies"
        else:
            flags |= {"budget": self.budget, "train-time": f"{self.train_time:.12g}"}
            flags |= {"law": chosen.law}
            flags |= {"variances": " ".join(f"{variance:.12g}" for variance in self.variances)}
            command = "plan_merges"
        words = [f"--{name} {value}" for name, value in flags.items()]
        words += ["--zero-snr"] if _flags(self.schedule).zero_snr else []
        return " ".join(["mergelab", command, *words, "--out runs/explored"])


@lru_cache(maxsize=8)
def noise_schedule(name: str, num_steps: int) -> NoiseSchedule:
    """The schedule of T steps; one that keeps a signal at T is rescaled, as by --zero-snr.

    Raises:
        ValueError: the schedule has fewer steps.
    """
    return choose_noise_schedule(_flags(name), num_steps)


def _flags(schedule: str) -> ScheduleFlags:
    return ScheduleFlags(schedule=schedule, zero_snr=schedule in KEEP_A_SIGNAL)


@lru_cache(maxsize=128)
def plans_of(setting: Setting) -> PlanSet:
    """The plans of all strategies, with the operators that their students end with.

    Raises:
        ValueError: as ``Setting.problem``, or K is above T.
    """
    discrete = setting.vae_latents and setting.students.law == "gradient_flow"
    return plan_every_strategy(
        setting.problem(),
        Budget(
            setting.train_time, setting.budget, partial(decay_rates, lr=LR) if discrete else None
        ),
        student_steps=setting.student_steps,
        effort=EFFORT,
    )


@lru_cache(maxsize=16)
def phases(num_steps: int, schedule: str, students: Parametrisation) -> NDArray[np.str_]:
    """The kind of the optimal plan of one step, with equal training per merge.

    Returns:
        ``planner.regimes.plan_kinds``, (len(PHASE_STEPS), len(PHASE_VARIANCES)).

    Raises:
        ValueError: schedule or students cannot be used.
    """
    found = noise_schedule(schedule, num_steps)
    rows = []
    for steps in PHASE_STEPS:
        swept = sweep(found, PHASE_VARIANCES, train_time(LR, 1) * steps, students)
        rows.append(plan_kinds(swept.canonical, swept.optimum))
    return np.stack(rows)
