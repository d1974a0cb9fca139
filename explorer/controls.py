"""The controls that all views share, and the setting that they stand for."""

import html
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bokeh.layouts import column
from bokeh.models import (
    CustomJS,
    CustomJSTickFormatter,
    Div,
    RadioButtonGroup,
    Select,
    Slider,
    TextInput,
    UIElement,
)
from numpy.typing import NDArray

from diffusion.gaussian import check_variances
from diffusion.schedule_choice import SCHEDULES
from experiment.read import TEXT, reading
from experiment.tensors import SUFFIXES, read_array, split_name
from explorer.settings import ScheduleChoice, Setting, noise_schedule
from planner.budget import BUDGETS
from planner.parametrisation import Parametrisation

Array = NDArray[np.float64]

SOURCES = ("latents", "two variances", "own")
FILE = "file"
BUDGET_NAMES = ("per merge", "in total")
KINDS = {
    "operator: one number per coordinate": ("operator", None, "gradient_flow"),
    "denoiser, loss in x_0": ("denoiser", "x_0", "gradient_flow"),
    "denoiser, loss in z": ("denoiser", "z", "gradient_flow"),
    "denoiser, loss in v": ("denoiser", "v", "gradient_flow"),
    "denoiser, loss in x_0, Adam": ("denoiser", "x_0", "constant_speed"),
}
MOST_STEPS = 64
MOST_OWN = 4_096
"""Largest number of own variances: more are too slow for a page that follows a slider."""
MOST_BYTES = 1 << 20
"""Size of a text file of variances above which it is taken for something else."""
VARIANCES_HINT = (
    "give numbers, or a file of variances: text, .npy, .npz or .safetensors; FILE.npz:NAME names "
    "one of several arrays"
)
STEPS_TITLES = {
    "per_merge": "gradient steps per merge",
    "total": "gradient steps, times T \N{MINUS SIGN} 1",
}
WIDTH = 290
# Sliders move along log10 and show the number itself.
POWER = "return Number((10 ** tick).toPrecision(3)).toString()"
WHOLE_POWER = 'return Math.max(1, Math.round(10 ** tick)).toLocaleString("en")'


@dataclass(frozen=True, eq=False)
class Controls:
    """The widgets; ``setting`` reads them."""

    num_steps: Slider
    schedule: Select
    schedule_file: TextInput
    schedule_error: Div
    source: RadioButtonGroup
    low: Slider
    high: Slider
    own: TextInput
    own_error: Div
    steps: Slider
    steps_text: Div
    budget: RadioButtonGroup
    students: Select
    student_steps: Select
    error: Div
    latents: Array
    """Variances of the latents, (d,)."""

    def setting(self) -> Setting:
        """What the widgets ask.

        Raises:
            ValueError: a file or the own variances cannot be used. The message already stands
                beside their field.
        """
        for place in (self.schedule_error, self.own_error, self.error):
            tell(place, "")
        kind, loss, law = KINDS[self.students.value]
        source = SOURCES[self.source.active]
        return Setting(
            num_steps=int(self.num_steps.value),
            schedule=self._schedule(),
            variances=tuple(self._variances(source).tolist()),
            steps_per_merge=gradient_steps(self.steps.value),
            budget=BUDGETS[self.budget.active],
            students=Parametrisation(kind, loss, "x_0", law),  # type: ignore[arg-type]
            student_steps=int(self.student_steps.value),
            of_latents=source == "latents",
        )

    def _schedule(self) -> ScheduleChoice:
        chosen = ScheduleChoice(self.schedule.value)
        try:
            if chosen.name == FILE:
                given = self.schedule_file.value.strip()
                if not given:
                    raise ValueError("give a file of betas, alphas_cumprod, sigmas or alpha, sigma")
                changed = Path(given).stat().st_mtime_ns if Path(given).is_file() else 0
                chosen = ScheduleChoice(given, changed)
            noise_schedule(chosen, int(self.num_steps.value))
        except (ValueError, OSError) as error:
            tell(self.schedule_error, said(error))
            raise ValueError(str(error)) from error
        return chosen

    def _variances(self, source: str) -> Array:
        if source == "latents":
            return self.latents
        if source == "two variances":
            return np.array([10.0**self.low.value, 10.0**self.high.value])
        try:
            return own_variances(self.own.value)
        except (ValueError, OSError) as error:
            tell(self.own_error, said(error))
            raise ValueError(str(error)) from error

    def show_error(self, error: Exception) -> None:
        """Say below the controls why they cannot be followed, unless a field says it already."""
        if not (self.schedule_error.text or self.own_error.text):
            tell(self.error, said(error))

    def show_fields(self) -> None:
        """Show the fields that the choices need, and hide the others."""
        source, budget = SOURCES[self.source.active], BUDGETS[self.budget.active]
        self.schedule_file.visible = self.schedule.value == FILE
        self.low.visible = self.high.visible = source == "two variances"
        self.own.visible = source == "own"
        self.steps.title = STEPS_TITLES[budget]

    @property
    def widgets(self) -> list[UIElement]:
        """Everything that the user can move."""
        return [
            self.num_steps, self.schedule, self.schedule_file, self.source, self.low, self.high,
            self.own, self.steps, self.budget, self.students, self.student_steps,
        ]  # fmt: skip

    def layout(self) -> UIElement:
        """All controls, from top to bottom."""
        return column(
            Div(text="<b>Teacher</b>"),
            self.num_steps,
            self.schedule,
            self.schedule_file,
            self.schedule_error,
            Div(text="<b>Data variances</b>"),
            self.source,
            self.low,
            self.high,
            self.own,
            self.own_error,
            Div(text="<b>Training</b>"),
            self.steps,
            self.steps_text,
            self.budget,
            self.students,
            self.student_steps,
            self.error,
            width=WIDTH,
        )


def make_controls(latents: Array, name: str) -> Controls:
    """The controls at their first positions.

    Args:
        latents: Variances of the latents, (d,).
        name: What the button of the latents says.
    """
    wide = {"width": WIDTH}
    controls = Controls(
        num_steps=Slider(
            title="teacher steps T", start=1, end=MOST_STEPS, value=32, step=1, name="num_steps",
            **wide,
        ),
        schedule=Select(
            title="noise schedule", options=[*SCHEDULES, FILE], value="cosine", name="schedule",
            **wide,
        ),
        schedule_file=TextInput(
            title="file (JSON, CSV, .npy, .npz, .safetensors)", name="schedule_file",
            **wide,
        ),
        schedule_error=Div(text="", visible=False, name="schedule_error", **wide),
        source=RadioButtonGroup(labels=[name, *SOURCES[1:]], active=0, name="source", **wide),
        low=_log_slider("first variance λ", -2.0, 1.0, np.log10(0.5), POWER, "low"),
        high=_log_slider("second variance λ", -2.0, 1.0, np.log10(1.08), POWER, "high"),
        own=TextInput(
            title="own variances: numbers, or a file of them", value="0.2 0.5 1.02 2", name="own",
            **wide,
        ),
        own_error=Div(text="", visible=False, name="own_error", **wide),
        steps=_log_slider("gradient steps", 0.0, 4.0, 1.0, WHOLE_POWER, "steps"),
        steps_text=Div(text="", name="steps_text", **wide),
        budget=RadioButtonGroup(labels=list(BUDGET_NAMES), active=0, name="budget", **wide),
        students=Select(
            title="students", options=list(KINDS), value=next(iter(KINDS)), name="students", **wide
        ),
        student_steps=Select(
            title="student steps K", options=["1", "2", "4", "8"], value="1", name="student_steps",
            **wide,
        ),
        error=Div(text="", visible=False, name="error", **wide),
        latents=latents,
    )  # fmt: skip
    controls.show_fields()
    return controls


def on_move(widget: UIElement, callback: Callable[[], None], script: CustomJS) -> None:
    """Run ``script`` in the page and call ``callback`` here after every move of a widget."""
    moves = "active" if hasattr(widget, "active") else "value"
    widget.js_on_change(moves, script)
    widget.on_change(moves, lambda name, old, new: callback())


def gradient_steps(position: float) -> int:
    """The whole number of gradient steps at a position of the logarithmic slider."""
    return max(1, round(10.0**position))


def own_variances(text: str) -> Array:
    """Variances from numbers, or from a file of them in any shape, (d,).

    Args:
        text: Numbers, or a text file of numbers, or FILE or FILE:NAME of ``experiment.tensors``.

    Raises:
        ValueError, OSError: the text is neither, or the variances cannot be planned.
    """
    path = Path(text.strip())
    if split_name(path)[0].suffix in SUFFIXES:
        variances = read_array(path, VARIANCES_HINT).double().numpy().ravel()
    else:
        try:
            variances = _numbers(text)
        except ValueError as error:
            # Path.is_file raises for names that are too long.
            if not os.path.isfile(path):
                raise ValueError(f"{error}; {VARIANCES_HINT}") from error
            with reading(path, "a text file of variances", VARIANCES_HINT):
                if path.stat().st_size > MOST_BYTES:
                    raise ValueError(f"has {path.stat().st_size} bytes") from error
                variances = _numbers(path.read_text(encoding=TEXT))
    if not 1 <= len(variances) <= MOST_OWN:
        raise ValueError(f"{len(variances):,} variances; give from 1 to {MOST_OWN:,}")
    check_variances(variances)
    return variances


def _numbers(text: str) -> Array:
    return np.array([float(word) for word in text.replace(",", " ").split()])


def tell(place: Div, text: str) -> None:
    """Show a text, or take no room for none."""
    place.text, place.visible = text, bool(text)


def said(error: Exception) -> str:
    """An error as HTML."""
    return f'<span role="alert" style="color:#d55e00">{html.escape(str(error))}</span>'


def _log_slider(
    title: str, start: float, end: float, value: float, shown: str, name: str
) -> Slider:
    return Slider(
        title=title, start=start, end=end, value=round(value, 2), step=0.02,
        format=CustomJSTickFormatter(code=shown), name=name, width=WIDTH,
    )  # fmt: skip
