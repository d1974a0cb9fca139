"""The face view: faces of the same noise under every strategy, beside their differences."""

import html
import io
from collections.abc import Sequence

from bokeh.models import CheckboxGroup, Div, Slider, Spinner, UIElement
from PIL import Image

from explorer.faces import Decoder, FaceRow, Noise, data_uri, decode_rows, faces_png, heat_png
from explorer.settings import Setting
from planner.plan_set import PER_DIMENSION
from planner.strategies import CANONICAL
from report.style import label
from vae.model import LATENT_DIM

STRATEGIES = (*CANONICAL, "greedy", PER_DIMENSION)
FACES = 8
LAST_SEED = 999
WRAPPED = ".bk-input-group.bk-inline { display: flex; flex-wrap: wrap; flex-direction: row }"
"""Style of a row of boxes that takes several lines where the page is narrow."""


class FaceView:
    """Faces and heatmaps. ``update`` moves them to a setting."""

    def __init__(self, decoder: Decoder | None, latents: str) -> None:
        """Make the widgets.

        Args:
            decoder: None where the latents have no VAE.
            latents: What the button of the latents' variances says.
        """
        self._decoder = decoder
        self._latents = latents
        self.strategies = CheckboxGroup(
            labels=[label(name) for name in STRATEGIES],
            active=[0, 1, 2, 3, 5],
            inline=True,
            stylesheets=[WRAPPED],
            sizing_mode="stretch_width",
            name="strategies",
        )
        self.seed = Spinner(title="noise seed", low=0, high=LAST_SEED, value=0, step=1, width=130)
        self.other_seed = Spinner(
            title="other noise seed", low=0, high=LAST_SEED, value=1, step=1, width=130
        )
        self.share = Slider(
            title="share of the other noise", start=0.0, end=1.0, value=0.0, step=0.02, width=260
        )
        self.amplification = Slider(
            title="amplification of the difference",
            start=1,
            end=200,
            value=20,
            step=1,
            width=260,
        )
        self.faces = Div(text="", name="faces", sizing_mode="stretch_width")

    @property
    def noise(self) -> Noise:
        """The noise that the controls ask for."""
        return Noise(
            int(self.seed.value or 0), int(self.other_seed.value or 0), self.share.value, FACES
        )

    @property
    def widgets(self) -> list[UIElement]:
        """Everything that the user can move."""
        return [self.strategies, self.seed, self.other_seed, self.share, self.amplification]

    def missing(self, setting: Setting) -> str:
        """Why there are no faces, or "" where there are."""
        if self._decoder is None:
            return (
                "There are no faces, because no VAE is known for these latents. "
                f"For latents of {LATENT_DIM} coordinates, --vae gives one."
            )
        if not setting.of_latents:
            return f"Faces need the variances of the latents: choose “{self._latents}”."
        return ""

    def rows(self, setting: Setting) -> list[FaceRow]:
        """Faces of the target, the teachers and the chosen strategies.

        Raises:
            FileNotFoundError, ValueError: the setting has no faces, or cannot be planned.
        """
        if missing := self.missing(setting):
            raise ValueError(missing)
        assert self._decoder is not None
        chosen = [STRATEGIES[i] for i in self.strategies.active]
        return decode_rows(setting, chosen, self.noise, self._decoder)

    @property
    def parts(self) -> dict[str, UIElement]:
        """Place on the page -> what stands there."""
        return {
            "strategies": self.strategies,
            "seed": self.seed,
            "other_seed": self.other_seed,
            "share": self.share,
            "amplification": self.amplification,
            "faces": self.faces,
        }

    def update(self, setting: Setting) -> None:
        """Show a setting, or why it has no faces.

        Raises:
            FileNotFoundError, ValueError: the setting cannot be planned.
        """
        if missing := self.missing(setting):
            self.faces.text = f"<p>{html.escape(missing)}</p>"
        else:
            self.faces.text = table(self.rows(setting), 1.0 / self.amplification.value)


def table(rows: Sequence[FaceRow], top: float) -> str:
    """The rows as HTML, the target first.

    Args:
        top: The difference at the end of the colour scale.
    """
    target = rows[0].images
    lines = []
    for row in rows:
        picture = _image(faces_png(row.images), f"faces: {row.name}")
        heat = (
            "<small>mean absolute difference over the channels: light is 0, and black is "
            f"{top:.3g} or more, where 1 is the whole range of a pixel</small>"
        )
        distance = ""
        if row.distances is not None:
            heat = _image(heat_png(row.images, target, top), f"difference: {row.name}")
            distance = f"pixel L2 {float(row.distances.mean()):.3g}"
        lines.append(
            f"<div style='display:flex;flex-wrap:wrap;gap:4px 10px;align-items:center;"
            f"margin-bottom:6px'><div style='flex:0 0 130px'>{html.escape(row.name)}<br>"
            f"<small>{distance}</small></div>"
            f"<div style='flex:1 1 300px;max-width:560px'>{picture}</div>"
            f"<div style='flex:1 1 300px;max-width:560px'>{heat}</div></div>"
        )
    return "".join(lines)


def _image(png: bytes, text: str) -> str:
    """A picture that is as wide as its place and has its height before it is decoded."""
    width, height = Image.open(io.BytesIO(png)).size
    return (
        f'<img src="{data_uri(png)}" alt="{html.escape(text)}" width="{width}" height="{height}" '
        'decoding="sync" style="width:100%;height:auto;display:block;border-radius:3px">'
    )
