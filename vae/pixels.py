"""A stored picture as a viewer shows it: 8-bit sRGB, upright, opaque.

The rules, in this order (``data/README.md`` states them for users):

- pictures: of a file with several (GIF, WebP, APNG, MPO, TIFF) the first one counts;
- depth: 1 bit is black or white; integers of 16 bits are divided by 257, of 12 bits by 4095/255;
  floats are in [0, 1] or else in [0, 255]; other ranges are refused;
- colours: palettes are looked up; CMYK, YCbCr, HSV and LAB are converted; an embedded ICC profile
  that differs from sRGB is applied, and so is the gamma of a PNG without profile;
- transparency: composited on white; a picture that is transparent everywhere is refused;
- orientation: the EXIF or TIFF tag is applied.

A picture that none of this changes, like a plain JPEG, keeps its decoded bytes.
"""

import functools
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

_ORIENTATION = 0x0112  # EXIF tag
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_WHITE_IS_ZERO, _SIGNED = 0, 2  # their values
_TWELVE_BITS, _SIXTEEN_BITS = 2**12 - 1, 2**16 - 1
_LEVELS_OF_SRGB = 2  # a profile that changes no colour by more is sRGB: rounding, old variants
_SRGB_GAMMA = (0.43, 0.48)  # a PNG's gamma in this range is meant as sRGB: 1/2.2 is 0.4545


def as_shown(image: Image.Image) -> Image.Image:
    """The picture by the rules above, in mode RGB. It may be ``image`` itself.

    Raises:
        ValueError: it has no meaning by these rules.
        OSError: it is cut off or damaged.
    """
    stored_as = _stored_as(image)
    image.load()  # also reads what follows the pixels, and turns a TIFF upright
    turn = _TRANSPOSE.get(_orientation(image))
    shown = image if image.mode == "RGB" and not _may_differ(image) else _on_white(image, stored_as)
    if turn is not None:
        shown = shown.transpose(turn)
    if shown is not image:
        shown.info = {}  # nothing is left to be applied
    return shown


def _stored_as(image: Image.Image) -> str:
    """Pillow's name of the samples in the file, like "L;4". Only known before loading."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation. A damaged EXIF block has none, as in viewers."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return 1  # Pillow has turned it; some versions leave the tag there
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds of exceptions for odd blocks
        return 1


def _may_differ(image: Image.Image) -> bool:
    return any(name in image.info for name in ("icc_profile", "transparency", "gamma"))


def _on_white(image: Image.Image, stored_as: str) -> Image.Image:
    """The colours in sRGB, composited on white; not yet upright."""
    colours, alpha = _colours_and_alpha(image, stored_as)
    rgb = _to_srgb(colours, image)
    if alpha is None:
        return rgb
    darkest, brightest = alpha.getextrema()
    if brightest == 0:
        raise ValueError("transparent everywhere, so nothing is to be seen")
    if darkest == 255:
        return rgb
    white = Image.new("RGBA", image.size, "white")
    rgb.putalpha(alpha)
    return Image.alpha_composite(white, rgb).convert("RGB")


def _colours_and_alpha(
    image: Image.Image, stored_as: str
) -> tuple[Image.Image, Image.Image | None]:
    """The colours with 8 bits per channel in mode L, RGB, CMYK or LAB, and the opacity, if any."""
    key = image.info.get("transparency")
    if image.mode in ("P", "PA"):
        expanded = image.convert("RGBA")
        return expanded.convert("RGB"), expanded.getchannel("A")
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode in ("LA", "RGBA"):
        return image.convert(image.mode[:-1]), image.getchannel("A")
    if image.mode == "F" or image.mode.startswith("I"):
        colours = Image.fromarray(_to_bytes(np.asarray(image), image))
    elif image.mode in ("L", "RGB", "CMYK", "LAB"):
        if _tag(image, _SAMPLE_FORMAT) == _SIGNED:
            raise ValueError("has signed 8-bit samples, whose range is not known")
        colours = image
    elif image.mode in ("1", "RGBX", "YCbCr", "HSV"):
        colours = image.convert("L" if image.mode == "1" else "RGB")
    else:
        raise ValueError(f"has colour mode {image.mode}, which is not read")
    return colours, None if key is None else _keyed_out(np.asarray(image), key, stored_as)


def _keyed_out(samples: NDArray[np.generic], key: object, stored_as: str) -> Image.Image | None:
    """Opacity of an image in which one grey or one colour is transparent (a PNG's tRNS)."""
    if samples.dtype == np.bool_:
        samples = np.where(samples, 255, 0)
    if stored_as in ("L;2", "L;4") and isinstance(key, int):
        key *= 255 // (2 ** int(stored_as[-1]) - 1)  # Pillow scales the samples alone
    if ";16" in stored_as and samples.ndim == 3:
        raise ValueError(
            "has a transparent colour of 16 bits, but is read with 8: the transparent pixels are "
            "not known"
        )
    if not isinstance(key, int | tuple):
        return None
    wanted = np.asarray(key)
    if wanted.ndim != samples.ndim - 2 or (wanted.ndim and len(wanted) != samples.shape[2]):
        return None
    hidden = samples == wanted
    if samples.ndim == 3:
        hidden = hidden.all(axis=2)
    return Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8))


def _to_bytes(samples: NDArray[np.generic], image: Image.Image) -> NDArray[np.uint8]:
    """Grey samples of mode I, I;16 or F, (H, W), in 8 bits."""
    least, most = float(samples.min()), float(samples.max())
    if not (np.isfinite(least) and np.isfinite(most) and least >= 0):
        raise ValueError(f"has samples from {least:g} to {most:g}, which are no brightness")
    if image.mode == "F":
        white = 1.0 if most <= 1 else 255.0
    elif _tag(image, _BITS) == 12:
        white = _TWELVE_BITS
    else:
        # Integers below 256 are 8 bits in a larger type: with 16 bits the picture were black.
        white = 255.0 if most <= 255 else _SIXTEEN_BITS
        if 255 < most <= _TWELVE_BITS:
            raise ValueError(
                f"its brightest sample is {most:g}: with 16 bits it were black, with 10 or 12 not; "
                "scale it to 16 bits"
            )
    if most > white:
        raise ValueError(f"its brightest sample is {most:g}, more than {white:g}")
    scaled = np.rint(samples.astype(np.float64) * (255.0 / white)).astype(np.uint8)
    # Pillow turns this around for 8 bits alone.
    return 255 - scaled if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO else scaled


def _tag(image: Image.Image, number: int) -> int | None:
    """A tag of a TIFF, the first of several values; None elsewhere."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    value = image.tag_v2.get(number)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else None


def _to_srgb(colours: Image.Image, image: Image.Image) -> Image.Image:
    """Colours of mode L, RGB, CMYK or LAB in sRGB, by the profile or gamma of ``image``."""
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if profile or colours.mode == "LAB":
        transform = _transform(profile or b"", colours.mode)
        if transform is None and colours.mode == "L":  # made grey, with the profile of its colours
            transform = _transform(profile or b"", "RGB")
            colours = colours.convert("RGB") if transform else colours
        if transform is not None:
            return transform(colours)
    elif gamma and "srgb" not in image.info and not _SRGB_GAMMA[0] <= gamma <= _SRGB_GAMMA[1]:
        rgb = colours.convert("RGB")
        return rgb.point(_gamma_table(float(gamma)) * 3)
    # A copy: the picture of the file stays as it is.
    return colours.convert("RGB")


def _gamma_table(gamma: float) -> list[int]:
    """Stored byte -> byte in sRGB, for samples that are the ``gamma``-th power of light."""
    if not 0.05 <= gamma <= 20:
        raise ValueError(f"has a gamma of {gamma:g}")
    light = (np.arange(256) / 255) ** (1 / gamma)
    # IEC 61966-2-1.
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table: list[int] = np.rint(255 * encoded).astype(int).tolist()
    return table


@functools.lru_cache(maxsize=64)  # most images of a data set share a few profiles
def _transform(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """From colours with this ICC profile to sRGB.

    None if that changes nothing, and for a profile that is damaged or made for another kind of
    colours, which viewers ignore too.
    """
    from PIL import ImageCms  # plain images do not need it

    try:
        if mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        kind = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
        if kind.get(source.profile.xcolor_space.strip()) != mode:
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None

    def apply(colours: Image.Image) -> Image.Image:
        return transform.apply(colours)

    if mode in ("L", "RGB"):
        probe = _probe(mode)
        before, after = (np.asarray(x.convert("RGB"), int) for x in (probe, apply(probe)))
        if np.abs(before - after).max() <= _LEVELS_OF_SRGB:
            return None
    return apply


def _probe(mode: str) -> Image.Image:
    """Colours from everywhere: all greys, or every combination of 18 levels."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    return Image.fromarray(
        np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 18, 3)
    )
