"""The command explore: a page on 127.0.0.1, served by Bokeh until Ctrl-C.

Bokeh's server sends its scripts from the installation, so the page asks no other machine. Each
browser tab has a session of its own; what is computed is shared between them.
"""

import json
import webbrowser
from functools import partial
from math import log10
from pathlib import Path

import numpy as np
import torch
from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.layouts import column
from bokeh.models import Button, CustomJS, Div, RadioButtonGroup, Slider, TextAreaInput
from bokeh.server.server import Server
from bokeh.themes import Theme
from numpy.typing import NDArray

from distill.coordinates import choose_coordinates
from experiment.progress import bars_shown
from experiment.write import write_text
from explorer.config import ExploreConfig
from explorer.controls import WIDTH, make_controls, on_move
from explorer.face_view import FaceView
from explorer.faces import Decoder, load_decoder
from explorer.plan_view import PlanView, steps_text
from explorer.run_view import RunView
from explorer.settings import LR, Setting, plans_of
from planner.plan_file import to_json
from report.faces import DPI, draw_faces
from report.style import save_figure
from vae.checkpoint import load_vae
from vae.latents import find_decoder, find_latents, load_latents

Array = NDArray[np.float64]

TITLE = "mergelab explorer"
LOCAL = "127.0.0.1"
DRAIN = 5
"""Milliseconds in which moves that came during the last answer are read, to be answered at once."""
COPY = "Copy the command"
COPY_NOW = """
navigator.clipboard.writeText(command.value).then(
  () => { button.label = "Copied" },
  () => { button.label = "The browser refuses: copy it by hand" },
)
"""
VIEWS = ("Plans", "Faces", "Runs")
# Shows the sections of one view and hides the others. Finished runs need no controls.
SHOW_VIEW = """
document.querySelectorAll("section.view").forEach((section, place) => {
  section.hidden = place !== view.active
})
document.querySelector("main").classList.toggle("alone", view.active === 2)
window.dispatchEvent(new Event("resize"))
"""
# What is shown is pale while it is not the answer to the controls.
SHOW_BUSY = "document.body.dataset.state = 'busy'"
STALE = "stale"
SHOW_STATE = "document.body.dataset.state = state.text.split(' ')[1]"
THEMED = ("InputWidget", "AbstractSlider", "AbstractButton", "ToggleButtonGroup")
DARK = Path(__file__).with_name("dark.css").read_text(encoding="utf-8")
"""Style of the widgets where the browser asks for dark pages."""
TEMPLATE = Path(__file__).with_name("page.html.j2")


def explore(config: ExploreConfig) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        FileNotFoundError, ValueError: VAE and latents cannot be used, or do not fit each other.
        OSError: a file cannot be read, or the port is taken.
    """
    variances, decoder = open_latents(config)
    page = Application(FunctionHandler(partial(make_page, config, variances, decoder)))
    try:
        server = Server({"/": page}, port=config.port, address=LOCAL)
    except OSError as error:
        raise OSError(
            f"--port {config.port}: {error.strerror}; give another, or 0 for any"
        ) from error
    address = f"http://{LOCAL}:{server.port}/"
    print(f"{TITLE}: {address} (Ctrl-C ends it)", flush=True)
    if config.browser:
        server.io_loop.add_callback(webbrowser.open, address)
    try:
        with bars_shown(False):
            server.run_until_shutdown()
    except KeyboardInterrupt:
        server.unlisten()
    print("stopped")


def open_latents(config: ExploreConfig) -> tuple[Array, Decoder | None]:
    """The variances of the latents along the coordinates that ``compare_strategies`` plans for.

    Returns:
        The variances, (d,), and what makes faces, or None where the latents have no VAE.

    Raises:
        FileNotFoundError, OSError, ValueError: VAE or latents cannot be used, or do not fit each
            other.
    """
    file = find_latents(config.vae, config.latents)
    latents = load_latents(file, print)
    weights = find_decoder(config.vae, latents, file)
    coordinates = choose_coordinates(latents, "auto", print)
    decoder = None
    if weights is not None:
        is_embedded = config.vae is None and config.latents is None
        decoder = load_decoder(load_vae(weights), latents.mean, coordinates.rotation, is_embedded)
    return coordinates.variances, decoder


def make_page(
    config: ExploreConfig, variances: Array, decoder: Decoder | None, document: Document
) -> None:
    """Fill the document of one browser tab."""
    latents_name = "embedded" if config.latents is None else "latents"
    controls = make_controls(variances, latents_name)

    def go_to_phase(variance: float, steps: int) -> None:
        controls.low.value = _position(variance, controls.low)
        controls.steps.value = _position(steps, controls.steps)
        controls.source.active = 1

    plan_view, run_view = PlanView(go_to_phase), RunView(config.runs)
    face_view = FaceView(decoder, latents_name)
    command = TextAreaInput(
        title="the command that reproduces this", value="", rows=7, name="command", width=WIDTH
    )
    note = Div(text="", name="note", width=WIDTH)
    copy, save = Button(label=COPY), Button(label="Save plans and faces", button_type="primary")
    saved = Div(text="", name="saved", width=WIDTH)
    copy.js_on_event(
        "button_click", CustomJS(args={"command": command, "button": copy}, code=COPY_NOW)
    )
    view = RadioButtonGroup(labels=list(VIEWS), active=0, name="view")
    view.js_on_change("active", CustomJS(args={"view": view}, code=SHOW_VIEW))
    state = Div(text="", name="state", visible=False)
    state.js_on_change("text", CustomJS(args={"state": state}, code=SHOW_STATE))
    answers = 0

    def answer() -> None:
        """Show what the controls ask in the open view."""
        saved.text, copy.label = "", COPY
        controls.show_fields()
        try:
            setting = controls.setting()
            controls.steps_text.text = steps_text(setting)
            command.value = setting.command(config.vae, config.latents, face_view.noise.seed)
            note.text = f"<small>{command_note(setting, face_view.noise.share > 0)}</small>"
            if view.active == 0:
                plan_view.update(setting)
                if not plan_view.has_phases(setting):
                    # The plans are seen before the phases are there.
                    document.add_next_tick_callback(partial(finish, setting))
                    return
            elif view.active == 1:
                face_view.update(setting)
            tell("shown")
        except (ValueError, OSError) as error:
            controls.show_error(error)
            command.value = note.text = ""
            tell(STALE)

    def finish(setting: Setting) -> None:
        plan_view.update_phases(setting)
        tell("shown")

    def tell(word: str) -> None:
        nonlocal answers
        answers += 1
        state.text = f"{answers} {word}"
        copy.disabled = save.disabled = word == STALE

    is_asked = False

    def ask() -> None:
        """Answer soon, once for all moves that wait by then."""
        nonlocal is_asked
        if not is_asked:
            is_asked = True
            document.add_timeout_callback(answer_now, DRAIN)

    def answer_now() -> None:
        nonlocal is_asked
        is_asked = False
        answer()

    def save_now() -> None:
        try:
            saved.text = f"saved in {save_picture(config.saves, controls.setting(), face_view)}"
        except (ValueError, OSError) as error:
            controls.show_error(error)

    for widget in (*controls.widgets, *face_view.widgets, view):
        on_move(widget, ask, CustomJS(code=SHOW_BUSY))
    save.on_event("button_click", save_now)

    side = column(controls.layout(), command, note, copy, save, saved, state, width=WIDTH)
    parts = {"side": side, "view": view} | plan_view.parts | face_view.parts | run_view.parts
    for name, part in parts.items():
        part.name = name
        document.add_root(part)
    document.title = TITLE
    document.theme = Theme(json={"attrs": {name: {"stylesheets": [DARK]} for name in THEMED}})
    document.template = TEMPLATE.read_text(encoding="utf-8")
    answer()


def save_picture(out: Path, setting: Setting, face_view: FaceView) -> Path:
    """Write plans.json, and faces.png where the setting has faces, into a new folder of ``out``.

    Raises:
        ValueError: the setting cannot be planned.
        OSError: a file cannot be read, or the folder cannot be written.
    """
    plans = json.dumps(to_json(plans_of(setting)), allow_nan=False)
    number = 1
    while (folder := out / f"{number:03d}").exists():
        number += 1
    write_text(folder / "plans.json", plans + "\n")
    if not face_view.missing(setting):
        target, *rows = face_view.rows(setting)
        decoded: dict[str, torch.Tensor] = {row.name: row.images for row in rows}
        distances = {row.name: row.distances for row in rows if row.distances is not None}
        title = f"T = {setting.num_steps}, {steps_text(setting)}, K = {setting.student_steps}"
        top = 1.0 / face_view.amplification.value
        figure = draw_faces(target.images, decoded, distances, title, target.name, top)
        save_figure(figure, folder / "faces.png", DPI)
    return folder


def command_note(setting: Setting, is_interpolated: bool) -> str:
    """How the results of the command compare with what the page shows."""
    if not setting.takes_steps:
        diverges = setting.of_latents and setting.students.law == "gradient_flow"
        because = f"Gradient steps of {LR:g} would diverge. " if diverges else ""
        return f"{because}Its table has the errors of this page. It trains nothing."
    sentences = ["Its column w2_squared_predicted has the errors of this page."]
    if is_interpolated:
        sentences.append("Its faces are those of the first noise seed.")
    return " ".join(sentences)


def _position(value: float, slider: Slider) -> float:
    """Where the logarithmic slider stands for a value, or its nearer end."""
    return round(min(slider.end, max(slider.start, log10(value))), 2)
