"""A stand-in for the parts of ``torch.cuda`` that capture graphs, with tensors on the CPU.

A fake graph keeps the kernels that were called while it was captured, without running those that
write in place, and calls them again on the same memory when it is replayed. Like CUDA it captures
only what runs on the capturing stream: work of another device is done at once, and the graph stays
empty (pytorch issue 87894).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

HERE = torch.device("cpu")  # where the tensors of the tests are


class FakeStream:
    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wait_stream(self, other: "FakeStream") -> None:
        pass


class FakeGraph:
    def __init__(self) -> None:
        self.kernels: list[tuple[Any, tuple, dict, Any]] = []  # operator, arguments, output
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        for function, args, kwargs, out in self.kernels:
            found = function(*args, **kwargs)
            if not function._schema.is_mutable:
                out.copy_(found)


class _Capture(TorchDispatchMode):
    def __init__(self, graph: FakeGraph) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = args[0] if function._schema.is_mutable else function(*args, **kwargs)
        if not function.is_view:
            self.graph.kernels.append((function, args, kwargs, out))
        return out


class FakeCuda:
    """What was captured, and which device is current."""

    def __init__(self) -> None:
        self.graphs: list[FakeGraph] = []
        self.modes: list[str] = []
        self._local = threading.local()  # the current device is one per thread
        self._capturing = threading.Lock()

    @property
    def current(self) -> torch.device:
        return getattr(self._local, "device", torch.device("cuda:0"))

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        former, self._local.device = self.current, device
        try:
            yield
        finally:
            self._local.device = former

    @contextmanager
    def graph(
        self,
        graph: FakeGraph,
        stream: FakeStream | None = None,
        capture_error_mode: str = "global",
    ) -> Iterator[None]:
        assert self._capturing.acquire(blocking=False), "two captures at once"
        try:
            self.graphs.append(graph)
            self.modes.append(capture_error_mode)
            seen = stream is not None and stream.device == self.current == HERE
            with _Capture(graph) if seen else nullcontext():
                yield
        finally:
            self._capturing.release()


def install(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Put a stand-in into ``torch.cuda`` for the rest of the test."""
    fake = FakeCuda()
    monkeypatch.setattr(torch.cuda, "device", fake.device)
    monkeypatch.setattr(torch.cuda, "graph", fake.graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: FakeStream(fake.current))
    return fake


def count_kernels(work: Callable[[], Any]) -> int:
    """Kernels that the work would launch: the operators it calls, without views."""
    graph = FakeGraph()
    with _Capture(graph):
        work()
    return len(graph.kernels)
