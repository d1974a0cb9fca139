"""The run view: finished runs, their faces at a chosen stage, their figures and their numbers."""

import csv
import html
from pathlib import Path

import numpy as np
from bokeh.layouts import column
from bokeh.models import CheckboxGroup, Div, Select, Slider, UIElement
from numpy.typing import NDArray
from torch import Tensor

from distill.comparison import INDEX_NAME, Comparison, open_comparison
from distill.decode import decode_operator, noise_bank, pixel_l2
from experiment.folder import CONFIG, FIGURES, RESULTS, read_run, refuse_cut_off
from explorer.controls import said, tell
from explorer.face_view import WRAPPED, table
from explorer.faces import FaceRow, file_uri
from planner.budget import Stage
from report.faces import top_of_scale
from report.style import label, stage_label

MOST_ROWS = 200
FACES = 8


def finished_runs(folder: Path) -> dict[str, Path]:
    """The runs below a folder that hold results, by their command and path, newest first."""
    found = [path.parent for path in folder.glob("**/" + CONFIG)] if folder.is_dir() else []
    done = [run for run in found if (run / RESULTS).exists() or (run / "metrics.jsonl").exists()]
    done.sort(key=lambda run: (run / CONFIG).stat().st_mtime, reverse=True)
    names = {}
    for run in done:
        try:
            names[f"{read_run(run)['job']}: {run}"] = run
        except (ValueError, OSError):
            continue  # a damaged record is not a finished run
    return names


class RunView:
    """Finished runs below one folder."""

    def __init__(self, folder: Path) -> None:
        self._runs = finished_runs(folder)
        self._comparison: Comparison | None = None
        self._stages: dict[str, Stage] = {}
        closed = f"choose one of {len(self._runs)}" if self._runs else "there are none"
        self.run = Select(
            title=f"finished runs below the folder {folder}",
            options=[closed, *self._runs],
            value=closed,
            name="run",
        )
        self.stage = Select(title="stage", options=[], visible=False, name="stage")
        self.strategies = CheckboxGroup(
            labels=[],
            active=[],
            inline=True,
            stylesheets=[WRAPPED],
            sizing_mode="stretch_width",
            visible=False,
            name="run_strategies",
        )
        self.first = Slider(
            title="first face", start=0, end=1_000, value=0, step=8, visible=False, name="first"
        )
        self.error = Div(text="", visible=False, name="run_error")
        self.faces = Div(text="", name="run_faces", sizing_mode="stretch_width")
        self.contents = Div(text="", name="run_contents", sizing_mode="stretch_width")
        self.run.on_change("value", lambda name, old, new: self._open())
        for widget in (self.stage, self.first):
            widget.on_change("value", lambda name, old, new: self._draw())
        self.strategies.on_change("active", lambda name, old, new: self._draw())

    @property
    def parts(self) -> dict[str, UIElement]:
        """Place on the page -> what stands there."""
        widgets = (self.run, self.error, self.stage, self.strategies, self.first)
        return {"runs": column(*widgets, self.faces, self.contents, sizing_mode="stretch_width")}

    def _open(self) -> None:
        self._comparison = None
        self.faces.text = self.contents.text = ""
        tell(self.error, "")
        run = self._runs.get(self.run.value)
        if run is not None:
            try:
                if (run / INDEX_NAME).exists():
                    self._open_comparison(run)
                self.contents.text = _contents(run, are_open=not self._has_faces)
            except (ValueError, OSError) as error:
                tell(self.error, said(error))
        for widget in (self.stage, self.strategies, self.first):
            widget.visible = self._has_faces
        self._draw()

    @property
    def _has_faces(self) -> bool:
        return self._comparison is not None and self._comparison.model is not None

    def _open_comparison(self, run: Path) -> None:
        comparison = open_comparison(run, None, "cpu")
        num_steps = comparison.problem.num_steps
        self._stages = {stage_label(stage, num_steps): stage for stage in comparison.plans}
        names = dict.fromkeys(case.strategy for case in comparison.students)
        self._comparison = comparison
        self.stage.options = list(self._stages)
        self.stage.value = next(iter(self._stages))
        self.strategies.labels = [label(name) for name in names]
        self.strategies.active = list(range(len(names)))

    def _draw(self) -> None:
        comparison = self._comparison
        stage = self._stages.get(self.stage.value or "")
        if comparison is None or stage is None:
            return
        model, mean, rotation = comparison.model, comparison.mean, comparison.rotation
        if model is None:
            self.faces.text = "<p>This run has no faces, because no VAE was given to it.</p>"
            return
        z_T = noise_bank(comparison.seed, int(self.first.value), FACES, len(mean))
        problem = comparison.problem

        def decoded(operator: NDArray[np.float64]) -> Tensor:
            return decode_operator(model, problem.on_unit_noise(operator), mean, z_T, rotation)

        target = decoded(problem.target)
        rows = [FaceRow(problem.parametrisation.target, target, None)]
        students = comparison.of_stage(stage, next(iter(comparison.students)).seed)
        chosen = {self.strategies.labels[i] for i in self.strategies.active}
        for name, own in students.items():
            if label(name) in chosen:
                images = decoded(own.operator)
                rows.append(FaceRow(label(name), images, pixel_l2(images, target)))
        top = top_of_scale(row.images - target for row in rows[1:]) if len(rows) > 1 else 1.0
        self.faces.text = table(rows, max(top, 1e-6))


def _contents(run: Path, are_open: bool) -> str:
    """The table and the figures of a run as HTML; the figures open, or to be opened."""
    parts = []
    results = run / RESULTS
    if results.exists():
        with results.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
        cells = [
            "<tr>"
            + "".join(
                f"<td style='padding:1px 8px'>{html.escape(_short(cell))}</td>" for cell in line
            )
            + "</tr>"
            for line in lines[: MOST_ROWS + 1]
        ]
        more = (
            f"<p>{len(lines) - 1 - MOST_ROWS:,} more rows in {RESULTS}</p>"
            if len(lines) > MOST_ROWS + 1
            else ""
        )
        try:
            refuse_cut_off(results)
        except (OSError, ValueError) as error:
            more += f"<p>{RESULTS}: {html.escape(str(error))}</p>"
        parts.append(
            "<details><summary>numbers</summary><div style='overflow-x:auto;font-size:11px'>"
            f"<table>{''.join(cells)}</table>{more}</div></details>"
        )
    for path in sorted((run / FIGURES).glob("*.png")):
        parts.append(
            f"<details{' open' * are_open}><summary>{html.escape(path.name)}</summary>"
            f"<img src='{file_uri(path)}' alt='{html.escape(path.name)}' "
            "style='max-width:100%;background:white;padding:6px'></details>"
        )
    return "".join(parts)


def _short(cell: str) -> str:
    try:
        number = float(cell)
    except ValueError:
        return cell
    return cell if number.is_integer() else f"{number:.4g}"
