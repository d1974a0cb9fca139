"""What a comparison says: the chart of measured against predicted, and the written summary."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distill.results import ResultRow
from report.style import COLOURS, LABELS, STYLE, label, save_figure
from vae.files import write_text


def draw_w2(path: Path, rows: list[ResultRow]) -> None:
    """Draw W2**2 to the surrogate of every strategy, a panel a stage, measured and predicted."""
    stages = sorted({row.epochs for row in rows})
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 3.1 * len(stages), 2.9))
        panels = figure.subplots(1, len(stages), squeeze=False)[0]
        for panel, epochs in zip(panels, stages, strict=True):
            _draw_stage(panel, [row for row in rows if row.epochs == epochs])
            panel.set_title(f"{epochs} epochs a merge")
        panels[0].set_ylabel("$W_2^2$ to the surrogate teacher")
        figure.legend(
            *panels[0].get_legend_handles_labels(),
            loc="lower center",
            bbox_to_anchor=(0.5, 0.96),
            ncols=2,
            frameon=False,
        )
        figure.subplots_adjust(wspace=0.35)
        save_figure(figure, path)


def _draw_stage(panel: Axes, stage: list[ResultRow]) -> None:
    places = range(len(stage))
    measured = [row.w2_squared for row in stage]
    panel.errorbar(
        places,
        [row.w2_squared_predicted for row in stage],
        yerr=[row.w2_squared_spread for row in stage],
        fmt="D",
        color="black",
        markerfacecolor="none",
        markersize=9,
        capsize=4,
        linewidth=1,
        label="closed form ± spread of training runs",
    )
    colours = [COLOURS[row.strategy] for row in stage]
    panel.scatter(places, measured, c=colours, s=22, zorder=3, label="measured")
    if max(measured) > 10 * min(measured):
        panel.set_yscale("log")
    else:  # a logarithmic axis of less than a decade has no readable ticks
        panel.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    panel.margins(x=0.08, y=0.12)
    panel.grid(axis="y", color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)
    names = [LABELS[row.strategy] for row in stage]
    panel.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    panel.tick_params(axis="x", labelsize=7.5, length=0)


def table(rows: list[ResultRow]) -> str:
    """The main numbers as a Markdown table, the lowest of each stage in bold."""
    lines = [
        "| epochs a merge | strategy | W2² measured | W2² closed form | W2² expected ± spread "
        "| deviation (rms, largest) | pixel L2 | merges | gradient steps |",
        "|---:|:---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        stage = [other for other in rows if other.epochs == row.epochs]
        w2 = _bold(f"{row.w2_squared:.3e}", row.w2_squared == min(r.w2_squared for r in stage))
        pixels = _bold(f"{row.pixel_l2:.4g}", row.pixel_l2 == min(r.pixel_l2 for r in stage))
        lines.append(
            f"| {row.epochs} | {label(row.strategy)} | {w2} | {row.w2_squared_predicted:.3e} "
            f"| {row.w2_squared_expected:.3e} ± {row.w2_squared_spread:.0e} "
            f"| {row.rms_deviation:.2f}, {row.largest_deviation:.1f} "
            f"| {pixels} ± {row.pixel_l2_standard_error:.1g} | {row.merges} "
            f"| {row.gradient_steps} |"
        )
    return "\n".join(lines)


def _bold(text: str, is_best: bool) -> str:
    return f"**{text}**" if is_best else text


def ranking(rows: list[ResultRow], epochs: int) -> str:
    """One sentence: the strategies of a stage from lowest to highest measured W2**2."""
    stage = sorted((row for row in rows if row.epochs == epochs), key=lambda row: row.w2_squared)
    named = " < ".join(f"{label(row.strategy)} ({row.w2_squared:.2e})" for row in stage)
    return f"At {epochs} epochs a merge, measured W2² ranks: {named}."


def write_summary(
    path: Path, rows: list[ResultRow], facts: Mapping[str, str], figures: list[Path]
) -> str:
    """Write the run's summary in Markdown and return its text."""
    stages = sorted({row.epochs for row in rows})
    text = "\n\n".join(
        [
            "# Strategy comparison",
            "\n".join(ranking(rows, epochs) for epochs in stages),
            table(rows),
            "Every merge gets the same number of gradient steps, as in the paper; sequential "
            "strategies so train longer in all (last column). W2² is the squared 2-Wasserstein "
            "distance of the student to the surrogate teacher in latent space. *Closed form* is "
            "the recursion with the expected shrinkage; *expected ± spread* are mean and standard "
            "deviation over simulated training runs, which differ by their batch. *Deviation* "
            "compares the measured operator with the expected one, coordinate by coordinate, in "
            "units of that spread: about 1 (rms) if the theory holds. *Pixel L2* is the mean "
            "distance ± standard error of decoded images to the teacher's from the same noise.",
            "\n".join(f"- {name}: {value}" for name, value in facts.items()),
            "\n".join(f"![{figure.stem}]({figure.relative_to(path.parent)})" for figure in figures),
        ]
    )
    write_text(path, text + "\n")
    return text
