"""Merge plans from Python: ``mergelab.plan``, ``mergelab.load`` and what they return.

The numbers are those of the command plan_merges, bit by bit, and so are the messages of errors.
PyTorch is imported for latents, for training and for noise that is drawn here, and for nothing
else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion.schedule import Prediction, TeacherSchedule
from diffusion.schedule_choice import (
    SCHEDULES,
    ScheduleFlags,
    choose_schedule,
    schedule_of_arrays,
    taken,
)
from distill.config import JointSolver, PlanConfig, Rotate
from distill.plan_merges import DEFAULT_STEPS, plans_name
from experiment.flags import refuse_above
from experiment.folder import file_in
from experiment.progress import bars_shown
from experiment.write import write_json
from mergelab._table import Table, aligned, frame, html_table, one_line
from planner.budget import WHERE, Budget, BudgetKind
from planner.effort import Effort
from planner.joint import SOLVERS
from planner.parametrisation import Kind, Law, Loss
from planner.plan import distinct, merges_of_coordinates, num_merges
from planner.plan_all import plan_every_strategy
from planner.plan_file import read_plans, to_json
from planner.plan_set import PlanSet, StrategyPlans
from planner.problem import Problem, make_problem
from planner.value import tied_with_lowest

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from torch import Tensor

    from distill.coordinates import Coordinates
    from mergelab._students import TrainedStudents
    from vae.latents import Latents

Array = NDArray[np.float64]
Schedule = str | Path | TeacherSchedule | Mapping[str, ArrayLike]
SAME_VARIANCES = 1e-9
"""Difference of variances, relative to the largest, that another version of LAPACK may make."""
MOST_LINES = 10
"""Lines of a repr."""
TEACHER = "teacher"
"""Name by which ``sample`` knows the composite, the product of all teacher steps."""


@dataclass(frozen=True, eq=False)
class Data:
    """Latents, and the coordinates in which they are planned."""

    latents: "Latents"
    coordinates: "Coordinates"
    shape: tuple[int, ...]
    """Shape of one latent; its product is d."""


@dataclass(frozen=True, eq=False, repr=False)
class MergePlans:
    """The plans of every strategy for one problem; made by ``mergelab.plan``."""

    problem: Problem
    """The teacher's steps, and what the students consist of."""
    plan_set: PlanSet
    """The plans themselves, as plans.json has them."""
    data: Data | None = None
    """The latents; None if only variances were given."""
    notes: tuple[str, ...] = ()
    """One line per decision of the planner: which solvers were left out, and why."""

    @property
    def strategies(self) -> dict[str, StrategyPlans]:
        """Strategy -> its plans, from the lowest error to the highest."""
        found = self.plan_set.strategies
        return dict(sorted(found.items(), key=lambda item: item[1].w2_squared))

    @property
    def best(self) -> str:
        """The strategy with the lowest error; of those equal within rounding, the simplest one.

        That is the one whose coordinates make the fewest merges.
        """
        found, steps = self.plan_set.strategies, self.plan_set.student_steps
        errors = {name: own.w2_squared for name, own in found.items()}
        tied = tied_with_lowest(errors, len(self.plan_set.variances))
        return min(tied, key=lambda name: merges_of_coordinates(found[name].plans, steps).max())

    def table(self) -> "pandas.DataFrame | Table":
        """Every strategy, from the lowest error to the highest.

        Returns:
            A DataFrame where pandas is installed, else a ``mergelab.Table``. The columns are
            ``strategy``; ``w2_squared``, the error in closed form; ``optimal``, whether the plan is
            proven to be the best of its kind; and ``merges``, over all plans of the strategy, where
            a plan that coordinates share counts once.
        """
        return frame(self._table())

    def _table(self) -> Table:
        rows = tuple(
            (name, found.w2_squared, found.optimal, sum(map(num_merges, distinct(found.plans))))
            for name, found in self.strategies.items()
        )
        return Table(("strategy", "w2_squared", "optimal", "merges"), rows, self._title)

    @property
    def _title(self) -> str:
        plans, steps = self.plan_set, self.plan_set.student_steps
        students = "" if steps == 1 else f"students of {steps} steps, "
        where = WHERE[plans.budget]
        kind = plans.parametrisation
        how = "" if kind.kind == "operator" else f"{kind.text}, "
        width = len(plans.variances)
        return (
            f"Merge plans: T = {plans.num_steps}{_named(plans)}, {width:,} coordinates, "
            f"{students}{how}training time {plans.train_time:g} {where}; W2² to the {kind.target}"
        )

    @property
    def assumption(self) -> str:
        """How well the assumption of planning holds for the latents, in words."""
        if self.data is None:
            return ""
        from report.gaussianity import assumption_text

        return assumption_text(self.data.coordinates.gaussianity)

    def __repr__(self) -> str:
        lines = [
            (f"  {one_line(name)}", f"{found.w2_squared:.6e}", _proven(found))
            for name, found in self.strategies.items()
        ]
        return short([self._title, *_sentence(self.assumption)], lines, [True, False, True])

    def _repr_html_(self) -> str:
        from html import escape

        said = f"<p>{escape(self.assumption)}</p>" if self.assumption else ""
        return said + html_table(self._table())

    def plot(self) -> "Figure":
        """The plans as arcs over the teacher's time axis; every arc is a merge."""
        from report.plans import draw_arcs_of

        return draw_arcs_of(self.plan_set)

    def train(
        self,
        strategies: Sequence[str] | None = None,
        *,
        lr: float = 1e-3,
        batch_size: int = 2560,
        seed: int = 0,
        inputs: Literal["auto", "gaussian", "latents"] = "auto",
        engine: Literal["auto", "sgd", "closed_form"] = "auto",
        device: str = "auto",
        progress: bool = True,
    ) -> "TrainedStudents":
        """Train the students of the plans, for the training time that these were planned for.

        A training time of s is s / (32 lr) gradient steps. The arguments are those of the command
        compare_strategies.

        Args:
            strategies: Some of ``self.strategies``; default: all.
            inputs: What students train on: noised latents, or Gaussians of the same variances. auto
                takes the latents if the plans are for latents.
            engine: sgd takes every gradient step; closed_form computes what gradient steps on the
                same batches lead to; auto is sgd on CUDA and closed_form on the CPU.
            progress: Whether progress bars are drawn.

        Raises:
            ValueError: an argument cannot be used, or the learning rate is unstable.
            FloatingPointError: a student stopped being finite.
        """
        from mergelab._students import train

        with bars_shown(progress):
            return train(self, strategies, lr, batch_size, seed, inputs, engine, device)

    def sample(
        self,
        noise: "ArrayLike | Tensor | None" = None,
        *,
        strategy: str | None = None,
        count: int = 8,
        seed: int = 0,
    ) -> Array:
        """Samples of a student as planned, without training it.

            x_0 = mean + Q (a * Q^T x_T),  x_T = noise

        Q is the rotation into the planned coordinates, and a the operator of the student. Where
        the schedule keeps a signal at T, x_T is the noise scaled to the variance of the noised
        latents in every planned coordinate.

        Args:
            noise: x_T as the teacher takes it, in the latents' own coordinates: standard normal,
                (n, ...) with the shape of the latents.
            strategy: A strategy's name, or "teacher" for the teacher itself; default: the best.
            count: Samples if no noise is given.
            seed: Number of the bank of noise if none is given. Like compare_strategies and exported
                students, the bank holds Q^T x_T, noise in the planned coordinates. So the same seed
                gives the same samples here and there.

        Returns:
            (n, ...), with the shape of the latents. Without latents the mean is 0.

        Raises:
            ValueError: there is no such strategy, or the noise has another shape.
        """
        operators = {name: found.operator for name, found in self.strategies.items()}
        return samples(self, operators, noise, strategy or self.best, count, seed)

    def save(self, path: str | Path) -> Path:
        """Write plans.json, which ``mergelab.load`` and the commands read.

        Args:
            path: A file, or an existing folder, in which it is called as by plan_merges.

        Returns:
            The file. It holds no latents.
        """
        file = file_in(Path(path), plans_name(self.plan_set.student_steps))
        write_json(file, to_json(self.plan_set))
        return file


def plan(
    data: "ArrayLike | Tensor | str | Path",
    *,
    num_steps: int | None = None,
    schedule: Schedule = "cosine",
    zero_snr: bool = False,
    train_time: float = 6.4,
    budget: BudgetKind = "per_merge",
    student_steps: int = 1,
    parametrisation: Kind = "operator",
    loss: Loss | None = None,
    prediction: Prediction = "x_0",
    law: Law = "gradient_flow",
    rotate: Rotate = "auto",
    full_search: bool = False,
    solvers: Sequence[JointSolver] = ("greedy", "beam", "pareto"),
    time_limit: float | None = None,
    progress: bool = True,
) -> MergePlans:
    """Plan the merges of every strategy, as the command plan_merges does.

    Args:
        data: The variances of the coordinates, (d,); or latents, (N, ...) with any shape of one
            latent, as an array, as a tensor, or as the path of a file or folder of latents, whose
            samples are flat, (n, d).
        num_steps: T, the steps of the teacher; default: 32, or those of the schedule.
        schedule: A name; a file; the schedule itself; or its arrays by name, such as
            ``{"betas": betas}``, as a file has them (see docs/cli.md, --schedule).
        zero_snr: Rescale the schedule so that it ends in pure noise.
        train_time: s, the training time of each merge or, under a total budget, of each plan.
        budget: per_merge: every merge trains for ``train_time``; total: the merges share it
            equally; best_split: they share it as is best for the plan.
        student_steps: K, the steps of the student.
        rotate: Plan for latents in the eigenbasis of their covariance: on, off, or auto, which
            rotates if more than a fifth of the covariance's energy is off its diagonal.
        full_search: Search each coordinate's plan even where theory knows it.
        solvers: Solvers that look for one plan for all coordinates: greedy, beam, pareto, or none.
        time_limit: Seconds per solver, after which it gives its best plan so far. Without it, a
            solver that would take more than a minute is left out.
        progress: Whether progress bars are drawn.

    Raises:
        ValueError, FileNotFoundError: an argument cannot be used; the message is that of the
            command.
    """
    notes: list[str] = []
    with bars_shown(progress):
        variances, found = _variances(data, rotate, notes)
        config = PlanConfig(
            out=Path(),  # nothing is written
            variances=tuple(variances.tolist()),
            num_steps=num_steps,
            train_time=train_time,
            budget=budget,
            student_steps=(student_steps,),
            parametrisation=parametrisation,
            loss=loss,
            prediction=prediction,
            law=law,
            solvers=tuple(solvers),
            time_limit=time_limit,
        )
        for solver in solvers:
            if solver not in SOLVERS:
                raise ValueError(f"solver {solver!r} is none of {', '.join(SOLVERS)}")
        levels = _schedule(schedule, num_steps, zero_snr)
        refuse_above(config, levels.num_steps, "student_steps")
        problem = make_problem(levels, variances, config.students)
        plan_set = plan_every_strategy(
            problem,
            Budget(train_time, budget),
            full_search=full_search,
            log=notes.append,
            student_steps=student_steps,
            effort=Effort([solver for solver in SOLVERS if solver in solvers], time_limit),
        )
    return MergePlans(problem, plan_set, found, tuple(notes))


def load(
    path: str | Path,
    data: "ArrayLike | Tensor | str | Path | None" = None,
    *,
    schedule: Schedule = "cosine",
    progress: bool = True,
) -> MergePlans:
    """Read plans that ``save`` or the command plan_merges wrote.

    Args:
        path: plans.json, or a run folder of plan_merges.
        data: The latents that the plans are for, to train on and to sample; the file has only their
            variances.
        schedule: The schedule of the plans, for a file that does not record it.
        progress: Whether progress bars are drawn.

    Raises:
        FileNotFoundError, ValueError: the file is missing or damaged, or for other data.
    """
    file = file_in(Path(path), plans_name(1))
    plan_set = read_plans(file)
    levels = plan_set.schedule or _schedule(schedule, plan_set.num_steps)
    problem = make_problem(levels, plan_set.variances, plan_set.parametrisation)
    with bars_shown(progress):
        found = None if data is None else _data_of(data, plan_set, file)
    return MergePlans(problem, plan_set, found)


def _variances(
    data: "ArrayLike | Tensor | str | Path", rotate: Rotate, notes: list[str]
) -> tuple[Array, Data | None]:
    """The variances to plan for, and the latents if these are given."""
    if not isinstance(data, str | Path) and _ndim(data) == 1:
        if rotate != "auto":
            raise ValueError(f"--rotate {rotate} needs --latents")
        return _numbers(data), None
    from distill.coordinates import choose_coordinates

    latents, shape = _latents(data, notes)
    found = choose_coordinates(latents, rotate, notes.append)
    return found.variances, Data(latents, found, shape)


def _ndim(data: "ArrayLike | Tensor") -> int:
    found: int = np.ndim(data)  # type: ignore[arg-type]  # takes the ndim of a tensor
    return found


def _numbers(data: "ArrayLike | Tensor") -> Array:
    """One row of numbers, of any library and on any device."""
    listed = data.tolist() if hasattr(data, "tolist") else data
    return np.array(listed, dtype=np.float64)


def _latents(
    data: "ArrayLike | Tensor | str | Path", notes: list[str]
) -> tuple["Latents", tuple[int, ...]]:
    from experiment.tensors import rows_of
    from vae.latents import latents_of_rows, load_latents

    if isinstance(data, str | Path):
        latents = load_latents(Path(data), notes.append)
        return latents, (len(latents.mean),)
    rows, shape = rows_of(data)
    return latents_of_rows(rows), shape


def _data_of(data: "ArrayLike | Tensor | str | Path", plan_set: PlanSet, file: Path) -> Data:
    """Latents in the coordinates in which they have the variances of the plans."""
    from distill.coordinates import choose_coordinates

    latents, shape = _latents(data, [])
    slack = SAME_VARIANCES * plan_set.variances.max()  # eigenvalues of 0 are rounding
    rotations: tuple[Rotate, ...] = ("off", "on")
    for rotate in rotations:
        found = choose_coordinates(latents, rotate)
        if found.variances.shape == plan_set.variances.shape and np.allclose(
            found.variances, plan_set.variances, rtol=0.0, atol=slack
        ):
            return Data(latents, found, shape)
    raise ValueError(f"{file}: these latents are not those that the plans are for; plan again")


def _schedule(given: Schedule, num_steps: int | None, zero_snr: bool = False) -> TeacherSchedule:
    if isinstance(given, str | Path):
        default = DEFAULT_STEPS if str(given) in SCHEDULES else None
        flags = ScheduleFlags(schedule=str(given), zero_snr=zero_snr)
        return choose_schedule(flags, num_steps or default)
    found = given if isinstance(given, TeacherSchedule) else schedule_of_arrays(given)
    return taken(found, num_steps, zero_snr, "the schedule")


def samples(
    plans: MergePlans,
    operators: dict[str, Array],
    noise: "ArrayLike | Tensor | None",
    strategy: str,
    count: int,
    seed: int,
) -> Array:
    """Samples of the student, or of the teacher; see ``MergePlans.sample``.

    Args:
        operators: Strategy -> operator of its student, (d,).
    """
    known = operators | {TEACHER: plans.problem.composite}
    if strategy not in known:
        raise ValueError(f"strategy {strategy!r} is none of {', '.join(known)}")
    width, data = len(plans.plan_set.variances), plans.data
    shape = (width,) if data is None else data.shape
    rotation = None if data is None else data.coordinates.rotation
    if noise is None:
        from distill.decode import noise_bank

        rows = noise_bank(seed, 0, count, width).double().numpy()
    else:
        rows = np.asarray(noise, dtype=np.float64)
        if rows.ndim < 2 or rows[0].size != width:
            raise ValueError(f"noise has shape {rows.shape}, must be (n, ...) of {shape} each")
        rows = rows.reshape(len(rows), width)
        rows = rows if rotation is None else rotation.into(rows)
    made = plans.problem.on_unit_noise(known[strategy]) * rows
    made = made if rotation is None else rotation.back(made)
    mean = 0.0 if data is None else data.coordinates.mean
    found: Array = (mean + made).reshape(len(rows), *shape)
    return found


def short(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool]) -> str:
    """A repr of at most ``MOST_LINES`` lines: sentences, then rows as far as there is room."""
    room = MOST_LINES - len(heads)
    if len(rows) > room:
        more = [f"  ... and {len(rows) - room + 1} more"]
        rows = rows[: room - 1]
    else:
        more = []
    return "\n".join([*heads, *(aligned(rows, left) if rows else []), *more])


def _named(plans: PlanSet) -> str:
    """The schedule after the number of steps, if it is not the usual one."""
    name = "" if plans.schedule is None else plans.schedule.name
    return "" if name in ("", "cosine") else f" ({one_line(name)})"


def _proven(found: StrategyPlans) -> str:
    if found.optimal:
        return "proven optimal"
    return "" if found.finished else "best within its time limit"


def _sentence(words: str) -> list[str]:
    """The first sentence of a text, if it has one."""
    return [words.partition(". ")[0].removesuffix(".") + "."] if words else []
