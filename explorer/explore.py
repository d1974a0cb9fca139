"""The command explore: a page on 127.0.0.1, served by Bokeh until Ctrl-C.

Bokeh's server sends its scripts from the installation, so the page asks no other machine. Each
browser tab has a session of its own; what is computed is shared between them.
"""

import json
import webbrowser
from functools import partial
from math import log10
from pathlib import Path

import torch
from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.layouts import column
from bokeh.models import Button, CustomJS, Div, RadioButtonGroup, TextAreaInput
from bokeh.server.server import Server
from numpy.typing import NDArray

from distill.compare_strategies import find_latents
from experiment.progress import bars_shown
from experiment.write import write_text
from explorer.config import ExploreConfig
from explorer.controls import make_controls, show_error
from explorer.face_view import FaceView
from explorer.faces import Decoder, load_decoder
from explorer.plan_view import PlanView, steps_text
from explorer.run_view import RunView
from explorer.settings import Setting, plans_of
from planner.plan_set import to_json
from report.faces import DPI, draw_faces
from report.style import save_figure
from vae.checkpoint import load_vae, weights_path
from vae.latents import load_latents, refuse_mismatch

TITLE = "mergelab explorer"
LOCAL = "127.0.0.1"
COPY = "navigator.clipboard.writeText(command.value).then(() => { button.label = 'Copied' })"
VIEWS = ("Plans", "Faces", "Runs")
# Shows the sections of one view and hides the others.
SHOW_VIEW = """
document.querySelectorAll("section.view").forEach((section, place) => {
  section.hidden = place !== view.active
})
window.dispatchEvent(new Event("resize"))
"""
TEMPLATE = Path(__file__).with_name("page.html.j2")


def explore(config: ExploreConfig) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        FileNotFoundError, ValueError: VAE and latents cannot be used, or do not fit each other.
        OSError: the port is taken.
    """
    weights = weights_path(config.vae)
    file = find_latents(config.vae, config.latents)
    model = load_vae(weights)
    latents = load_latents(file)
    refuse_mismatch(latents, file, weights)
    decoder = load_decoder(model, latents.mean, config.vae is None)
    variances = latents.variances.numpy()
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


def make_page(
    config: ExploreConfig, variances: NDArray, decoder: Decoder, document: Document
) -> None:
    """Fill the document of one browser tab."""
    controls = make_controls(variances, "embedded" if config.latents is None else "latents")

    def go_to_phase(variance: float, steps: int) -> None:
        controls.low.value = round(float(_power(variance)), 2)
        controls.steps.value = round(float(_power(steps)), 2)
        controls.source.active = 1

    plan_view, face_view, run_view = PlanView(go_to_phase), FaceView(decoder), RunView(config.runs)
    command = TextAreaInput(
        title="the command that reproduces this", value="", rows=7, name="command"
    )
    command.width = 290
    copy, save = Button(label="Copy the command"), Button(label="Save", button_type="primary")
    saved = Div(text="", name="saved")
    copy.js_on_event("button_click", CustomJS(args={"command": command, "button": copy}, code=COPY))

    view = RadioButtonGroup(labels=list(VIEWS), active=0, name="view")
    view.js_on_change("active", CustomJS(args={"view": view}, code=SHOW_VIEW))

    def update() -> None:
        """Show what the controls ask in the open view."""
        controls.error.text = ""
        saved.text = ""
        copy.label = "Copy the command"
        try:
            setting = controls.setting()
            controls.steps_text.text = steps_text(setting)
            command.value = setting.command(config.vae, config.latents, face_view.noise.seed)
            if view.active == 0:
                plan_view.update(setting)
                document.add_next_tick_callback(partial(plan_view.update_phases, setting))
            elif view.active == 1:
                face_view.update(setting)
        except ValueError as error:
            show_error(controls, error)

    def save_now() -> None:
        try:
            saved.text = f"saved in {save_picture(config.saves, controls.setting(), face_view)}"
        except (ValueError, OSError) as error:
            show_error(controls, error)

    controls.on_change(update)
    for widget in (face_view.seed, face_view.other_seed, face_view.share, face_view.amplification):
        widget.on_change("value", lambda name, old, new: update())
    face_view.strategies.on_change("active", lambda name, old, new: update())
    view.on_change("active", lambda name, old, new: update())
    save.on_event("button_click", save_now)

    side = column(controls.layout(), command, copy, save, saved, width=300)
    parts = {"side": side, "view": view} | plan_view.parts | face_view.parts | run_view.parts
    for name, part in parts.items():
        part.name = name
        document.add_root(part)
    document.title = TITLE
    document.template = TEMPLATE.read_text(encoding="utf-8")
    update()


def save_picture(out: Path, setting: Setting, face_view: FaceView) -> Path:
    """Write plans.json, and faces.png where the setting has faces, into a new folder of ``out``.

    Raises:
        ValueError: the setting cannot be planned.
        OSError: the folder cannot be written.
    """
    plans = json.dumps(to_json(plans_of(setting)), allow_nan=False)
    number = 1
    while (folder := out / f"{number:03d}").exists():
        number += 1
    write_text(folder / "plans.json", plans + "\n")
    if setting.vae_latents:
        target, *rows = face_view.rows(setting)
        decoded: dict[str, torch.Tensor] = {row.name: row.images for row in rows}
        distances = {row.name: row.distances for row in rows if row.distances is not None}
        title = f"T = {setting.num_steps}, {steps_text(setting)}, K = {setting.student_steps}"
        top = 1.0 / face_view.amplification.value
        figure = draw_faces(target.images, decoded, distances, title, target.name, top)
        save_figure(figure, folder / "faces.png", DPI)
    return folder


def _power(value: float) -> float:
    """log10, kept within the sliders."""
    return min(4.0, max(-2.0, log10(value)))
