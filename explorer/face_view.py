"""The face view: faces of the same noise under every strategy, beside their differences."""

import html
from collections.abc import Sequence

from bokeh.models import CheckboxGroup, Div, Slider, Spinner, UIElement

from explorer.faces import Decoder, FaceRow, Noise, data_uri, decode_rows, faces_png, heat_png
from explorer.settings import Setting
from planner.plan_set import PER_DIMENSION
from planner.strategies import CANONICAL
from report.style import label

STRATEGIES = (*CANONICAL, "greedy", PER_DIMENSION)
FACES = 8
LAST_SEED = 999
WRAPPED = ".bk-input-group.bk-inline { display: flex; flex-wrap: wrap; flex-direction: row }"
"""Style of a row of boxes that takes several lines where the page is narrow."""


class FaceView:
    """Faces and heatmaps. ``update`` moves them to a setting."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.strategies = CheckboxGroup(
            labels=[label(name) for name in STRATEGIES],
            active=[0, 1, 2, 3, 5],
            inline=True,
            stylesheets=[WRAPPED],
            sizing_mode="stretch_width",
            name="strategies",
        )
        self.seed = Spinner(title="noise", low=0, high=LAST_SEED, value=0, step=1, width=110)
        self.other_seed = Spinner(
            title="other noise", low=0, high=LAST_SEED, value=1, step=1, width=110
        )
        self.share = Slider(
            title="share of the other noise", start=0.0, end=1.0, value=0.0, step=0.02, width=260
        )
        self.amplification = Slider(
            title="end of the colour scale: difference 1 /",
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

    def rows(self, setting: Setting) -> list[FaceRow]:
        """Faces of the target, the teachers and the chosen strategies.

        Raises:
            ValueError: the setting cannot be planned, or is not of the VAE's latents.
        """
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
        """Show a setting.

        Raises:
            ValueError: as ``rows``.
        """
        self.faces.text = table(self.rows(setting), 1.0 / self.amplification.value)


def table(rows: Sequence[FaceRow], top: float) -> str:
    """The rows as HTML, the target first.

    Args:
        top: The difference at the end of the colour scale.
    """
    target = rows[0].images
    lines = []
    for row in rows:
        picture = (
            f'<img src="{data_uri(faces_png(row.images))}" alt="faces: {html.escape(row.name)}">'
        )
        heat, distance = "", ""
        if row.distances is not None:
            uri = data_uri(heat_png(row.images, target, top))
            heat = f'<img src="{uri}" alt="difference: {html.escape(row.name)}">'
            distance = f"L2 {float(row.distances.mean()):.3g}"
        lines.append(
            f"<div style='display:flex;flex-wrap:wrap;gap:4px 10px;align-items:center;"
            f"margin-bottom:6px'><div style='flex:0 0 130px'>{html.escape(row.name)}<br>"
            f"<small>{distance}</small></div>"
            f"<div style='flex:1 1 300px;max-width:560px'>{_wide(picture)}</div>"
            f"<div style='flex:1 1 300px;max-width:560px'>{_wide(heat)}</div></div>"
        )
    return "".join(lines)


def _wide(image: str) -> str:
    return image.replace("<img ", "<img style='width:100%;display:block;border-radius:3px' ")
