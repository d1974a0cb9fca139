"""Trained students from Python: ``MergePlans.train`` and what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from distill.config import CompareConfig, Engine
from distill.coordinates import centred_rows
from distill.executors import one_thread
from distill.inputs import Inputs, gaussian_inputs, latent_inputs, mean_squares
from distill.jobs import Job, Students, shared_steps, train_by_steps, train_in_closed_form
from distill.law import refuse_unstable, train_time
from distill.results import operator_rounding
from experiment.device import pick_device
from experiment.progress import tqdm
from mergelab._plans import Data, MergePlans, samples, short
from mergelab._table import Table, frame, html_table, one_line
from planner.budget import WHERE
from planner.value import tied_with_lowest

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class TrainedStudents:
    """Students of several plans, trained equally; made by ``MergePlans.train``."""

    plans: MergePlans
    students: dict[str, Students]
    """Strategy -> its student, from the lowest measured error to the highest."""
    gradient_steps: int
    """Gradient steps of every merge, or under a total budget of a plan."""
    lr: float
    inputs: str
    """What students trained on: gaussian or latents."""
    engine: Engine
    """sgd took every gradient step; closed_form computed what they lead to."""

    @property
    def best(self) -> str:
        """The strategy with the lowest measured error; of those that tie, the simplest one.

        Errors tie if they differ by no more than rounding explains. The simplest strategy is the
        one whose coordinates make the fewest merges.
        """
        distance, target = self.plans.problem.distance, self.plans.plan_set.target
        errors = {
            name: float(distance(own.operator, target)) for name, own in self.students.items()
        }
        tied = tied_with_lowest(errors, len(target), operator_rounding(self.engine))
        return min(tied, key=lambda name: self.students[name].merges)

    def errors(self, strategy: str) -> Array:
        """The student's operator minus the target, signed, (d,)."""
        found: Array = self.students[strategy].operator - self.plans.plan_set.target
        return found

    def table(self) -> "pandas.DataFrame | Table":
        """Measured errors beside predicted ones, from the lowest measured error to the highest.

        Returns:
            A DataFrame where pandas is installed, else a ``mergelab.Table``. The columns are
            ``strategy``; ``w2_squared``, measured; ``predicted``, in closed form; ``low`` and
            ``high``, between which 95 % of simulated training runs end; ``merges`` and
            ``gradient_steps`` of the coordinate that takes most.
        """
        return frame(self._table())

    def _table(self) -> Table:
        target = self.plans.plan_set.target
        rows = []
        for name, found in self.students.items():
            low, high = np.quantile(found.w2_squared_runs, [0.025, 0.975])
            rows.append(
                (
                    name,
                    float(self.plans.problem.distance(found.operator, target)),
                    float(self.plans.problem.distance(found.predicted, target)),
                    float(low),
                    float(high),
                    found.merges,
                    found.gradient_steps,
                )
            )
        columns = ("strategy", "w2_squared", "predicted", "low", "high", "merges", "gradient_steps")
        return Table(columns, tuple(rows), self._title)

    @property
    def _title(self) -> str:
        plans = self.plans.plan_set
        where = WHERE[plans.budget]
        how = "" if self.engine == "sgd" else " in closed form"
        inputs = "Gaussian inputs" if self.inputs == "gaussian" else self.inputs
        return (
            f"Trained students: T = {plans.num_steps}, {len(plans.variances):,} coordinates, "
            f"{self.gradient_steps:,} gradient steps {where}{how} on {inputs}; "
            f"W2² to the {plans.parametrisation.target}"
        )

    def __repr__(self) -> str:
        rows = [
            (f"  {one_line(str(name))}", f"{measured:.4e}", f"predicted {predicted:.4e}")
            for name, measured, predicted, *_ in self._table().rows
        ]
        return short([self._title], rows, [True, False, False])

    def _repr_html_(self) -> str:
        return html_table(self._table())

    def plot(self) -> "Figure":
        """Measured errors beside predicted ones and beside what simulated training runs give."""
        from report.trained import draw_trained

        return draw_trained(self.students, self.plans.problem)

    def sample(
        self,
        noise: ArrayLike | Tensor | None = None,
        *,
        strategy: str | None = None,
        count: int = 8,
        seed: int = 0,
    ) -> Array:
        """Samples of a trained student, as ``MergePlans.sample`` makes them of planned ones.

        Args:
            strategy: A strategy's name, or "teacher"; default: the best.
        """
        operators = {name: found.operator for name, found in self.students.items()}
        return samples(self.plans, operators, noise, strategy or self.best, count, seed)


def train(
    plans: MergePlans,
    strategies: Sequence[str] | None,
    lr: float,
    batch_size: int,
    seed: int,
    inputs: str,
    engine: str,
    device: str,
) -> TrainedStudents:
    """See ``MergePlans.train``."""
    plan_set, problem = plans.plan_set, plans.problem
    chosen = list(plans.strategies if strategies is None else strategies)
    if not chosen:
        raise ValueError(f"strategies must be one or more of {', '.join(plans.strategies)}")
    for name in chosen:
        if name not in plans.strategies:
            raise ValueError(f"strategy {name!r} is none of {', '.join(plans.strategies)}")
    _refuse(plans, inputs, engine)
    # Refuses what compare_strategies refuses, in the same words.
    CompareConfig(out=Path(), lr=lr, batch_size=batch_size, seed=seed)
    steps = round(plan_set.train_time / train_time(lr, 1))
    if steps < 1:
        raise ValueError(
            f"--lr {lr} is too large for the training time {plan_set.train_time:g}: one gradient "
            f"step takes {train_time(lr, 1):g}"
        )
    refuse_unstable(lr, problem)
    where = pick_device(device)
    by_steps = engine == "sgd" or (engine == "auto" and where.type == "cuda")
    on_latents = inputs == "latents" or (inputs == "auto" and _has_codes(plans.data))
    drawn = _inputs(plans, on_latents, batch_size, seed)
    squares = cache(partial(mean_squares, drawn))

    jobs = {name: _job(name, plans, steps, seed) for name in chosen}
    distinct = {job.work: job for job in jobs.values()}
    done: dict[tuple[object, ...], Students] = {}
    total = sum(job.sequential_steps for job in distinct.values())
    with (
        one_thread(),
        tqdm(total=total, desc="train", unit="step", unit_scale=True, leave=False) as bar,
    ):
        for work, job in distinct.items():
            if by_steps:
                done[work] = train_by_steps(job, problem, drawn, lr, where, bar.update)
            else:
                done[work] = train_in_closed_form(job, problem, drawn, lr, squares)
                bar.update(job.sequential_steps)
    students = {name: done[job.work] for name, job in jobs.items()}

    def error(name: str) -> float:
        return float(problem.distance(students[name].operator, plan_set.target))

    return TrainedStudents(
        plans=plans,
        students={name: students[name] for name in sorted(students, key=error)},
        gradient_steps=steps,
        lr=lr,
        inputs="latents" if on_latents else "gaussian",
        engine="sgd" if by_steps else "closed_form",
    )


def _refuse(plans: MergePlans, inputs: str, engine: str) -> None:
    for name, value, choices in (
        ("inputs", inputs, ("auto", "gaussian", "latents")),
        ("engine", engine, ("auto", "sgd", "closed_form")),
    ):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if plans.plan_set.parametrisation.law != "gradient_flow":
        raise ValueError("the plans are for the law constant_speed; training is gradient descent")
    if inputs == "latents" and not _has_codes(plans.data):
        raise ValueError("--inputs latents needs --latents with the codes of images, not moments")


def _has_codes(data: Data | None) -> bool:
    return data is not None and data.latents.codes is not None


def _job(name: str, plans: MergePlans, steps: int, seed: int) -> Job:
    plan_set = plans.plan_set
    own = plan_set.plans[name]
    shares = plan_set.strategies[name].shares
    taken = shared_steps(own, plan_set.budget, steps, plan_set.student_steps, shares)
    return Job(name, own, taken, seed)


def _inputs(plans: MergePlans, on_latents: bool, batch_size: int, seed: int) -> Inputs:
    schedule = plans.problem.schedule
    if not on_latents:
        return gaussian_inputs(schedule, plans.plan_set.variances, batch_size, seed)
    assert plans.data is not None
    x_0 = centred_rows(plans.data.latents, plans.data.coordinates.rotation)
    return latent_inputs(schedule, x_0, batch_size, seed)
