import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.conftest import draw_image
from vae.images import assign_splits, crop_to_square, find_images, read_partition


def test_the_crop_is_the_centred_square_of_148_of_178_pixels():
    """A frame painted outside that square leaves no trace, one inside it does."""
    inside = np.full((218, 178, 3), 200, np.uint8)
    outside = inside.copy()
    # The square is [35, 183) x [15, 163); the antialiasing filter reaches 2 pixels beyond it.
    outside[:33], outside[185:], outside[:, :13], outside[:, 165:] = 0, 0, 0, 0
    assert (crop_to_square(Image.fromarray(outside)) == 200).all()
    for edge in (np.s_[35, 15:163], np.s_[182, 15:163], np.s_[35:183, 15], np.s_[35:183, 162]):
        framed = inside.copy()
        framed[edge] = 0
        assert crop_to_square(Image.fromarray(framed)).min() < 150


def test_half_size_images_show_the_same_square():
    image = draw_image(0)
    whole = crop_to_square(image).astype(int)
    half = crop_to_square(image.resize((89, 109), Image.Resampling.BOX)).astype(int)
    assert np.abs(whole - half).mean() < 2.0  # of 255; the pictures are smooth


def test_resizing_is_antialiased():
    """Stripes of one pixel turn grey; point sampling would keep black and white."""
    stripes = np.zeros((218, 178, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(crop_to_square(Image.fromarray(stripes)).astype(int)) < 130


def test_low_wide_grey_images_are_cropped_to_their_height():
    grey = Image.fromarray(np.full((50, 300), 7, np.uint8))
    assert (crop_to_square(grey) == 7).all()
    assert crop_to_square(grey).shape == (64, 64, 3)


def test_images_are_found_below_any_folder_in_one_order(image_folder):
    nested = find_images(image_folder.parent)
    assert len(nested.names) == 40
    assert nested.names[0] == "celeba/img_align_celeba/000001.jpg"
    assert list(nested.names) == sorted(nested.names)
    assert nested.fingerprint() == find_images(image_folder.parent).fingerprint()


def test_a_changed_image_changes_the_fingerprint(image_folder):
    before = find_images(image_folder).fingerprint()
    draw_image(99).save(image_folder / "img_align_celeba" / "000001.jpg")
    assert find_images(image_folder).fingerprint() != before


def test_the_zip_is_used_where_nothing_is_extracted(image_folder, tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(packed / "img_align_celeba.zip", "w") as archive:
        for path in image_folder.rglob("*.jpg"):
            archive.write(path, path.relative_to(image_folder))
    source = find_images(packed)
    assert source.root == packed / "img_align_celeba.zip"
    assert source.names == find_images(image_folder).names


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_missing_or_empty_folder_tells_the_layout_and_where_to_read_on(tmp_path, make):
    make(tmp_path / "none")
    with pytest.raises((FileNotFoundError, ValueError), match=r"img_align_celeba.*data/README.md"):
        find_images(tmp_path / "none")


def test_a_damaged_zip_is_named(tmp_path):
    (tmp_path / "img_align_celeba.zip").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"img_align_celeba.zip: not a readable zip"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list_eval_partition.txt", "{} 0\n{} 1\n{} 2\n"),
        ("list_eval_partition.csv", "image_id,partition\n{},0\n{},1\n{},2\n"),
    ],
)
def test_the_official_partition_is_used_in_both_its_forms(tmp_path, name, text):
    names = ("a/000001.jpg", "a/000002.jpg", "a/000003.jpg")
    path = tmp_path / name
    path.write_text(text.format(*(n.split("/")[1] for n in names)))
    assert assign_splits(names, path).tolist() == [0, 1, 2]


def test_a_partition_that_lacks_an_image_or_names_no_split_is_refused(tmp_path):
    path = tmp_path / "list_eval_partition.txt"
    path.write_text("000001.jpg 0\n")
    with pytest.raises(ValueError, match=r"no split for 000002.jpg"):
        assign_splits(("000002.jpg",), path)
    path.write_text("000001.jpg 0\n000002.jpg train\n")
    with pytest.raises(ValueError, match=r"entry 2 reads"):
        read_partition(path)


def test_the_hold_out_is_about_5_percent_and_keeps_copies_of_a_photo_together():
    names = tuple(f"{i:06d}.jpg" for i in range(20_000))
    splits = assign_splits(names, None)
    assert set(splits) == {0, 1}
    assert abs(splits.mean() - 0.05) < 5 * np.sqrt(0.05 * 0.95 / 20_000)
    elsewhere = tuple(f"half/{name[:-4]}.png" for name in names)
    assert (assign_splits(elsewhere, None) == splits).all()
