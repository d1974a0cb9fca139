import numpy as np
import pytest
import torch

from vae.batches import (
    augment,
    batch_source,
    draw,
    epoch_order,
    resident_batches,
    streamed_batches,
)
from vae.model import to_float, to_uint8

CPU = torch.device("cpu")


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own():
    first = epoch_order(40, 8, seed=0, epoch=0)
    assert first.shape == (5, 8)
    assert sorted(first.flatten().tolist()) == list(range(40))
    assert torch.equal(first, epoch_order(40, 8, seed=0, epoch=0))
    for other in (epoch_order(40, 8, 0, 1), epoch_order(40, 8, 1, 0)):
        assert not torch.equal(first, other)
    assert epoch_order(43, 8, 0, 0).shape == (5, 8)  # the short batch is left out
    assert epoch_order(5, 8, 0, 0).shape == (1, 5)  # where it is the only one it stays


def test_unmoved_images_are_shown_as_they_are_or_flipped():
    images = torch.randint(0, 256, (40, 32, 32, 3), dtype=torch.uint8)
    shown = augment(images, draw((0, 0, 0), 40, 32, 0, CPU))
    as_is = (shown == to_float(images)).all((1, 2, 3))
    flipped = (shown == to_float(images).flip(3)).all((1, 2, 3))
    assert (as_is ^ flipped).all()
    assert 5 <= flipped.sum() <= 35  # of 40 fair coins: outside with probability 2e-7


def test_shifts_move_the_image_and_repeat_its_edge():
    column = torch.arange(64, dtype=torch.uint8)[None, :, None].expand(64, 64, 3)
    images = column.expand(64, 64, 64, 3)  # every pixel holds its column's number
    rows = to_uint8(augment(images, draw((1, 0, 0), 64, 64, 2, CPU)))[:, 0, :, 0].int()
    rows = torch.where((rows[:, :1] > rows[:, -1:]), rows.flip(1), rows)
    shifts = rows[:, 32] - 32
    assert set(shifts.tolist()) == {-2, -1, 0, 1, 2}
    expected = (torch.arange(64) + shifts[:, None]).clamp(0, 63)
    assert torch.equal(rows, expected.int())


def test_every_step_draws_anew_and_noise_is_standard_normal():
    draws = [draw((0, 0, step), 500, 32, 2, CPU) for step in range(2)]
    again = draw((0, 0, 1), 500, 32, 2, CPU)
    assert torch.equal(draws[1].eps, again.eps)
    assert not torch.equal(draws[0].eps, draws[1].eps)
    eps = draws[0].eps  # 64,000 numbers: standard errors 0.004 and 0.003
    assert abs(eps.mean()) < 0.02
    assert abs(eps.std() - 1) < 0.015
    part = draws[0].part(slice(100, 200))
    assert torch.equal(part.eps, eps[100:200])


@pytest.mark.parametrize("how", ["auto", "resident", "streamed"])
def test_streamed_batches_are_the_resident_ones(how, tmp_path):
    pixels = np.memmap(tmp_path / "images.u8", np.uint8, "w+", shape=(50, 32, 32, 3))
    pixels[:] = np.random.default_rng(0).integers(0, 256, pixels.shape)
    rows = torch.arange(3, 50)
    order = epoch_order(len(rows), 5, seed=0, epoch=0)
    batches = batch_source(torch.from_numpy(pixels), rows, CPU, how, 1)
    for places, batch in zip(order, batches(order), strict=True):
        np.testing.assert_array_equal(batch.numpy(), pixels[3 + places.numpy()])


def test_a_stream_that_is_left_early_ends_its_reader():
    import threading

    images = torch.zeros(40, 32, 32, 3, dtype=torch.uint8)
    stream = streamed_batches(images, epoch_order(40, 4, 0, 0), CPU)
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_the_gpu_too_streamed_batches_are_the_resident_ones():
    device = torch.device("cuda")
    images = torch.randint(0, 256, (64, 64, 64, 3), dtype=torch.uint8)
    order = epoch_order(64, 8, 0, 0)
    resident = resident_batches(images.to(device), order)
    for one, other in zip(resident, streamed_batches(images, order, device), strict=True):
        assert torch.equal(one, other)
