"""Strategies whose merges are trained side by side, against the same ones one after another."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion.covariance import Eigenbasis
from experiment.seeds import keyed_generator
from experiment.write import sha256
from neural import distill_neural as command
from neural.config import NeuralConfig
from neural.data import gaussian, noised_batches
from neural.distil import Task, Work, distil_plans, fit, train_in_rounds
from neural.distill_neural import Cell, distill_neural, train_cells
from neural.jumps import DenoiserJump, teacher_step
from neural.measure import Reference
from neural.networks import EstimatorsAtOnce, HeadedEstimators, MLPs, per_member
from neural.setting import Setting, open_setting, read_inputs
from neural.student_plans import COMPUTE_BUDGETS
from planner.plan import from_outline, num_merges, rounds
from planner.strategies import CANONICAL
from sampling.estimator_file import ESTIMATOR_FILE, UNKNOWN_VAE, Trained, save_estimator
from sampling.noise_estimator import NoiseEstimator
from tests.test_neural_distil import SCHEDULE, small_estimator
from tests.test_neural_distill_neural import small

PLANNED = from_outline(8, ((8, 7, 6, 5), (4, 3, 2), (2, 1, 0), (8, 5, 4), (4, 2, 0), (8, 4, 0)))


@pytest.fixture
def estimator_files(tmp_path):
    """Latents of an unknown encoder, and an estimator that was trained on them."""
    path, estimator = tmp_path / "mine.npy", tmp_path / ESTIMATOR_FILE
    np.save(path, np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    torch.manual_seed(0)
    model = NoiseEstimator(Eigenbasis(np.zeros(3), np.linspace(0.5, 1.5, 3), np.eye(3)), 8, 2)
    for weight in model.parameters():  # an untrained estimator is linear
        torch.nn.init.normal_(weight, std=0.3)
    save_estimator(estimator, model, Trained(8, 2, 0, 3, UNKNOWN_VAE, sha256(path)))
    return {"distribution": "latents", "latents": path, "estimator": estimator}


def double_setting(config: NeuralConfig) -> Setting:
    """The setting of a run in float64, in which side by side differs by rounding alone."""
    config.out.mkdir()
    inputs = read_inputs(config)
    found = open_setting(config, inputs)
    draw = inputs.draw
    reference = Reference(found.reference.noise.double(), found.reference.outputs.double())
    return replace(
        found,
        inputs=replace(inputs, draw=lambda generator, count: draw(generator, count).double()),
        teachers=found.teachers.double(),
        reference=reference,
    )


def all_cells(setting: Setting, student_steps: tuple[int, ...]) -> list[Cell]:
    """Every strategy and a planned plan, under all budgets."""
    cells = {}
    for number in student_steps:
        for budget in COMPUTE_BUDGETS:
            stage = (number, budget, 2)
            of_stage = command._cells(setting, stage)
            if number == 1:
                updates = command._updates(setting, stage, (PLANNED,))
                of_stage["planned"] = Cell(f"planned_{budget}", 1, updates, (PLANNED,))
            cells |= {cell.name: cell for cell in of_stage.values()}
    return list(cells.values())


FLAGS = [
    {},
    {"optimizer": "sgd", "loss": "z", "prediction": "v"},
    {"parametrisation": "operator"},
    {"student": "shared"},
    {"distribution": "latents"},
    {"distribution": "latents", "parametrisation": "operator"},
]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_side_by_side_all_strategies_are_what_they_are_one_after_another(tmp_path, flags, request):
    """Students are compared by their outputs: 64 noises, two seeds, and two teachers in 2-D."""
    if "distribution" in flags:
        flags = flags | request.getfixturevalue("estimator_files")
    setting = double_setting(small(tmp_path / "run", num_steps=8, **flags))
    cells = all_cells(setting, (1,) if "distribution" in flags else (1, 2))
    passes = {1: 0, 64: 0}
    found = {}
    for at_once in passes:

        def count(of_step, at_once=at_once):
            passes[at_once] += of_step

        trained = train_cells(setting, cells, count, at_once)
        found[at_once] = {cell.name: one for cell, one in trained}
    assert len(found[64]) == len(cells) >= 9
    for name, one in found[1].items():
        other = found[64][name]
        torch.testing.assert_close(other.scores.error, one.scores.error, rtol=1e-9, atol=0)
        torch.testing.assert_close(other.shown, one.shown, rtol=1e-6, atol=1e-6)  # kept as float32
    assert (
        passes[1] == passes[64] == sum(command.forwards(cell.plans, cell.updates) for cell in cells)
    )
    assert len({one.scores.error[0].item() for one in found[64].values()}) > 4


def works_of(names: dict[str, int]) -> dict[str, Work]:
    """Strategy -> its students of a small teacher, with the gradient steps of each merge."""
    teacher = MLPs(2, 4, 1, "x_0", [keyed_generator(0)]).requires_grad_(False)

    def batches(start: int, stop: int) -> Iterator[torch.Tensor]:
        return noised_batches(gaussian((1.0, 1.0)), 0.6, 0.8, 2, [keyed_generator(start, stop)])

    def work(name: str, updates: int) -> Work:
        leaf = lambda t: teacher_step(teacher, SCHEDULE, t, "denoiser")  # noqa: E731
        return Work(distil_plans([CANONICAL[name](6)], leaf, batches), updates)

    return {name: work(name, updates) for name, updates in names.items()}


def test_merges_that_are_ready_share_gradient_steps_and_parts_come_first():
    """As many batches as the longest chain of merges has, not as many as there are merges."""
    batches, seen = [], set()

    def train(ready, updates):
        tasks = [task for groups in ready.values() for (task,) in groups]
        for name, groups in ready.items():
            for (task,) in groups:
                parts = [(name, part.start, part.stop) for part in task.parts]
                assert all(part in seen or part[1] - part[2] == 1 for part in parts)
        seen.update(
            (name, task.student.start, task.student.stop)
            for name, groups in ready.items()
            for (task,) in groups
        )
        batches.append(len(tasks))
        return {}

    order = [name for name, _ in train_in_rounds(works_of(dict.fromkeys(CANONICAL, 7)), train)]
    plans = [make(6) for make in CANONICAL.values()]
    assert sum(batches) == sum(map(num_merges, plans)) == len(seen)
    assert len(batches) == max(len(rounds(plan)) for plan in plans)
    assert order[:2] == ["vanilla", "progressive"]  # a strategy ends with its own last merge


def test_only_merges_of_equally_many_gradient_steps_share_them():
    steps = {"vanilla": 9, "sequential_boot": 3, "progressive": 3}
    shared = []

    def train(ready, updates):
        assert {steps[name] for name in ready} == {updates}
        shared.append(set(ready))
        return {}

    assert {name for name, _ in train_in_rounds(works_of(steps), train)} == set(steps)
    assert {"sequential_boot", "progressive"} in shared


def test_what_diverges_side_by_side_is_named_and_the_others_are_as_without_it():
    teacher = MLPs(2, 8, 1, "x_0", [keyed_generator(0)]).requires_grad_(False)

    def task(t: int, scale: float) -> Task:
        student = DenoiserJump(teacher, SCHEDULE, t, t - 1).merged(t - 2)
        parts = [DenoiserJump(teacher, SCHEDULE, part, part - 1) for part in (t, t - 1)]
        draw = lambda generator, count: scale * torch.randn(count, 2, generator=generator)  # noqa: E731
        inputs = noised_batches(draw, 0.6, 0.8, 4, [keyed_generator(1)])
        return Task(student, parts, inputs.__next__)

    well, ill, alone = task(6, 1.0), task(4, 1e30), task(6, 1.0)
    reasons = fit([[well], [ill]], 20, "z", "sgd", 0.01, lambda tasks: None)
    assert reasons[0] == ""
    assert reasons[1].startswith("the merge x_4 -> x_2 diverged at update ")
    assert reasons[1].endswith("with learning rate 0.01")
    fit([[alone]], 20, "z", "sgd", 0.01, lambda tasks: None)
    for own, other in zip(well.student.parameters(), alone.student.parameters(), strict=True):
        torch.testing.assert_close(own, other)


def test_a_command_with_side_by_side_students_stops_and_resumes(tmp_path, monkeypatch):
    """A run that is stopped keeps every strategy that had ended, and comes to the same."""
    monkeypatch.setitem(command.AT_ONCE, "cpu", 64)
    whole = distill_neural(small(tmp_path / "whole", num_steps=8))
    write, written = command._write_trained, []

    def stop_after_three(path, trained):
        write(path, trained)
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(command, "_write_trained", stop_after_three)
        with pytest.raises(KeyboardInterrupt):
            distill_neural(small(tmp_path / "stopped", num_steps=8))
    kept = {path: path.stat().st_mtime_ns for path in written}
    again = distill_neural(small(tmp_path / "stopped", num_steps=8))
    assert {path: path.stat().st_mtime_ns for path in written} == kept
    for one, other in zip(whole.rows, again.rows, strict=True):
        assert one.strategy == other.strategy
        assert one.error == pytest.approx(other.error, rel=1e-3)  # another company, in float32


def test_estimators_at_once_are_the_estimators_one_by_one():
    _, estimator = small_estimator()
    for weight in estimator.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    networks = [HeadedEstimators(estimator, 2).double() for _ in range(3)]
    for network in networks:
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    together = HeadedEstimators.beside(networks)
    assert isinstance(together, EstimatorsAtOnce)
    x_t, levels = torch.randn(6, 4, 5).double(), [(0.0, 1.0), (0.6, 0.8), (0.8, 0.6)]
    alpha, sigma = (per_member(list(own), networks) for own in zip(*levels, strict=True))
    found = together(x_t, alpha, sigma)
    expected = [net(x, *own) for net, x, own in zip(networks, x_t.split(2), levels, strict=True)]
    torch.testing.assert_close(found, torch.cat(expected))
