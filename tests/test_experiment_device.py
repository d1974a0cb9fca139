"""The choice of a device, with stand-ins for GPUs that this machine does not have."""

import multiprocessing
import signal
from collections.abc import Callable

import pytest
import torch

import experiment.device
from distill import executors
from experiment.device import has_fast_bf16, pick_device
from experiment.folder import provenance
from scripts import health


def fails(device: torch.device) -> torch.device:
    if device.type == "cuda":
        raise RuntimeError("CUDA error: no kernel image is available\nand a page of advice")
    return device


@pytest.fixture
def a_gpu_without_kernels(monkeypatch) -> None:
    """An installed torch that sees a GPU and holds no kernels for it: too old, or too new."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(experiment.device, "_compute", fails)


@pytest.mark.usefixtures("a_gpu_without_kernels")
def test_a_gpu_that_computes_nothing_is_left_for_the_cpu_with_one_line(capsys):
    assert pick_device("auto") == torch.device("cpu")
    assert capsys.readouterr().err == (
        "the GPU is not used: CUDA error: no kernel image is available\n"
    )


@pytest.mark.usefixtures("a_gpu_without_kernels")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_computes_nothing_is_refused_where_it_is_asked_for(name):
    with pytest.raises(
        ValueError, match=rf"^--device {name}: .*no kernel image.* try cpu or auto$"
    ):
        pick_device(name)


@pytest.mark.parametrize("name", ["warp", "cuda:99", "meta"])
def test_a_device_that_is_not_here_is_refused(name):
    with pytest.raises(ValueError, match=f"--device {name}: not available here"):
        pick_device(name)


def test_a_numbered_gpu_becomes_the_current_one_before_anything_runs_there(monkeypatch):
    done: list[object] = []
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    monkeypatch.setattr(experiment.device, "_compute", lambda device: done.append(device) or device)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert done == [torch.device("cuda:1")] * 2
    done.clear()
    pick_device("cuda")  # a worker's current device stays
    assert done == [torch.device("cuda")]


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_float32_convolutions_on_a_gpu_are_not_rounded_to_tf32(monkeypatch, name):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    pick_device("cpu")
    assert torch.backends.cudnn.allow_tf32
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(experiment.device, "_compute", lambda device: device)
    assert pick_device(name) == torch.device("cuda")
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("capability", "fast"), [((6, 1), False), ((7, 0), False), ((7, 5), False), ((8, 0), True)]
)
def test_gpus_before_ampere_have_no_fast_bf16(monkeypatch, capability, fast):
    asked = []

    def answer(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return capability

    monkeypatch.setattr(torch.cuda, "get_device_capability", answer)
    assert has_fast_bf16(torch.device("cuda:1")) == fast
    assert asked == [torch.device("cuda:1")]


def test_the_record_names_the_device_that_computes(monkeypatch):
    names: Callable = {"cuda:0": "first", "cuda:1": "second"}.__getitem__
    monkeypatch.setattr(torch.cuda, "get_device_name", names)
    assert provenance("cuda:1")["hardware"]["name"] == "second"


def test_only_workers_on_gpus_choose_a_gpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process is no worker
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for device in ("cpu", "cuda", "auto"):
        numbers = multiprocessing.get_context("spawn").SimpleQueue()
        numbers.put(5)
        executors._start_worker(numbers, device)
    assert chosen == [1, 1]


def test_the_doctor_reports_errors_of_the_device(monkeypatch):
    def broken() -> torch.Tensor:
        raise RuntimeError("CUDA error: no kernel image is available")

    assert "no kernel image" in health._try("embedded VAE", "decodes", broken).wrong
    monkeypatch.setattr(torch.Tensor, "to", lambda *_: broken())
    assert "no kernel image" in health.examine_device(torch.device("cuda")).wrong


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_work_without_a_device_goes_to_the_numbered_one():
    try:
        pick_device("cuda:1")
        assert torch.zeros(1, device="cuda").device == torch.device("cuda:1")
    finally:
        torch.cuda.set_device(0)
