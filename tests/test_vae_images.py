import contextlib
import os
import shutil
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import draw_image
from vae.cache import load_images
from vae.check_data import check_data
from vae.config import CheckConfig
from vae.images import (
    UNREADABLE,
    assign_splits,
    crop_to_square,
    find_images,
    image_suffixes,
    read_image,
    read_partition,
)


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


def faces(folder, count, suffix="jpg", first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        draw_image(i, (40, 50)).save(folder / f"{i + 1:06d}.{suffix}")


def left_out(data):
    return {kind.kind: kind.count for kind in find_images(data).left_out}


def test_formats_that_pillow_reads_are_read_and_the_others_are_counted_by_ending(tmp_path, capsys):
    read = [
        suffix
        for suffix in ("jpg", "tif", "gif", "webp", "bmp", "jfif", "avif", "png")
        if f".{suffix}" in image_suffixes()
    ]
    for i, suffix in enumerate(read):
        faces(tmp_path, 2, suffix, first=2 * i)
    for name in ("a.heic", "b.HEIC", "c.txt", "no_ending", "d.npy"):
        (tmp_path / name).write_bytes(b"x")
    assert len(find_images(tmp_path).names) == 2 * len(read)
    assert left_out(tmp_path) == {
        ".heic files, which are not read": 2,
        ".npy files, which are not read": 1,
        ".txt files, which are not read": 1,
        "files without an ending, which are not read": 1,
    }
    check_data(CheckConfig(tmp_path))
    out = capsys.readouterr().out
    assert f"images:  {2 * len(read)} in" in out
    assert "unused:  2 .heic files, which are not read (a.heic)\n" in out


def test_hidden_files_and_those_of_systems_are_no_images(tmp_path):
    faces(tmp_path, 3)
    for name in (".000001.jpg", "__MACOSX/a/b.jpg", "Thumbs.db", ".git/x.png", "sub/.DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert len(find_images(tmp_path).names) == 3
    assert left_out(tmp_path) == {"hidden files and files of the system": 5}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("x/1.jpg", "__MACOSX/x/._1.jpg", "x/.DS_Store", "x/notes.txt"):
            archive.writestr(name, b"")
    assert find_images(tmp_path / "a.zip").names == ("x/1.jpg",)
    assert left_out(tmp_path / "a.zip") == {
        "hidden files and files of the system": 2,
        ".txt files, which are not read": 1,
    }


def test_what_links_lead_to_counts_once(tmp_path):
    data = tmp_path / "data"
    faces(data / "real", 4)
    faces(tmp_path / "outside", 3, first=10)
    (data / "again").symlink_to(data / "real")
    (data / "a").symlink_to(tmp_path / "outside")
    (data / "b").symlink_to(tmp_path / "outside")
    (data / "real" / "loop").symlink_to(data)
    (data / "one.jpg").symlink_to(data / "real" / "000001.jpg")
    names = find_images(data).names
    assert names == (
        *(f"a/{i:06d}.jpg" for i in range(11, 14)),
        *(f"real/{i:06d}.jpg" for i in range(1, 5)),
    )
    assert left_out(data) == {
        "links to a folder that is read already": 3,
        "links to a file that is read already": 1,
    }


def test_links_that_lead_nowhere_are_unreadable_images_or_told(tmp_path, capsys):
    data = tmp_path / "data"
    faces(data, 149)
    (data / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (data / "circle.txt").symlink_to(data / "circle.txt")
    images = load_images(data, tmp_path / "cache", 32)
    assert (len(images.images), images.unreadable) == (149, 1)
    assert images.unreadable_list.read_text().startswith("dangling.jpg\t")
    assert left_out(data) == {"links that lead nowhere": 1}
    check_data(CheckConfig(data))
    out = capsys.readouterr().out
    assert "damaged: 1 of 150 opened\n         1 like dangling.jpg: No such file" in out


def test_a_pipe_or_socket_named_like_an_image_is_not_opened(tmp_path):
    faces(tmp_path, 2)
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.jpg"))
    assert len(find_images(tmp_path).names) == 2
    assert left_out(tmp_path) == {"pipes, sockets and devices": 2}


def test_names_that_are_not_utf8_work_and_are_shown(tmp_path, capsys):
    faces(tmp_path / "data", 2)
    odd = os.fsencode(tmp_path / "data") + b"/caf\xe9.jpg"
    shutil.copy(tmp_path / "data" / "000001.jpg", odd)
    shutil.copy(tmp_path / "data" / "000001.jpg", odd[:-3] + b"xyz")
    images = load_images(tmp_path / "data", tmp_path / "cache", 32)
    assert len(images.images) == 3
    assert (images.images[2] == images.images[0]).all()
    check_data(CheckConfig(tmp_path / "data"))
    assert "1 .xyz files, which are not read (caf\\xe9.xyz)" in capsys.readouterr().out
    Path(os.fsdecode(odd)).write_bytes(b"no image")
    with pytest.raises(ValueError, match="1 of 3 images cannot be read"):
        load_images(tmp_path / "data", tmp_path / "cache", 32)
    (listed,) = (tmp_path / "cache").glob("*.unreadable.txt")
    assert listed.read_text(encoding="utf-8").startswith("caf\\xe9.jpg\t")


def test_of_a_zip_and_images_beside_it_the_larger_is_used_and_the_other_told(tmp_path):
    faces(tmp_path / "all", 5)
    data = tmp_path / "data"
    faces(data / "previews", 2)
    with zipfile.ZipFile(data / "img_align_celeba.zip", "w") as archive:
        for path in (tmp_path / "all").iterdir():
            archive.write(path, f"img/{path.name}")
    (data / "readme.md").write_text("hello")
    assert find_images(data).root.name == "img_align_celeba.zip"
    assert left_out(data) == {
        "images beside the zip, which has more": 2,
        ".md files, which are not read": 1,
    }
    faces(data / "img_align_celeba", 5)
    assert find_images(data).root == data
    assert left_out(data)["zips beside the images, which are as many"] == 1


@pytest.mark.parametrize("listed", ["{}.jpg", "{}.png", "{}", "img_align_celeba/{}.JPG"])
def test_a_partition_is_matched_without_endings(tmp_path, listed):
    path = tmp_path / "list_eval_partition.txt"
    path.write_text("".join(f"{listed.format(f'face.{i}')} {i}\n" for i in range(3)))
    names = tuple(f"deep/face.{i}.{suffix}" for i, suffix in enumerate(("png", "tif", "jpg")))
    assert assign_splits(names, path).tolist() == [0, 1, 2]


def test_a_list_that_gives_one_image_two_splits_is_refused(tmp_path):
    path = tmp_path / "list_eval_partition.txt"
    path.write_text("a.jpg 0\na.png 0\nb.jpg 0\nb.png 2\n")
    with pytest.raises(ValueError, match=r"gives b two splits, train and test"):
        assign_splits(("a.jpg",), path)


def test_two_lists_that_contradict_each_other_are_refused_by_name(tmp_path):
    faces(tmp_path / "img", 3)
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")
    other = tmp_path / "img" / "list_eval_partition.csv"
    other.write_text("image_id,partition\n000001.jpg,0\n000002.jpg,1\n")
    source = find_images(tmp_path)
    assert source.partition == tmp_path / "list_eval_partition.txt"  # the longer of two that agree
    other.write_text("image_id,partition\n000001.jpg,0\n000002.jpg,2\n000003.jpg,2\n")
    with pytest.raises(ValueError, match="contradict each other: 000002 is") as refused:
        find_images(tmp_path)
    assert str(other) in str(refused.value)
    assert str(tmp_path / "list_eval_partition.txt") in str(refused.value)


def test_check_data_decodes_what_it_opens_and_tells_each_kind_of_damage_once(tmp_path, capsys):
    faces(tmp_path, 20)
    for i in range(1, 6):
        path = tmp_path / f"{i:06d}.jpg"
        path.write_bytes(path.read_bytes()[: 700 + i])
    (tmp_path / "000007.jpg").write_bytes(b"")
    (tmp_path / "000008.jpg").write_bytes(b"<html>not found</html>")
    Image.new("RGB", (2, 2)).save(tmp_path / "000009.jpg")
    check_data(CheckConfig(tmp_path))
    out = capsys.readouterr().out
    told = out.partition("damaged: 8 of 20 opened\n")[2].splitlines()[:-1]
    assert [line.split()[:3] for line in told] == [
        ["5", "like", "000001.jpg:"],
        ["2", "like", "000007.jpg:"],
        ["1", "like", "000009.jpg:"],
    ]
    assert "Error" not in out


@pytest.mark.parametrize("suffix", sorted({s for s in image_suffixes() if s != ".pdf"}))
def test_nonsense_of_any_ending_is_unreadable_and_no_crash(tmp_path, suffix):
    for i, data in enumerate((b"", b"\0" * 300, b"P6 3 3 255\n", bytes(range(256)) * 4)):
        (tmp_path / f"{i}{suffix}").write_bytes(data)
        with contextlib.suppress(*UNREADABLE):
            assert read_image(tmp_path, f"{i}{suffix}").mode == "RGB"
