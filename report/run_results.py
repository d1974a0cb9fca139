"""The results of runs of one command, as numbers that can be put side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from experiment.folder import RESULTS, RUN_AGAIN, read_run, refuse_cut_off
from experiment.metrics import METRICS, read_metrics
from experiment.read import read_table, reading
from planner.budget import WHERE
from report.style import LABELS, SAMPLER_LABELS

Row = Mapping[str, str | float]
Points = dict[tuple[str, str], dict[float, float]]
"""(panel, line) -> x -> value."""


@dataclass(frozen=True)
class Kind:
    """How the results of a command are compared."""

    x: str
    """Column of the horizontal axis."""
    x_label: str
    measures: Mapping[str, str]
    """Columns that are compared -> what they are. Several have a panel each."""
    panel: tuple[str, ...] = ()
    """Columns whose values have a panel each."""
    line: tuple[str, ...] = ()
    """Columns whose values have a line each."""
    file: str = RESULTS
    log: bool = True
    """Whether the axes are logarithmic; then the absolute value is drawn."""
    last_only: bool = False
    """Whether the table shows the last x alone, where there are too many for it."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Values of columns that tables of earlier versions lack."""


ONE_STEP = {"student_steps": "1"}
KINDS = {
    "compare_strategies": Kind(
        x="epochs",
        x_label="gradient steps per merge of the stage",
        measures={"w2_squared": "W2²"},
        panel=("strategy",),
        line=("budget", "student_steps"),
        defaults=ONE_STEP,
    ),
    "plan_merges": Kind(
        x="student_steps",
        x_label="steps of the student",
        measures={"w2_squared": "W2²"},
        panel=("strategy",),
        defaults=ONE_STEP,
    ),
    "simulate_students": Kind(
        x="num_steps",
        x_label="teacher steps",
        measures={"mean": "mean error"},
        panel=("variance",),
        line=("strategy",),
    ),
    "study_convergence": Kind(
        x="epochs",
        x_label="gradient steps",
        measures={"mean": "mean error"},
        panel=("variance", "budget"),
        line=("strategy",),
        last_only=True,
    ),
    "distill_neural": Kind(
        x="steps_per_merge",
        x_label="gradient steps per merge of the stage",
        measures={"error": "error"},
        panel=("strategy",),
        line=("budget", "student_steps"),
    ),
    "compare_samplers": Kind(
        x="steps",
        x_label="steps",
        measures={"w2": "sliced W2 to held-out latents"},
        panel=("name",),
    ),
    "compare_operators": Kind(
        x="t",
        x_label="step t (0 data, T noise)",
        measures={"from_diagonal": "difference to the planner's step"},
        log=False,
    ),
    "pretrain_vae": Kind(
        x="epoch",
        x_label="epoch",
        measures={
            "train_reconstruction": "training 1 - MS-SSIM",
            "ms_ssim": "MS-SSIM, held out",
            "psnr": "PSNR in dB, held out",
            "kl": "KL in nats, held out",
        },
        file=METRICS,
        log=False,
        last_only=True,
    ),
    "train_noise_estimator": Kind(
        x="update",
        x_label="gradient steps",
        measures={"train_loss": "training loss", "held_out_loss": "held-out loss"},
        file=METRICS,
        log=False,
        last_only=True,
    ),
}


@dataclass(frozen=True, eq=False)
class Run:
    """One run: its name in tables, its record, and its results."""

    name: str
    record: dict[str, Any]
    rows: Sequence[Row]
    points: Points


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in these folders, in their order.

    Raises:
        FileNotFoundError, OSError, ValueError: a run cannot be read, or the runs are of different
            commands.
    """
    records = {folder: read_run(folder) for folder in folders}
    job = _one_command(records)
    kind, names = KINDS[job], [folder.name for folder in folders]
    runs = []
    for folder, record in records.items():
        rows = _read_rows(folder, job, kind)
        with reading(folder / kind.file, f"results of {job}", RUN_AGAIN):
            points = find_points(rows, kind)
            refuse_cut_off(folder / kind.file)
        name = folder.name if names.count(folder.name) == 1 else str(folder)
        runs.append(Run(name, record, rows, points))
    return runs


def _one_command(records: Mapping[Path, dict[str, Any]]) -> str:
    """The command that all runs are of."""
    jobs = {folder: str(record["job"]) for folder, record in records.items()}
    first, job = next(iter(jobs.items()))
    for folder, other in jobs.items():
        if other != job:
            raise ValueError(
                f"--runs: {first} is of {job}, {folder} of {other}; give runs of one command"
            )
    if job not in KINDS:
        raise ValueError(f"--runs: {first} is of {job}; give runs of {', '.join(KINDS)}")
    return job


def _read_rows(folder: Path, job: str, kind: Kind) -> Sequence[Row]:
    if kind.file == METRICS:
        return read_metrics(folder, [kind.x, *kind.measures])
    path = folder / RESULTS
    with reading(path, f"a table of {job}", RUN_AGAIN):
        if not path.read_bytes().endswith(b"\n"):
            raise ValueError("its last line is cut off")
        return [dict(kind.defaults) | row for _, row in read_table(path)]


def find_points(rows: Sequence[Row], kind: Kind) -> Points:
    """The numbers that are compared. Rows that differ in nothing else, as over seeds, are averaged.

    Raises:
        ValueError: a column is missing, or a value is no number.
    """
    found: dict[tuple[str, str], dict[float, list[float]]] = {}
    for row, (column, label) in product(rows, kind.measures.items()):
        for name in (column, kind.x, *kind.panel, *kind.line):
            if name not in row:
                raise ValueError(f"lacks the column {name}")
        words = [_words(row, kind.panel), _words(row, kind.line)]
        if len(kind.measures) > 1:
            words[0] = label
        values = found.setdefault((words[0], words[1]), {})
        values.setdefault(float(row[kind.x]), []).append(float(row[column]))
    if not found:
        raise ValueError("holds no row")
    return {key: {x: fmean(same) for x, same in values.items()} for key, values in found.items()}


def _words(row: Row, columns: Sequence[str]) -> str:
    """The values of some columns, in words."""
    in_words: dict[str, Callable[[str], str]] = {
        "strategy": lambda name: LABELS.get(name, name).replace("\n", " "),
        "name": lambda name: SAMPLER_LABELS.get(name, name),
        "budget": lambda name: (
            "equal " + {str(kind): where for kind, where in WHERE.items()}.get(name, name)
        ),
        "student_steps": lambda number: f"K = {number}",
        "variance": lambda number: f"λ = {float(number):g}",
    }
    return ", ".join(in_words[column](str(row[column])) for column in columns)
