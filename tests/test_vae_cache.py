import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import vae.cache
from vae.cache import load_images
from vae.images import crop_to_square


def test_the_cache_holds_every_crop_and_opens_without_decoding_again(
    image_folder, tmp_path, monkeypatch
):
    first = load_images(image_folder, tmp_path / "cache")
    for name, pixels in zip(first.names, first.images, strict=True):
        with Image.open(image_folder / name) as image:
            np.testing.assert_array_equal(pixels, crop_to_square(image))

    monkeypatch.setattr(vae.cache, "_decode_all", lambda *_: pytest.fail("decoded again"))
    again = load_images(image_folder, tmp_path / "cache")
    np.testing.assert_array_equal(again.images, first.images)
    assert again.fingerprint == first.fingerprint


def test_a_zip_gives_the_same_pixels_as_its_folder(image_folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as archive:
        for path in image_folder.rglob("*.jpg"):
            archive.write(path, path.relative_to(image_folder))
    packed = load_images(tmp_path / "img_align_celeba.zip", tmp_path / "cache")
    assert packed.fingerprint == load_images(image_folder, tmp_path / "cache").fingerprint


def test_an_interrupted_decoding_goes_on_where_it_stopped(image_folder, tmp_path, monkeypatch):
    whole = load_images(image_folder, tmp_path / "whole").fingerprint

    class Stopping(vae.cache.tqdm):
        def update(self, n=1):
            super().update(n)
            if self.n == 17:
                raise KeyboardInterrupt

    monkeypatch.setattr(vae.cache, "tqdm", Stopping)
    with pytest.raises(KeyboardInterrupt):
        load_images(image_folder, tmp_path / "cache")

    starts = []

    class Counting(vae.cache.tqdm):
        def __init__(self, **kwargs):
            starts.append(kwargs["initial"])
            super().__init__(**kwargs)

    monkeypatch.setattr(vae.cache, "tqdm", Counting)
    assert load_images(image_folder, tmp_path / "cache").fingerprint == whole
    assert starts == [17]


@pytest.mark.parametrize("step", ["replace", "write_text"])
def test_a_decoding_that_is_killed_at_its_end_ends_like_any_other(
    image_folder, tmp_path, monkeypatch, step
):
    """Before the pixels have their name, and before the index is written."""
    whole = load_images(image_folder, tmp_path / "whole").fingerprint
    write_text = vae.cache.write_text

    def killed(*arguments):
        raise KeyboardInterrupt

    def killed_at_the_index(path, text):
        if path.name.endswith(".progress.json"):
            return write_text(path, text)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if step == "replace":
            own = SimpleNamespace(**vars(os) | {"replace": killed})  # the module's own os alone
            patched.setattr(vae.cache, "os", own)
        else:
            patched.setattr(vae.cache, "write_text", killed_at_the_index)
        with pytest.raises(KeyboardInterrupt):
            load_images(image_folder, tmp_path / "cache")
    assert load_images(image_folder, tmp_path / "cache").fingerprint == whole


def test_a_cache_that_lost_pixels_is_told_and_made_again_as_the_message_says(
    image_folder, tmp_path
):
    cache = tmp_path / "cache"
    whole = load_images(image_folder, cache).fingerprint
    (pixels,) = cache.glob("*.u8")
    index = pixels.with_suffix(".json")
    pixels.write_bytes(pixels.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"\.u8: not all the decoded images .*; remove .*\.json"):
        load_images(image_folder, cache)
    index.unlink()
    assert load_images(image_folder, cache).fingerprint == whole

    # As if the disk had kept what was written last and lost what was written before.
    index.unlink()
    progress = pixels.with_suffix(".progress.json")
    progress.write_text('{"done": 17, "unreadable": {}}')
    with pytest.raises(ValueError, match=r"17 images done, .* but 0 are decoded\); remove it"):
        load_images(image_folder, cache)
    progress.unlink()
    assert load_images(image_folder, cache).fingerprint == whole


def test_a_few_unreadable_images_are_left_out_and_listed(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(vae.cache, "MAX_UNREADABLE", 0.05)  # 40 images are too few for 1 %
    broken = image_folder / "img_align_celeba" / "000007.jpg"
    broken.write_bytes(broken.read_bytes()[:900])
    images = load_images(image_folder, tmp_path / "cache")
    assert (len(images.images), images.unreadable) == (39, 1)
    assert "img_align_celeba/000007.jpg" not in images.names
    assert images.unreadable_list.read_text().startswith("img_align_celeba/000007.jpg\tOSError")


def test_more_than_1_percent_unreadable_stops_with_the_list_every_time(image_folder, tmp_path):
    (image_folder / "img_align_celeba" / "000007.jpg").write_text("no JPEG")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"1 of 40 images cannot be read.*unreadable\.txt"):
            load_images(image_folder, tmp_path / "cache")


def test_a_script_without_a_main_guard_fails_instead_of_waiting_for_itself(image_folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom vae.cache import load_images\n"
        f"load_images(Path({str(image_folder)!r}), Path({str(tmp_path / 'cache')!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=Path(__file__).parents[1],
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert 'put its work under if __name__ == "__main__":' in done.stderr


def test_decoding_never_loads_torch():
    """Every worker would, for seconds and hundreds of megabytes."""
    code = "import vae.cache, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
