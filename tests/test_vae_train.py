import json

import pytest
import torch

import vae.train
from vae.cache import load_images
from vae.checkpoint import load_vae
from vae.config import PretrainConfig
from vae.pixels import to_float, to_uint8
from vae.train import learning_rate, pretrain, training_batches


def config(image_folder, out, **changes) -> PretrainConfig:
    values = {"data": image_folder, "out": out, "epochs": 2, "batch_size": 16, "device": "cpu"}
    return PretrainConfig(**values | {"cache": image_folder.parent / "cache"} | changes)


@pytest.fixture
def one_held_out(monkeypatch):
    """Of the forty test images none would be held out by chance; take a larger share."""
    monkeypatch.setattr("vae.data.HOLDOUT", 0.2)


@pytest.mark.usefixtures("one_held_out")
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    image_folder, tmp_path, monkeypatch
):
    pretrain(config(image_folder, tmp_path / "whole"))

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(vae.train, "picture_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):  # before the first checkpoint
            pretrain(config(image_folder, tmp_path / "cut"))
    evaluate, calls = vae.train.evaluate, []

    def evaluate_once(*arguments):
        calls.append(arguments)
        return interrupt() if len(calls) == 2 else evaluate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(vae.train, "evaluate", evaluate_once)
        with pytest.raises(KeyboardInterrupt):  # in the second epoch
            pretrain(config(image_folder, tmp_path / "cut"))
    pretrain(config(image_folder, tmp_path / "cut"))

    expected = load_vae(tmp_path / "whole/vae.safetensors").state_dict()
    found = load_vae(tmp_path / "cut/vae.safetensors").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    metrics = [
        [json.loads(row) for row in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "cut")
    ]
    for row in metrics[0] + metrics[1]:
        del row["images_per_second"]
    assert metrics[0] == metrics[1]
    assert [row["epoch"] for row in metrics[0]] == [1, 2]
    assert sorted(path.name for path in (tmp_path / "cut/pictures").iterdir()) == [
        "epoch_0001.png",
        "epoch_0002.png",
    ]


@pytest.mark.usefixtures("one_held_out")
def test_a_loss_that_is_not_finite_stops_the_run_at_its_step_and_batch(image_folder, tmp_path):
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 1 of 1 \(step 1\): loss"):
        pretrain(config(image_folder, tmp_path / "run", lr=1e30))
    assert not (tmp_path / "run/checkpoint.pt").exists()


@pytest.mark.usefixtures("one_held_out")
def test_another_runs_folder_is_left_alone(image_folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files of something else"):
        pretrain(config(image_folder, tmp_path / "run"))
    pretrain(config(image_folder, tmp_path / "other", epochs=1))
    before = (tmp_path / "other/vae.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"config.beta is 0.0003 there, 0.5 here"):
        pretrain(config(image_folder, tmp_path / "other", epochs=1, beta=0.5))
    assert (tmp_path / "other/vae.safetensors").read_bytes() == before


@pytest.mark.usefixtures("one_held_out")
def test_a_damaged_checkpoint_is_named_and_left_alone(image_folder, tmp_path):
    pretrain(config(image_folder, tmp_path / "run", epochs=1))
    path = tmp_path / "run/checkpoint.pt"
    whole = path.read_bytes()
    for damaged in (b"", b"no zip", whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint.pt: not a whole checkpoint"):
            pretrain(config(image_folder, tmp_path / "run", epochs=1))
        assert path.read_bytes() == damaged


@pytest.mark.usefixtures("one_held_out")
def test_training_lowers_the_loss_on_real_gradients(image_folder, tmp_path):
    pretrain(config(image_folder, tmp_path / "run", epochs=12))
    rows = [json.loads(row) for row in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_reconstruction"] < 0.9 * rows[0]["train_reconstruction"]


def test_an_epoch_shows_every_image_once_as_it_is_or_flipped(image_folder, tmp_path):
    images = torch.from_numpy(load_images(image_folder, tmp_path / "cache").images)
    batches = list(training_batches(images, 8, 0, torch.Generator().manual_seed(0)))
    shown = torch.cat([batch for batch, _ in batches])
    originals = to_float(images)
    matches = [
        [
            side
            for side in (originals[i], originals[i].flip(2))
            if (shown == side).all((1, 2, 3)).any()
        ]
        for i in range(len(images))
    ]
    assert all(len(match) == 1 for match in matches)
    flipped = sum(torch.equal(m[0], o.flip(2)) for m, o in zip(matches, originals, strict=True))
    assert 5 <= flipped <= 35  # of 40 fair coins: outside with probability 2e-7


def test_shifts_move_the_image_and_repeat_its_edge():
    column = torch.arange(64, dtype=torch.uint8)[None, :, None].expand(64, 64, 3)
    images = column.expand(64, 64, 64, 3)  # every pixel holds its column's number
    batch, _ = next(training_batches(images, 64, 2, torch.Generator().manual_seed(1)))
    rows = to_uint8(batch)[:, 0, :, 0].int()
    rows = torch.where((rows[:, :1] > rows[:, -1:]), rows.flip(1), rows)
    shifts = rows[:, 32] - 32
    assert set(shifts.tolist()) == {-2, -1, 0, 1, 2}
    expected = (torch.arange(64) + shifts[:, None]).clamp(0, 63)
    assert torch.equal(rows, expected.int())


def test_the_learning_rate_warms_up_and_ends_at_zero():
    rates = [learning_rate(step, 1000, peak=0.1) for step in range(1001)]
    assert max(rates) == pytest.approx(0.1, rel=0.01)
    assert rates.index(max(rates)) == 49
    assert rates[0] < 0.01
    assert rates[1000] == pytest.approx(0.0, abs=1e-12)


def test_bytes_survive_the_way_to_floats_and_back():
    every = torch.arange(256, dtype=torch.uint8).repeat(48).view(1, 64, 64, 3)
    assert torch.equal(to_uint8(to_float(every)), every)
