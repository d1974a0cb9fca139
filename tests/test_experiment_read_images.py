"""Readers of images and zips: damage is told in one line, or counted as unreadable."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import draw_image
from tests.damage import READER, damaged, outcome
from vae.cache import _decode
from vae.images import find_images

FORMATS = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}


def image_bytes(suffix):
    stream = io.BytesIO()
    draw_image(0, (30, 40)).save(stream, FORMATS.get(suffix, suffix.upper()))
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif", "gif", "jp2", "tga"])
@READER
@given(data=st.data())
def test_a_damaged_image_is_decoded_or_the_reason_is_given(suffix, tmp_path, data):
    name = f"a.{suffix}"
    (tmp_path / name).write_bytes(data.draw(damaged(image_bytes(suffix))))
    found = _decode(tmp_path, 32, name)
    if isinstance(found, bytes):
        assert len(found) == 3 * 32**2
    else:
        assert len(found.splitlines()) == 1


def a_zip():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(2):
            archive.writestr(f"{i}.png", image_bytes("png"))
    return stream.getvalue()


@READER
@given(data=st.data())
def test_a_damaged_zip_is_told_or_each_member_decoded_or_explained(tmp_path_factory, data):
    # A handle a path is kept open, so each zip has a path of its own.
    path = tmp_path_factory.mktemp("zip") / "faces.zip"
    whole = a_zip()
    end = len(whole) - 130  # the list of members
    path.write_bytes(
        data.draw(damaged(whole) | damaged(whole[end:]).map(lambda tail: whole[:end] + tail))
    )
    found = outcome(find_images, path)
    for name in found.names if found else ():
        assert isinstance(_decode(path, 32, name), bytes | str)
