"""What the explorer computes, against the commands whose lines it gives out."""

import shlex

import numpy as np
import pytest
import torch
import tyro
from safetensors.torch import save_file

from diffusion.schedule_choice import SCHEDULES, choose_schedule
from distill.compare_strategies import compare_strategies
from distill.config import CompareConfig, PlanConfig
from distill.decode import decode_operator, noise_bank
from distill.plan_merges import plan_merges
from explorer.config import ExploreConfig
from explorer.controls import KINDS, gradient_steps, own_variances
from explorer.explore import open_latents
from explorer.face_view import FaceView
from explorer.faces import Noise, decode_rows
from explorer.plan_view import arc_curves, arc_rows, kind_points, verdict
from explorer.settings import ScheduleChoice, Setting, phases, plans_of, students_of
from planner.parametrisation import OPERATOR, Parametrisation
from planner.plan import merges
from planner.plan_file import to_json
from sampling.interpolate import arc
from tests.conftest import small_comparison
from tests.test_distill_rotation import correlated, save_both
from vae.latents import latents_path, load_latents
from vae.model import LATENT_DIM

COSINE = ScheduleChoice("cosine")


def setting(**changes) -> Setting:
    plain = {
        "num_steps": 6, "schedule": COSINE, "variances": (0.5, 1.08), "steps_per_merge": 20,
        "budget": "per_merge", "students": OPERATOR, "student_steps": 1, "of_latents": False,
    }  # fmt: skip
    return Setting(**(plain | changes))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_command_names_the_schedule_that_is_seen(tmp_path, schedule):
    asked = setting(schedule=ScheduleChoice(schedule))
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
        of_latents=True,
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
        if case.strategy not in students_of(asked).strategies:
            continue  # a solver too slow for the page
        found = students_of(asked).strategies[case.strategy].operator
        np.testing.assert_allclose(found, students.predicted, rtol=1e-9)


def test_arcs_end_where_their_merges_do_and_equal_plans_are_one_row():
    found = plans_of(setting(variances=(0.3, 0.5), num_steps=5))
    rows = arc_rows(found)
    names = [row.name for row in rows]
    assert any("sequential BOOT" in name and "greedy" in name for name in names)
    curves = arc_curves(rows)
    assert len(curves["left"]) == sum(row.merges for row in rows)
    jumps = {(jump.stop, jump.start) for row in rows for plan in row.plans for jump in merges(plan)}
    assert set(zip(curves["left"], curves["right"], strict=True)) == jumps
    heights = 0.75 * (np.array(curves["control"]) - curves["base"])  # of a cubic curve
    np.testing.assert_allclose(heights, np.subtract(curves["right"], curves["left"]) / 5)
    kinds = kind_points(setting(), plans_of(setting()))
    assert kinds["variance"] == [1.08, 0.5]
    assert kinds["kind"][1] == "sequential BOOT"  # [OM] Theorem 4.3


def test_of_equally_good_plans_the_one_with_fewest_merges_is_shown():
    """After long training all plans reach the target, and rounding alone tells them apart."""
    found = plans_of(setting(steps_per_merge=10_000, budget="total", num_steps=9))
    rows = arc_rows(found)
    assert (rows[-1].name, rows[-1].merges) == ("per-dimension plan, 2 of 2", 1)
    assert "by vanilla</b> (1 merge)" in verdict(found, rows)


def test_phases_are_those_of_the_theorems():
    """Where training is short, BOOT up to variance 1, vanilla for large ones ([OM] 4.2, 4.3)."""
    kinds = phases(8, COSINE, OPERATOR)
    assert set(kinds[0, :10]) == {"sequential_boot"}
    assert set(kinds[0, -3:]) == {"vanilla"}
    assert set(phases(8, COSINE, Parametrisation("denoiser", "x_0"))[0]) == {"sequential_boot"}


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
        (500 * "x", "could not convert string to float"),
        ("", "0 variances; give from 1 to"),
        ("-1", "variance"),
        ("nan", "variance"),
        ("no.npy", "no.npy: no such file"),
    ],
)
def test_bad_variances_are_refused_in_words(text, message):
    with pytest.raises((ValueError, OSError), match=message):
        own_variances(text)


def test_damaged_files_of_variances_are_refused_with_their_name(tmp_path):
    np.savez(tmp_path / "two.npz", one=np.ones(2), two=np.ones(2))
    np.save(tmp_path / "whole.npy", np.arange(3))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:20])
    (tmp_path / "words.txt").write_text("a spectrum")
    for name, message in [
        ("two.npz", "holds one, two: name one as two.npz:NAME"),
        ("whole.npy", "its numbers are int64, must be float16"),
        ("cut.npy", "not one array of numbers in a whole .npy file"),
        ("words.txt", "not a text file of variances .*'a'"),
    ]:
        with pytest.raises(ValueError, match=message):
            own_variances(str(tmp_path / name))


def test_correlated_latents_are_planned_as_the_command_plans_them(tmp_path):
    """It rotates them; the page has no VAE then, and says so where faces would be."""
    save_both(tmp_path, 300, np.array([2.2, 1.3, 0.7, 0.3, 0.2, 0.1]))
    latents = tmp_path / "rotated.npy"
    variances, decoder = open_latents(ExploreConfig(latents=latents))
    assert decoder is None
    asked = setting(num_steps=4, variances=tuple(variances.tolist()), of_latents=True)
    assert "no VAE is known" in FaceView(decoder, "latents").missing(asked)
    _, _, *words = shlex.split(asked.command(None, latents, seed=0))
    config = tyro.cli(CompareConfig, args=[*words, "--out", str(tmp_path / "run")])
    compared = compare_strategies(config)
    assert compared.rotation is not None
    for case, students in compared.students.items():
        if case.strategy in plans_of(asked).strategies:
            found = plans_of(asked).strategies[case.strategy].operator
            np.testing.assert_allclose(found, students.predicted, rtol=1e-7)  # float32 codes


def test_the_faces_of_rotated_latents_are_those_of_the_comparison(tmp_path, model_run):
    vae, _ = model_run
    codes, _ = correlated(1_000, np.geomspace(6.0, 0.05, LATENT_DIM))
    np.save(tmp_path / "codes.npy", codes)
    config = ExploreConfig(vae=vae, latents=tmp_path / "codes.npy")
    variances, decoder = open_latents(config)
    asked = setting(num_steps=4, variances=tuple(variances.tolist()), of_latents=True)
    target, *_ = decode_rows(asked, ["vanilla"], Noise(0, 1, 0.0, 2), decoder)
    small = CompareConfig(
        out=tmp_path / "run", vae=vae, latents=tmp_path / "codes.npy", num_steps=4,
        steps_per_merge=(asked.steps_per_merge,), budgets=("per_merge",), batch_size=64,
    )  # fmt: skip
    compared = compare_strategies(small)
    z_T = noise_bank(0, 0, 2, LATENT_DIM)
    expected = decode_operator(
        compared.model, compared.problem.target, compared.mean, z_T, compared.rotation
    )
    assert compared.rotation is not None
    torch.testing.assert_close(target.images, expected, atol=1e-5, rtol=0)


def test_students_whose_gradient_steps_would_diverge_follow_gradient_flow(tmp_path):
    asked = setting(variances=(0.5, 40.0), of_latents=True)
    _, command, *words = shlex.split(asked.command(None, None, seed=0))
    assert command == "plan_merges"
    config = tyro.cli(PlanConfig, args=[*words, "--out", str(tmp_path / "run")])
    (planned,) = plan_merges(config, lambda line: None)
    for name, own in plans_of(asked).strategies.items():
        np.testing.assert_array_equal(own.operator, planned.plan_set.strategies[name].operator)


def test_a_schedule_from_a_file_is_rescaled_as_the_command_does_it(tmp_path):
    file = tmp_path / "betas.csv"
    file.write_text("betas\n" + "\n".join(map(str, np.linspace(0.001, 0.3, 12))))
    asked = setting(schedule=ScheduleChoice(str(file), file.stat().st_mtime_ns))
    assert asked.problem().schedule.alpha[-1] == 0.0
    _, _, *words = shlex.split(asked.command(None, None, seed=0))
    config = tyro.cli(PlanConfig, args=[*words, "--out", str(tmp_path / "run")])
    np.testing.assert_array_equal(choose_schedule(config, 6).alpha, asked.problem().schedule.alpha)


def test_variances_come_from_text_or_from_a_file(tmp_path):
    assert own_variances("0.5, 2 1e-3").tolist() == [0.5, 2.0, 1e-3]
    values = np.array([[0.25, 4.0], [1.0, 0.0]])
    for kind in (np.float16, np.float32, ">f8"):
        np.save(tmp_path / "v.npy", values.astype(kind))
        assert own_variances(str(tmp_path / "v.npy")).tolist() == [0.25, 4.0, 1.0, 0.0]
    np.savez(tmp_path / "v.npz", one=values[0], two=values[1])
    assert own_variances(str(tmp_path / "v.npz:two")).tolist() == [1.0, 0.0]
    save_file({"v": torch.tensor([0.25], dtype=torch.bfloat16)}, tmp_path / "v.safetensors")
    assert own_variances(str(tmp_path / "v.safetensors")).tolist() == [0.25]
    (tmp_path / "spectrum.txt").write_text("2\n0.5, 1e-3\n")
    assert own_variances(str(tmp_path / "spectrum.txt")).tolist() == [2.0, 0.5, 1e-3]
    assert [gradient_steps(x) for x in (0.0, 1.0, 1.3)] == [1, 10, 20]
    assert to_json(plans_of(setting()))["num_steps"] == 6
