"""The controls that all views share, and the setting that they stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bokeh.layouts import column
from bokeh.models import (
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
from explorer.settings import Setting
from planner.budget import BUDGETS
from planner.parametrisation import Parametrisation

Array = NDArray[np.float64]

SOURCES = ("latents", "two variances", "own")
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


@dataclass(frozen=True, eq=False)
class Controls:
    """The widgets; ``setting`` reads them."""

    num_steps: Slider
    schedule: Select
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
            ValueError: the widgets ask for something that cannot be planned. A message about own
                variances already stands beside their field.
        """
        kind, loss, law = KINDS[self.students.value]
        source = SOURCES[self.source.active]
        return Setting(
            num_steps=int(self.num_steps.value),
            schedule=self.schedule.value,
            variances=tuple(self._variances(source).tolist()),
            steps_per_merge=gradient_steps(self.steps.value),
            budget=BUDGETS[self.budget.active],
            students=Parametrisation(kind, loss, "x_0", law),  # type: ignore[arg-type]
            student_steps=int(self.student_steps.value),
            vae_latents=source == "latents",
        )

    def _variances(self, source: str) -> Array:
        self.own_error.text = ""
        if source == "latents":
            return self.latents
        if source == "two variances":
            return np.array([10.0**self.low.value, 10.0**self.high.value])
        try:
            return own_variances(self.own.value)
        except (ValueError, OSError) as error:
            self.own_error.text = _said(str(error))
            raise ValueError(str(error)) from error

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after every move of a control."""
        moved = [self.num_steps, self.schedule, self.low, self.high, self.own, self.steps]
        for widget in [*moved, self.students, self.student_steps]:
            widget.on_change("value", lambda name, old, new: callback())
        for group in (self.source, self.budget):
            group.on_change("active", lambda name, old, new: callback())

    def layout(self) -> UIElement:
        """All controls, from top to bottom."""
        return column(
            Div(text="<b>Teacher</b>"),
            self.num_steps,
            self.schedule,
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
            width=300,
        )


def make_controls(latents: Array, name: str) -> Controls:
    """The controls at their first positions.

    Args:
        latents: Variances of the latents, (d,).
        name: What the button of the latents says.
    """
    return Controls(
        num_steps=Slider(title="teacher steps T", start=1, end=MOST_STEPS, value=32, step=1),
        schedule=Select(title="schedule", options=list(SCHEDULES), value="cosine"),
        source=RadioButtonGroup(labels=[name, *SOURCES[1:]], active=0, name="source"),
        low=_log_slider("log₁₀ of the first variance λ", -2.0, 1.0, np.log10(0.5)),
        high=_log_slider("log₁₀ of the second variance λ", -2.0, 1.0, np.log10(1.08)),
        own=TextInput(
            title="own variances, or a .npy file of them", value="0.2 0.5 1.02 2", name="own"
        ),
        own_error=Div(text="", name="own_error", css_classes=["error"]),
        steps=_log_slider("log₁₀ of the gradient steps per merge", 0.0, 4.0, 1.0),
        steps_text=Div(text="", name="steps_text"),
        budget=RadioButtonGroup(labels=list(BUDGET_NAMES), active=0, name="budget"),
        students=Select(title="students", options=list(KINDS), value=next(iter(KINDS))),
        student_steps=Select(title="student steps K", options=["1", "2", "4", "8"], value="1"),
        error=Div(text="", name="error", css_classes=["error"]),
        latents=latents,
    )


def gradient_steps(position: float) -> int:
    """The whole number of gradient steps at a position of the logarithmic slider."""
    return max(1, round(10.0**position))


def own_variances(text: str) -> Array:
    """Variances from numbers or from a NumPy file, (d,).

    Raises:
        ValueError, OSError: the text is neither, or the variances cannot be planned.
    """
    if text.strip().endswith(".npy"):
        path = Path(text.strip())
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        found = np.load(path, allow_pickle=False)
        if found.ndim != 1 or not np.issubdtype(found.dtype, np.floating):
            raise ValueError(f"{path}: holds {found.dtype} of shape {found.shape}, not variances")
        variances = found.astype(np.float64)
    else:
        try:
            variances = np.array([float(word) for word in text.replace(",", " ").split()])
        except ValueError as error:
            raise ValueError(f"{error}; give numbers with spaces between") from error
    if not 1 <= len(variances) <= MOST_OWN:
        raise ValueError(f"{len(variances)} variances; give from 1 to {MOST_OWN}")
    check_variances(variances)
    return variances


def show_error(controls: Controls, error: Exception) -> None:
    """Say below the controls why the page does not follow them."""
    controls.error.text = _said(str(error))


def _said(text: str) -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<span style="color:#d55e00">{safe}</span>'


def _log_slider(title: str, start: float, end: float, value: float) -> Slider:
    return Slider(title=title, start=start, end=end, value=round(value, 2), step=0.02)
