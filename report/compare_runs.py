"""The command compare_runs: runs of one command side by side, and what differs between them."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiment.folder import CONFIG, FIGURES, RESULTS, command_line, open_run
from experiment.write import sha256, write_text
from report.config import CompareRunsConfig
from report.markdown import markdown_table
from report.page import Picture
from report.run_results import KINDS, Kind, Run, read_runs
from report.style import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    RED,
    SKY,
    STYLE,
    fitting_legend,
    save_figure,
    whole_numbers_below,
)
from report.summary import write_summary

COLOURS = (BLUE, ORANGE, GREEN, RED, PINK, SKY)  # one colour per run, in turn
# One style per line of a panel; no comparison has more lines than these: three K of three budgets.
DASHES = (
    *("-", "--", ":", "-."),
    *((0, (8, 3)), (0, (1, 4)), (0, (6, 1, 1, 1, 1, 1)), (0, (3, 4)), (0, (10, 2, 2, 2))),
)
SMALLEST_DRAWN = 1e-12  # log axes have no 0
MOST_COLUMNS = 4  # panels side by side
LETTER = 0.07  # inches of a letter beside a row
SHORT = 12  # characters of a hash that are shown


def compare_runs(config: CompareRunsConfig) -> None:
    """Read all runs, then write their rows, what differs, a table and a figure.

    Raises:
        FileNotFoundError, OSError, ValueError: a run cannot be read, the runs are of different
            commands, or the run folder is another run's.
    """
    runs = read_runs(config.runs)
    job = runs[0].record["job"]
    kind = KINDS[job]
    inputs = {
        f"{run.name}/{file}": sha256(folder / file)
        for run, folder in zip(runs, config.runs, strict=True)
        for file in (CONFIG, kind.file)
    }
    open_run(config.out, "compare_runs", config, inputs, "cpu")

    write_text(config.out / RESULTS, joint_csv(runs))
    figure = config.out / FIGURES / "runs.png"
    save_figure(draw_runs(runs, kind), figure)
    commands = "\n".join(f"- {run.name}: `{command_line(run.record)}`" for run in runs)
    text = "\n\n".join([commands, difference_table(runs), value_table(runs, kind)])
    picture = Picture(
        figure,
        "The results of every run: colours are runs, dashes are the lines of a panel."
        + (f" A triangle marks values below {SMALLEST_DRAWN:g}, drawn there." * kind.log),
    )
    write_summary(config.out, f"Runs of {job} compared", text, [picture], [config.out / RESULTS])


def joint_csv(runs: Sequence[Run]) -> str:
    """The rows of all runs in one CSV, with the run's name in the first column."""
    columns = dict.fromkeys(column for run in runs for row in run.rows for column in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["run", *columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"run": run.name} | dict(row) for run in runs for row in run.rows)
    return text.getvalue()


def differences(records: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """What differs between runs: flag, input, version or machine -> its value in every run."""
    flat = [_facts(record) for record in records]
    names = dict.fromkeys(name for facts in flat for name in facts)
    values = {name: [facts.get(name, "not recorded") for facts in flat] for name in names}
    return {name: found for name, found in values.items() if len(set(found)) > 1}


def _facts(record: dict[str, Any]) -> dict[str, str]:
    made = record["provenance"]
    parts = {
        "": record["config"],
        "input ": {name: value[:SHORT] for name, value in record["inputs"].items()},
        "fact ": record["facts"],
        "version of ": made["versions"],
        "hardware ": made["hardware"],
    }
    facts = {
        prefix + name: _text(parts[prefix][name]) for prefix in parts for name in parts[prefix]
    }
    commit, _, dirty = (made["git_commit"] or "none").partition("-")
    return facts | {"commit": commit[:SHORT] + (", with changes" if dirty else "")}


def _text(value: object) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def difference_table(runs: Sequence[Run]) -> str:
    """What differs, as a table in Markdown, or a sentence that nothing does."""
    found = differences([run.record for run in runs])
    if not found:
        return "The runs have the same flags, inputs, code and hardware."
    header = ["what differs", *(run.name for run in runs)]
    table = markdown_table(header, [[name, *values] for name, values in found.items()])
    return (
        f"{table}\n\nFlags have the names that config.json gives them. A flag that is not recorded "
        "has its default, or the version did not know it."
    )


def value_table(runs: Sequence[Run], kind: Kind) -> str:
    """The numbers of all runs side by side, as a table in Markdown below what they are."""
    keys = dict.fromkeys(key for run in runs for key in run.points)
    lines = []
    for panel, line in keys:
        found = [run.points.get((panel, line), {}) for run in runs]
        name = ", ".join(filter(None, (panel, line)))
        if kind.last_only:
            values = [f"{of_run[max(of_run)]:.4g}" if of_run else "–" for of_run in found]
            lines.append([name, *values])
            continue
        for x in sorted({x for of_run in found for x in of_run}):
            values = [f"{of_run[x]:.4g}" if x in of_run else "–" for of_run in found]
            lines.append([name, f"{x:g}", *values])
    names = [run.name for run in runs]
    if kind.last_only:
        said = f"At the last of the {kind.x_label} of each run"
        return f"{said}:\n\n{markdown_table(['', *names], lines)}"
    what = ", ".join(kind.measures.values())
    return f"{what[0].upper()}{what[1:]}:\n\n{markdown_table(['', kind.x_label, *names], lines)}"


def draw_runs(runs: Sequence[Run], kind: Kind) -> Figure:
    """Draw the numbers of all runs: a colour per run, a panel per part of the results.

    Where one quantity has a single x, the values are dots in one panel, one row per part.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.points))
    shared = len(kind.measures) == 1
    if shared and all(len(values) == 1 for run in runs for values in run.points.values()):
        with matplotlib.rc_context(STYLE):
            return _draw_dots(runs, kind, keys)
    names = list(dict.fromkeys(panel for panel, _ in keys))
    lines = list(dict.fromkeys(line for _, line in keys))
    down = -(-len(names) // MOST_COLUMNS)
    across = -(-len(names) // down)
    with matplotlib.rc_context(STYLE):
        size = (max(4.5, 0.4 + 2.2 * across), 0.3 + 2.1 * down)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharey=shared)
        for panel, name in zip(grid.flat, names, strict=False):
            for (place, run), (number, line) in product(enumerate(runs), enumerate(lines)):
                values = sorted(run.points.get((name, line), {}).items())
                x, y = [x for x, _ in values], [_drawn(y, kind) for _, y in values]
                colour, dash = COLOURS[place % len(COLOURS)], DASHES[number % len(DASHES)]
                marker = "o" if len(values) < 20 else ""
                panel.plot(x, y, color=colour, linestyle=dash, marker=marker, **THIN)
                clipped = [x for x, value in values if kind.log and abs(value) < SMALLEST_DRAWN]
                panel.plot(clipped, [SMALLEST_DRAWN] * len(clipped), "v", color=colour, ms=5)
            places = {x for run in runs for line in lines for x in run.points.get((name, line), ())}
            _finish(panel, name, kind, sorted(places - {0.0}))
        for panel in list(grid.flat)[len(names) :]:
            panel.set_axis_off()
        figure.supxlabel(kind.x_label, fontsize=9)
        if shared:
            figure.supylabel(_measured(kind), fontsize=9)
        _legend(figure, runs, lines, {})
    return figure


THIN = {"markersize": 2.5, "linewidth": 1.2}


def _drawn(value: float, kind: Kind) -> float:
    if not math.isfinite(value):
        return math.nan
    return max(abs(value), SMALLEST_DRAWN) if kind.log else value


def _measured(kind: Kind) -> str:
    (name,) = kind.measures.values()
    return f"|{name}|" if name == "mean error" else name


def _finish(panel: Axes, name: str, kind: Kind, ticks: Sequence[float]) -> None:
    if len(kind.measures) > 1:
        panel.set_ylabel(name)  # the name of a quantity
    else:
        panel.set_title(name)
    if kind.log:
        panel.set_xscale("log")
        panel.set_yscale("log")
        if len(ticks) <= 5:  # otherwise powers of ten
            panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            panel.xaxis.minorticks_off()
    else:
        whole_numbers_below(panel, ticks)


def _legend(
    figure: Figure, runs: Sequence[Run], lines: Sequence[str], look: Mapping[str, str]
) -> None:
    handles = [
        Line2D([], [], color=COLOURS[place % len(COLOURS)], label=run.name, **look)
        for place, run in enumerate(runs)
    ]
    if len(lines) > 1:
        handles += [
            Line2D([], [], color="0.4", linestyle=DASHES[number % len(DASHES)], label=line)
            for number, line in enumerate(lines)
        ]
    fitting_legend(figure, [(handle, str(handle.get_label())) for handle in handles])


def _draw_dots(runs: Sequence[Run], kind: Kind, keys: Sequence[tuple[str, str]]) -> Figure:
    names = [", ".join(filter(None, key)) for key in keys]
    width = 3.6 + LETTER * max(map(len, names))
    figure = Figure(figsize=(width, 0.6 + 0.24 * len(keys)), layout="constrained")
    panel = figure.subplots()
    for place, run in enumerate(runs):
        rows = [row for row, key in enumerate(keys) if key in run.points]
        values = [_drawn(next(iter(run.points[keys[row]].values())), kind) for row in rows]
        colour = COLOURS[place % len(COLOURS)]
        # Equal values stay visible: the dots of later runs are smaller.
        panel.plot(values, rows, "o", color=colour, markersize=max(2.0, 7.0 - 1.5 * place))
    panel.set_yticks(range(len(keys)), names)
    panel.invert_yaxis()
    panel.grid(axis="y", color="0.9")
    panel.set_xlabel(_measured(kind))
    if kind.log:
        panel.set_xscale("log")
        least, most = (math.log10(limit) for limit in panel.get_xlim())
        panel.set_xlim(10 ** math.floor(least), 10 ** math.ceil(most))
    _legend(figure, runs, [], {"marker": "o", "linestyle": ""})
    return figure
