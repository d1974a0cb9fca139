"""One face in every mode and format that Pillow writes has the same pixels, or is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tests.conftest import draw_image
from vae.images import NOT_DECODED, crop_to_square, image_suffixes
from vae.pixels import as_shown

Image.init()
FACE = draw_image(3, (88, 108))
GREY = FACE.convert("L")
SRGB = ImageCms.createProfile("sRGB")
ORIENTATION = 0x0112


def sixteen_bits(mode):
    values = np.asarray(GREY).astype(">u2" if mode == "I;16B" else "<u2") * 257
    return Image.frombytes(mode, GREY.size, values.tobytes())


def lab():
    return ImageCms.profileToProfile(FACE, SRGB, ImageCms.createProfile("LAB"), outputMode="LAB")


FEW = FACE.quantize(256)
# The face in each mode, what it looks like, and how far the mode rounds its colours on average.
MODES = {
    "1": (GREY.convert("1"), GREY.convert("1"), 0),
    "L": (GREY, GREY, 0),
    "LA": (GREY.convert("LA"), GREY, 0),
    "La": (GREY.convert("LA").convert("La"), GREY, 0),
    "P": (FEW, FEW, 0),
    "PA": (FEW.convert("PA"), FEW, 0),
    "RGB": (FACE, FACE, 0),
    "RGBA": (FACE.convert("RGBA"), FACE, 0),
    "RGBa": (FACE.convert("RGBA").convert("RGBa"), FACE, 0),
    "RGBX": (FACE.convert("RGBX"), FACE, 0),
    "CMYK": (FACE.convert("CMYK"), FACE, 0),
    "YCbCr": (FACE.convert("YCbCr"), FACE, 1.5),
    "HSV": (FACE.convert("HSV"), FACE, 1.5),
    "LAB": (lab(), FACE, 1.5),
    "I;16": (sixteen_bits("I;16"), GREY, 0),
    "I;16L": (sixteen_bits("I;16L"), GREY, 0),
    "I;16B": (sixteen_bits("I;16B"), GREY, 0),
    "I": (Image.fromarray(np.asarray(GREY).astype(np.int32) * 257), GREY, 0),
    "I of 8 bits": (GREY.convert("I"), GREY, 0),
    "F in [0, 1]": (Image.fromarray((np.asarray(GREY) / 255).astype(np.float32)), GREY, 0),
    "F in [0, 255]": (GREY.convert("F"), GREY, 0),
}
LOSSY = {
    "JPEG": 4,
    "MPO": 4,
    "WEBP": 6,
    "AVIF": 5,
    "SPIDER": 1,
}  # mean levels that a face may be off
# These formats keep 8 bits per channel, so what Pillow writes there of more bits is no face.
KEEPS_8_BITS = {"AVIF", "GIF", "ICNS", "ICO", "WEBP"}


def levels(image):
    return np.asarray(image.convert("RGB")).astype(int)


def written(image, how, **options):
    stream = io.BytesIO()
    image.save(stream, how, **options)
    stream.seek(0)
    return Image.open(stream)


@pytest.mark.parametrize("mode", MODES)
def test_a_face_of_any_mode_is_itself_in_memory(mode):
    image, looks, rounding = MODES[mode]
    assert np.abs(levels(as_shown(image)) - levels(looks)).mean() <= rounding


@pytest.mark.parametrize("how", sorted(set(Image.SAVE) & set(Image.OPEN) - NOT_DECODED))
def test_a_face_of_any_mode_is_itself_in_every_format_that_holds_it(how):
    tried = 0
    for mode, (image, looks, rounding) in MODES.items():
        if how in KEEPS_8_BITS and (mode.startswith("I;") or mode in ("I", "F in [0, 1]")):
            continue
        # SPIDER has floats alone: Pillow converts colours to luma.
        expected = levels(looks.convert("F") if how == "SPIDER" else looks)
        try:
            stored = written(image, how)
        except (OSError, KeyError, ValueError, SystemError):
            continue  # this format has no such mode
        if stored.size != image.size:  # icons have sizes of their own
            assert how in ("ICO", "ICNS")
            expected = levels(looks.resize(stored.size, Image.Resampling.LANCZOS))
            stored, rounding = as_shown(stored), 12
        if how == "GIF" and image.mode not in ("1", "L", "P", "I"):
            rounding = 10  # 256 colours
        try:
            found = levels(as_shown(stored))
        except ValueError:
            assert how == "SPIDER", (mode, how)  # floats up to 65535 are refused
            continue
        off = np.abs(found - expected).mean()
        assert off <= rounding + LOSSY.get(how, 0), (mode, how, off)
        tried += 1
    assert tried


def test_plain_jpegs_keep_the_pixels_of_earlier_versions():
    """The crop of version 1 of the preprocessing, which the embedded weights were made for."""
    for i, grey in enumerate((False, True, False)):
        image = draw_image(i, (178, 218) if i < 2 else (89, 109))
        stored = written(image.convert("L") if grey else image, "JPEG", quality=90)
        width, height = image.size
        side = width * 148 / 178
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        before = stored.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR, box=box)
        assert (crop_to_square(stored) == np.asarray(before)).all()


def test_what_is_shown_is_shown_as_it_is():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    once = as_shown(written(FACE, "PNG", exif=exif, icc_profile=wide_gamut()))
    assert (levels(as_shown(once)) == levels(once)).all()
    assert once.size == FACE.size[::-1]


@pytest.mark.parametrize(
    ("how", "off"), [("JPEG", 4), ("PNG", 0), ("TIFF", 0), ("WEBP", 6), ("MPO", 4), ("AVIF", 5)]
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(how, off, orientation):
    """Each is laid down here by mirroring and turning it the other way."""
    lying = {
        1: FACE,
        2: ImageOps.mirror(FACE),
        3: FACE.rotate(180),
        4: ImageOps.flip(FACE),
        5: ImageOps.mirror(FACE).rotate(90, expand=True),
        6: FACE.rotate(90, expand=True),
        7: ImageOps.mirror(FACE).rotate(270, expand=True),
        8: FACE.rotate(270, expand=True),
    }[orientation]
    if how not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {how}")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stream = io.BytesIO()
    lying.save(stream, how, exif=exif)
    shown = as_shown(Image.open(stream))
    assert shown.size == FACE.size
    assert np.abs(levels(shown) - levels(FACE)).mean() <= off
    crop = crop_to_square(Image.open(stream)).astype(int)
    assert np.abs(crop - crop_to_square(FACE)).mean() <= off


def test_a_damaged_exif_block_or_an_unknown_orientation_turns_nothing():
    exif = Image.Exif()
    for value in (0, 9, 300):
        exif[ORIENTATION] = value
        assert (levels(as_shown(written(FACE, "PNG", exif=exif))) == levels(FACE)).all()
    for block in (b"Exif\0\0II", b"Exif\0\0" + b"\xff" * 30, b"nonsense"):
        assert (levels(as_shown(written(FACE, "PNG", exif=block))) == levels(FACE)).all()


# Transparency: the lower half is hidden, over a green that nobody is meant to see.
HALF = np.arange(FACE.size[1])[:, None] >= FACE.size[1] // 2


def hidden_half(colours, green):
    values = np.array(colours)
    values[np.broadcast_to(HALF, values.shape[:2])] = green
    return Image.fromarray(values)


def on_white(image):
    values = levels(image)
    values[np.broadcast_to(HALF, values.shape[:2])] = 255
    return values


ALPHA = Image.fromarray(np.where(np.broadcast_to(HALF, FACE.size[::-1]), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("how", ["PNG", "TIFF", "WEBP", "TGA", "ICO", "JPEG2000", "GIF", "AVIF"])
def test_what_is_hidden_is_white(how):
    if how not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {how}")
    rgba = hidden_half(FACE, (0, 255, 0)).convert("RGBA")
    rgba.putalpha(ALPHA)
    options = {"ICO": {"sizes": [FACE.size], "bitmap_format": "png"}, "WEBP": {"lossless": True}}
    shown = levels(as_shown(written(rgba, how, **options.get(how, {}))))
    assert np.abs(shown - on_white(FACE)).mean() <= {"GIF": 8, "AVIF": 5}.get(how, 0)
    assert (shown[-20:] >= 250).all()  # far from the seam


@pytest.mark.parametrize("how", ["PNG", "TIFF", "TGA"])
def test_greys_with_alpha_are_on_white(how):
    image = hidden_half(GREY, 90).convert("LA")
    image.putalpha(ALPHA)
    assert (levels(as_shown(written(image, how))) == on_white(GREY)).all()
    assert (levels(as_shown(image.convert("La"))) == on_white(GREY)).all()


def test_half_transparent_and_premultiplied_pixels_are_mixed_with_white():
    half = FACE.convert("RGBA")
    half.putalpha(128)
    expected = 255 - (255 - levels(FACE)) * 128 / 255
    assert np.abs(levels(as_shown(half)) - expected).max() <= 1
    assert np.abs(levels(as_shown(half.convert("RGBa"))) - expected).max() <= 2


def test_transparent_palette_entries_and_colours_are_white():
    few = FACE.quantize(200)
    places = np.array(few)
    places[np.broadcast_to(HALF, places.shape)] = 255
    palette = [*few.getpalette()[:600], *[0, 255, 0] * 56]
    indexed = Image.fromarray(places)
    indexed.putpalette(palette)
    for how, key in (("PNG", 255), ("PNG", b"\xff" * 255 + b"\0"), ("GIF", 255)):
        shown = levels(as_shown(written(indexed, how, transparency=key)))
        assert (shown == on_white(few)).all()

    green = hidden_half(FACE, (1, 254, 3))
    shown = levels(as_shown(written(green, "PNG", transparency=(1, 254, 3))))
    assert (shown == on_white(FACE)).all()
    grey = hidden_half(Image.fromarray(np.asarray(GREY) | 1), 6)
    shown = levels(as_shown(written(grey, "PNG", transparency=6)))
    assert (shown == on_white(Image.fromarray(np.asarray(GREY) | 1))).all()
    deep = Image.fromarray(np.where(HALF, 777, np.asarray(GREY).astype(np.uint16) * 257))
    shown = levels(as_shown(written(deep.convert("I;16"), "PNG", transparency=777)))
    assert np.abs(shown - on_white(GREY)).max() == 0


def a_png(depth, colour, rows, *chunks):
    """A PNG written by hand, of depths that Pillow does not write; rows are packed bytes."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    width = len(rows[0]) * 8 // (depth * (3 if colour == 2 else 1))
    head = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = [chunk(b"IHDR", head), *(chunk(*more) for more in chunks), chunk(b"IDAT", pixels)]
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_are_spread_over_all_greys_and_their_transparent_one_is_white(depth):
    per_byte, most = 8 // depth, 2**depth - 1
    values = np.arange(16 * 16).reshape(16, 16) % (most + 1)
    packed = [
        [
            sum(int(v) << (8 - depth * (i + 1)) for i, v in enumerate(row[j : j + per_byte]))
            for j in range(0, 16, per_byte)
        ]
        for row in values
    ]
    expected = np.rint(values * 255 / most)
    assert (levels(as_shown(a_png(depth, 0, packed)))[..., 0] == expected).all()
    keyed = as_shown(a_png(depth, 0, packed, (b"tRNS", struct.pack(">H", 1))))
    assert (levels(keyed)[..., 0] == np.where(values == 1, 255, expected)).all()


def test_colours_of_16_bits_are_the_face_in_8():
    values = np.asarray(FACE).astype(">u2") * 257
    rows = [row.tobytes() for row in values]
    assert (levels(as_shown(a_png(16, 2, rows))) == levels(FACE)).all()
    with pytest.raises(ValueError, match="transparent colour of 16 bits"):
        as_shown(a_png(16, 2, rows, (b"tRNS", struct.pack(">HHH", 1, 2, 3))))


def a_tiff(values, **tags):
    """An uncompressed TIFF of one strip, of kinds that Pillow does not write."""
    height, width, *samples = values.shape
    count = samples[0] if samples else 1
    order = ">" if values.dtype.byteorder == ">" else "<"
    bits = tags.pop("bits", values.dtype.itemsize * 8)
    entries = {
        256: width,
        257: height,
        258: [bits] * count,
        259: 1,
        262: tags.pop("photometric", 1),
        273: 0,
        277: count,
        278: height,
        279: values.nbytes,
        339: [tags.pop("sample", 1)] * count,
    }
    arrays, offset = b"", 8 + 2 + 12 * len(entries) + 4
    body = b""
    for tag, value in entries.items():
        if isinstance(value, list) and len(value) > 2:
            field = struct.pack(f"{order}HII", 3, len(value), offset + len(arrays))
            arrays += struct.pack(f"{order}{len(value)}H", *value)
        elif isinstance(value, list):
            field = struct.pack(f"{order}HI{len(value)}H", 3, len(value), *value)
        else:
            field = struct.pack(f"{order}HII", 4, 1, value)
        body += struct.pack(f"{order}H", tag) + field.ljust(10, b"\0")
    strip = struct.pack(f"{order}I", offset + len(arrays))
    body = body.replace(
        struct.pack(f"{order}HHII", 273, 4, 1, 0), struct.pack(f"{order}HHI", 273, 4, 1) + strip
    )
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", 8)
    head += struct.pack(f"{order}H", len(entries)) + body + bytes(4) + arrays
    return Image.open(io.BytesIO(head + values.tobytes()))


def test_tiffs_of_16_bits_are_the_face_in_8_in_both_byte_orders():
    for order in "<>":
        deep = np.asarray(FACE).astype(f"{order}u2") * 257
        assert (levels(as_shown(a_tiff(deep, photometric=2))) == levels(FACE)).all()
        grey = np.asarray(GREY).astype(f"{order}u2") * 257
        assert (levels(as_shown(a_tiff(grey))) == levels(GREY)).all()
    negative = (255 - np.asarray(GREY).astype("<u2")) * 257
    assert (levels(as_shown(a_tiff(negative, photometric=0))) == levels(GREY)).all()
    with pytest.raises(ValueError, match="signed"):
        as_shown(a_tiff(np.asarray(GREY), sample=2))


def test_numbers_without_a_known_range_are_refused():
    values = np.asarray(GREY).astype(np.float32)
    values = values / values.max()
    for wrong in (values - 0.5, values * 300, values * np.nan, values * np.inf):
        with pytest.raises(ValueError, match="sample"):
            as_shown(Image.fromarray(wrong))
    with pytest.raises(ValueError, match="brightest sample is 1023"):
        as_shown(Image.fromarray(np.rint(values * 1023).astype(np.uint16)))
    with pytest.raises(ValueError, match="brightest sample is 100000"):
        as_shown(Image.fromarray(np.rint(values * 100_000).astype(np.int32)))


def test_what_is_transparent_everywhere_is_refused():
    hidden = FACE.convert("RGBA")
    hidden.putalpha(0)
    with pytest.raises(ValueError, match="transparent everywhere"):
        as_shown(hidden)


@pytest.mark.parametrize("how", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"])
def test_of_several_pictures_the_first_counts(how):
    if how not in Image.SAVE_ALL:
        pytest.skip(f"this Pillow does not write {how}")
    others = [draw_image(i, FACE.size) for i in (4, 5)]
    stored = written(FACE, how, save_all=True, append_images=others)
    assert getattr(stored, "n_frames", 1) == 3
    assert np.abs(levels(as_shown(stored)) - levels(FACE)).mean() < 9


def profile_of(red, green, blue, gamma):
    """A matrix profile (ICC.1:2001) of these primaries in XYZ of D50, made by hand."""

    def number(value):
        return struct.pack(">i", round(value * 65536))

    def xyz(values):
        return b"XYZ " + bytes(4) + b"".join(map(number, values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    description = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78 + 1)
    tags = {
        b"desc": description,
        b"cprt": b"text" + bytes(4) + b"none\0\0\0\0",
        b"wtpt": xyz((0.9642, 1.0, 0.8249)),
        b"rXYZ": xyz(red),
        b"gXYZ": xyz(green),
        b"bXYZ": xyz(blue),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + number(0.9642) + number(1.0) + number(0.8249)
    return head.ljust(128, b"\0") + table + data


def wide_gamut():
    """Adobe RGB (1998): a wider green, and gamma 2.2."""
    return profile_of(
        (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457), 2.2
    )


SOFT = FACE.point(lambda value: 60 + value // 2)  # within the colours of both


def test_colours_of_another_profile_are_those_of_the_face():
    wide = ImageCms.ImageCmsProfile(io.BytesIO(wide_gamut()))
    there = ImageCms.profileToProfile(SOFT, SRGB, wide)
    assert np.abs(levels(there) - levels(SOFT)).mean() > 4  # without the profile it looks otherwise
    for how in ("PNG", "TIFF", "JPEG", "WEBP"):
        stored = written(there, how, icc_profile=wide_gamut())
        assert np.abs(levels(as_shown(stored)) - levels(SOFT)).mean() <= 1 + LOSSY.get(how, 0) / 2
    rgba = there.convert("RGBA")
    rgba.putalpha(ALPHA)
    shown = levels(as_shown(written(rgba, "PNG", icc_profile=wide_gamut())))
    assert np.abs(shown - on_white(SOFT)).mean() < 1


def test_an_srgb_profile_changes_nothing_and_neither_does_one_that_does_not_fit():
    srgb = ImageCms.ImageCmsProfile(SRGB).tobytes()
    for profile in (srgb, b"no profile", wide_gamut()[:200]):
        assert (levels(as_shown(written(FACE, "PNG", icc_profile=profile))) == levels(FACE)).all()
    cmyk = written(FACE.convert("CMYK"), "TIFF", icc_profile=wide_gamut())
    assert (levels(as_shown(cmyk)) == levels(FACE)).all()


def test_a_grey_copy_with_the_profile_of_its_colours_has_its_brightness():
    wide = ImageCms.ImageCmsProfile(io.BytesIO(wide_gamut()))
    grey = Image.merge("RGB", [SOFT.convert("L")] * 3)
    there = ImageCms.profileToProfile(grey, SRGB, wide).convert("L")
    shown = as_shown(written(there, "PNG", icc_profile=wide_gamut()))
    assert np.abs(levels(shown) - levels(grey)).max() <= 2


def test_a_png_of_linear_light_is_encoded_as_srgb():
    light = (np.asarray(GREY) / 255) ** 2.2
    rows = [bytes(np.rint(255 * row).astype(np.uint8)) for row in light]
    shown = as_shown(a_png(8, 0, rows, (b"gAMA", struct.pack(">I", 100_000))))
    bright = np.asarray(GREY) > 80  # 8 bits of light are too few for the dark
    assert np.abs(levels(shown)[..., 0] - np.asarray(GREY))[bright].max() < 8
    usual = a_png(8, 0, rows, (b"gAMA", struct.pack(">I", 45_455)))
    assert (levels(as_shown(usual))[..., 0] == np.rint(255 * light)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (9000, 3), (9, 200)])
def test_too_few_pixels_are_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} pixels are too few"):
        crop_to_square(Image.new("RGB", size))


def test_the_formats_of_photographs_are_read_and_those_of_other_programs_are_not():
    read = image_suffixes()
    assert {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".apng", ".bmp", ".gif", ".tif"} <= read
    assert {".tiff", ".webp", ".jp2", ".mpo", ".tga", ".ppm", ".pgm"} <= read
    assert not read & {".eps", ".ps", ".pdf", ".mpg", ".h5", ".wmf", ".txt", ".npy"}
