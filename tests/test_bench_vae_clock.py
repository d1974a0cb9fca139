"""The benchmark's clock on a device that works behind its queue."""

import pytest
import torch


class QueuedDevice:
    """A host that queues a step in 1 ms, and a device that does it in 3 ms."""

    def __init__(self) -> None:
        self.host, self.device = 0.0, 0.0

    def step(self) -> None:
        self.host += 1e-3
        self.device = max(self.device, self.host) + 3e-3

    def wait_for(self, device: torch.device) -> None:
        self.host = max(self.host, self.device)


@pytest.mark.parametrize(("kind", "seconds"), [("cuda", 3e-3), ("cpu", 1e-3)])
def test_steps_on_a_gpu_take_what_the_slower_of_host_and_device_takes(monkeypatch, kind, seconds):
    from benchmarks import bench_vae  # with torchvision, for seconds

    queue = QueuedDevice()
    monkeypatch.setattr(bench_vae, "wait_for", queue.wait_for)
    monkeypatch.setattr(bench_vae.time, "perf_counter", lambda: queue.host)
    clock = bench_vae.Clock(torch.device(kind))
    for _ in range(200):
        queue.step()
        clock.tick()
    rate = clock.speed().images_per_second
    assert rate == pytest.approx(bench_vae.BATCH_SIZE / seconds, rel=0.01)
