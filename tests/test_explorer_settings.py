"""What the explorer computes, against the commands whose lines it gives out."""

import shlex

import numpy as np
import pytest
import torch
import tyro

from diffusion.schedule_choice import SCHEDULES, choose_schedule
from distill.compare_strategies import compare_strategies
from distill.config import CompareConfig, PlanConfig
from distill.plan_merges import plan_merges
from explorer.controls import KINDS, gradient_steps, own_variances
from explorer.faces import Noise
from explorer.plan_view import CIRCLE, arc_lines, arc_rows, kind_points
from explorer.settings import Setting, phases, plans_of
from planner.parametrisation import OPERATOR, Parametrisation
from planner.plan_set import to_json
from sampling.interpolate import arc
from tests.conftest import small_comparison
from vae.latents import latents_path, load_latents


def setting(**changes) -> Setting:
    plain = {
        "num_steps": 6, "schedule": "cosine", "variances": (0.5, 1.08), "steps_per_merge": 20,
        "budget": "per_merge", "students": OPERATOR, "student_steps": 1, "vae_latents": False,
    }  # fmt: skip
    return Setting(**(plain | changes))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_command_names_the_schedule_that_is_seen(tmp_path, schedule):
    asked = setting(schedule=schedule)
    _, _, *words = shlex.split(asked.command(None, None, seed=0))
    config = tyro.cli(PlanConfig, args=[*words, "--out", str(tmp_path)])
    np.testing.assert_array_equal(choose_schedule(config, 6).alpha, asked.problem().schedule.alpha)


@pytest.mark.parametrize("budget", ["per_merge", "total"])
@pytest.mark.parametrize("students", KINDS.values())
@pytest.mark.parametrize("student_steps", [1, 2])
def test_the_command_of_given_variances_finds_the_same_plans(
    tmp_path, budget, students, student_steps
):
    kind, loss, law = students
    asked = setting(
        budget=budget, students=Parametrisation(kind, loss, law=law), student_steps=student_steps
    )
    program, command, *words = shlex.split(asked.command(None, None, seed=0))
    assert (program, command) == ("mergelab", "plan_merges")
    config = tyro.cli(PlanConfig, args=[*words, "--out", str(tmp_path / "run")])
    (planned,) = plan_merges(config, lambda line: None)
    found = plans_of(asked)
    assert len(found.strategies) >= 5
    for name, own in found.strategies.items():
        expected = planned.plan_set.strategies[name].operator
        np.testing.assert_allclose(own.operator, expected, rtol=1e-10)


@pytest.mark.parametrize("budget", ["per_merge", "total"])
@pytest.mark.parametrize("student_steps", [1, 2])
def test_the_command_of_latents_predicts_the_same_students(
    tmp_path, model_run, budget, student_steps
):
    vae, latents = model_run
    variances = load_latents(latents_path(latents)).variances.numpy()
    asked = setting(
        variances=tuple(variances.tolist()), budget=budget, student_steps=student_steps,
        vae_latents=True,
    )  # fmt: skip
    program, command, *words = shlex.split(asked.command(vae, latents, seed=3))
    assert (program, command) == ("mergelab", "compare_strategies")
    config = tyro.cli(CompareConfig, args=[*words, "--out", str(tmp_path / "run")])
    assert (config.seed, config.vae, config.latents) == (3, vae, latents)
    small = small_comparison(
        tmp_path / "run", model_run, num_steps=config.num_steps, budgets=config.budgets,
        steps_per_merge=config.steps_per_merge, student_steps=config.student_steps,
        inputs="gaussian",
    )  # fmt: skip
    for case, students in compare_strategies(small).students.items():
        if case.strategy not in plans_of(asked).strategies:
            continue  # a solver too slow for the page
        found = plans_of(asked).strategies[case.strategy].operator
        # In total the command leaves up to one gradient step per merge unused.
        rtol = 1e-9 if budget == "per_merge" else 0.05
        np.testing.assert_allclose(found, students.predicted, rtol=rtol)


def test_arcs_end_where_their_merges_do_and_equal_plans_are_one_row():
    found = plans_of(setting(variances=(0.3, 0.5), num_steps=5))
    rows = arc_rows(found)
    names = [row.name for row in rows]
    assert any("sequential BOOT" in name and "greedy" in name for name in names)
    lines = arc_lines(rows)
    assert len(lines["xs"]) == sum(row.merges for row in rows)
    for xs, ys in zip(lines["xs"], lines["ys"], strict=True):
        assert len(xs) == len(CIRCLE)
        assert xs[0] == pytest.approx(round(xs[0]))
        assert xs[-1] == pytest.approx(round(xs[-1]))
        assert ys[0] == pytest.approx(ys[-1])
    kinds = kind_points(setting(), plans_of(setting()))
    assert kinds["variance"] == [1.08, 0.5]
    assert kinds["kind"][1] == "sequential BOOT"  # [OM] Theorem 4.3


def test_phases_are_those_of_the_theorems():
    """Where training is short, BOOT up to variance 1, vanilla for large ones ([OM] 4.2, 4.3)."""
    kinds = phases(8, "cosine", OPERATOR)
    assert set(kinds[0, :10]) == {"sequential_boot"}
    assert set(kinds[0, -3:]) == {"vanilla"}
    assert set(phases(8, "cosine", Parametrisation("denoiser", "x_0"))[0]) == {"sequential_boot"}


def test_interpolated_noise_keeps_the_ends_and_the_length_of_its_rows():
    noise = Noise(seed=0, other_seed=1, share=0.0, count=4)
    first, second = noise.draw(64), Noise(1, 0, 0.0, 4).draw(64)
    torch.testing.assert_close(arc(first, second, torch.tensor([0.0]))[0], first)
    torch.testing.assert_close(Noise(0, 1, 1.0, 4).draw(64), second)
    unit = torch.nn.functional.normalize
    between = arc(unit(first), unit(second), torch.tensor([0.5]))[0]
    torch.testing.assert_close(between.norm(dim=1), torch.ones(4))
    together = unit(first) + unit(second)
    torch.testing.assert_close(between, unit(together))  # the middle of an arc halves its angle


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5 x", "could not convert string to float: 'x'; give numbers"),
        ("", "0 variances; give from 1 to"),
        ("-1", "variance"),
        ("nan", "variance"),
        ("no.npy", "no.npy: no such file"),
    ],
)
def test_bad_variances_are_refused_in_words(text, message):
    with pytest.raises(ValueError, match=message):
        own_variances(text)


def test_variances_come_from_text_or_from_a_file(tmp_path):
    assert own_variances("0.5, 2 1e-3").tolist() == [0.5, 2.0, 1e-3]
    np.save(tmp_path / "v.npy", np.array([0.25, 4.0], np.float32))
    assert own_variances(str(tmp_path / "v.npy")).tolist() == [0.25, 4.0]
    np.save(tmp_path / "m.npy", np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"holds float64 of shape \(2, 2\), not variances"):
        own_variances(str(tmp_path / "m.npy"))
    assert [gradient_steps(x) for x in (0.0, 1.0, 1.3)] == [1, 10, 20]
    assert to_json(plans_of(setting()))["num_steps"] == 6
