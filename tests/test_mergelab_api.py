"""``import mergelab as ml``: the numbers and messages of the commands, in objects to look at."""

import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import mergelab as ml
from diffusion.gaussian import ddim_operators
from diffusion.schedule import cosine_schedule, from_betas, zero_terminal_snr
from distill.compare_strategies import compare_strategies
from distill.config import CompareConfig, PlanConfig
from distill.decode import noise_bank
from distill.jobs import Job, Training, do_job
from mergelab._table import frame
from planner.budget import Stage
from scripts.cli import main
from scripts.plan_merges import run

ROOT = Path(__file__).parents[1]
VARIANCES = (0.9, 1.06)


def latents(count=400, seed=0):
    """Correlated latents of 2 x 2 numbers, around 3."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(4, 4))
    return 3.0 + (generator.normal(size=(count, 4)) @ mixing).reshape(count, 2, 2)


def command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["plan_merges.py", *map(str, arguments)])
    main(PlanConfig, run, "")


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"solvers": ["beam"]}, "--solvers beam"),
        ({"num_steps": 6, "train_time": 1.6}, "--num-steps 6 --train-time 1.6"),
        ({"num_steps": 6, "budget": "total"}, "--num-steps 6 --budget total"),
        ({"num_steps": 7, "student_steps": 2}, "--num-steps 7 --student-steps 2"),
        ({"num_steps": 5, "schedule": "linear_beta"}, "--num-steps 5 --schedule linear_beta"),
        ({"num_steps": 5, "schedule": "scaled_linear"}, "--num-steps 5 --schedule scaled_linear"),
        (
            {"num_steps": 5, "schedule": "edm", "zero_snr": True},
            "--num-steps 5 --schedule edm --zero-snr",
        ),
        (
            {"num_steps": 5, "parametrisation": "denoiser", "loss": "v", "prediction": "v"},
            "--num-steps 5 --parametrisation denoiser --loss v --prediction v",
        ),
    ],
)
def test_plans_are_those_of_the_command_to_the_last_bit(monkeypatch, tmp_path, options, flags):
    out = tmp_path / "run"
    command(monkeypatch, "--variances", *VARIANCES, *flags.split(), "--out", out)
    (made,) = out.glob("plans*.json")
    plans = ml.plan(VARIANCES, **options)
    assert plans.save(tmp_path).read_bytes() == made.read_bytes()
    assert (tmp_path / made.name).exists()


@pytest.mark.parametrize("rotate", ["auto", "off"])
def test_plans_for_latents_are_those_of_the_command_too(monkeypatch, tmp_path, rotate):
    rows = latents()
    np.save(tmp_path / "a.npy", rows)
    flags = ("--num-steps", 5, "--rotate", rotate, "--out", tmp_path / "run")
    command(monkeypatch, "--latents", tmp_path / "a.npy", *flags)
    made = (tmp_path / "run" / "plans.json").read_bytes()
    for given in (rows, torch.from_numpy(rows), rows.tolist(), str(tmp_path / "a.npy")):
        plans = ml.plan(given, num_steps=5, rotate=rotate)
        assert plans.save(tmp_path / "plans.json").read_bytes() == made


@pytest.mark.filterwarnings("error")
def test_arrays_that_must_not_be_written_to_are_read_where_they_lie(tmp_path):
    rows = latents().astype(np.float16)
    np.save(tmp_path / "a.npy", rows)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    plans = ml.plan(mapped, num_steps=3)
    assert np.shares_memory(plans.data.latents.codes.numpy(), mapped)
    assert repr(plans) == repr(ml.plan(rows, num_steps=3))


def test_variances_may_be_of_any_library():
    one = ml.plan(list(VARIANCES), num_steps=3)
    for given in (np.array(VARIANCES), torch.tensor(VARIANCES, dtype=torch.float64)):
        assert repr(ml.plan(given, num_steps=3)) == repr(one)


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (([-1.0],), "--variances -1"),
        (([0.5, np.nan],), "--variances 0.5 nan"),
        (([0.5], {"num_steps": 0}), "--variances 0.5 --num-steps 0"),
        (([0.5], {"train_time": 0}), "--variances 0.5 --train-time 0"),
        (([0.5], {"schedule": "none.json"}), "--variances 0.5 --schedule none.json"),
        (([1.0], {"student_steps": 33}), "--variances 1 --student-steps 33"),
        (([1.0], {"law": "constant_speed"}), "--variances 1 --law constant_speed"),
        (([1.0], {"loss": "x_0"}), "--variances 1 --loss x_0"),
        (([1.0], {"rotate": "on"}), "--variances 1 --rotate on"),
        (("none.npy",), "--latents none.npy"),
    ],
)
def test_a_mistake_is_told_in_the_words_of_the_command(
    monkeypatch, capsys, tmp_path, arguments, flags
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        command(monkeypatch, *flags.split(), "--out", "run")
    said = capsys.readouterr().err
    data, options = (*arguments, {})[:2]
    with pytest.raises((ValueError, FileNotFoundError)) as told:
        ml.plan(data, **options)
    words = str(told.value)
    if "train_time" in options:  # 0 here, parsed as 0.0 there
        words = words.replace("got 0", "got 0.0")
    assert words in said
    assert "\n" not in words


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (np.ones((3, 2), np.int64), "its numbers are int64"),
        (np.ones((1, 3)), "1 row has no variance"),
        (np.full((5, 2), np.nan), "row 0 holds nan"),
        (np.float64(0.5), r"its shape is \(\)"),
    ],
)
def test_arrays_without_use_are_told(data, fault):
    with pytest.raises(ValueError, match=fault):
        ml.plan(data)


def test_a_solver_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="solver 'exact' is none of greedy, beam, pareto"):
        ml.plan([0.5], solvers=["exact"])


@pytest.mark.parametrize(
    "options",
    [
        {"num_steps": 2},
        {"num_steps": 6},
        {"num_steps": 32, "solvers": ["greedy"]},
        {"num_steps": 1000, "solvers": []},
        {"num_steps": 12, "student_steps": 3},
    ],
)
def test_a_repr_has_at_most_ten_lines_and_names_every_strategy(options):
    for data in (VARIANCES, latents()):
        plans = ml.plan(data, **options)
        lines = repr(plans).splitlines()
        assert 5 <= len(lines) <= 10
        assert all(len(line) < 200 for line in lines)
        assert [line.split()[0] for line in lines[-len(plans.strategies) :]] == list(
            plans.strategies
        )
        assert f"T = {options['num_steps']}" in lines[0]


class Texts(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_texts_in_html_are_escaped_and_stay_on_one_line_of_text():
    evil = "<script>alert('&')</script>\nx"
    table = ml.Table(("name", evil), ((evil, 0.5), (None, 1)), evil)
    found = Texts(table._repr_html_())
    assert set(found.tags) == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert found.texts.count(evil) == 2
    assert len(repr(table).splitlines()) == 5  # the title, the header, in two lines, and two rows
    assert {"5.0000e-01", "1"} <= set(found.texts)


def test_the_html_of_plans_holds_every_strategy_and_what_is_assumed():
    plans = ml.plan(latents(), num_steps=4)
    found = Texts(plans._repr_html_())
    assert set(plans.strategies) <= set(found.texts)
    assert plans.assumption in found.texts
    assert "only after a rotation" in plans.assumption
    assert plans.assumption.partition(". ")[0] in repr(plans).splitlines()[1]


def test_a_table_is_rows_of_dicts_in_rising_order_of_the_error():
    plans = ml.plan(VARIANCES, num_steps=6)
    table = plans._table()
    rows = list(table)
    assert len(rows) == len(table) == 8
    assert [row["strategy"] for row in rows] == list(plans.strategies) == table["strategy"]
    errors = [row["w2_squared"] for row in rows]
    assert errors == sorted(errors)
    assert errors[0] == plans.plan_set.strategies[plans.best].w2_squared
    assert {row["merges"] for row in rows if row["strategy"] == "vanilla"} == {1}


def test_of_strategies_that_are_equal_within_rounding_the_simplest_is_best():
    """After a very long training all students equal the teacher, so fewer merges are better."""
    for options in ({}, {"student_steps": 2}):
        plans = ml.plan((0.2, 0.5), num_steps=6, train_time=400.0, **options)
        assert max(found.w2_squared for found in plans.strategies.values()) < 1e-20
        assert plans.best == "vanilla"
        np.testing.assert_array_equal(
            plans.sample(count=2), plans.sample(strategy="vanilla", count=2)
        )
    trained = ml.plan((0.2, 0.5), num_steps=4, train_time=32.0).train(progress=False)
    assert trained.best == "vanilla"
    early = ml.plan((0.2, 0.5), num_steps=6, train_time=0.5)
    assert early.best == next(iter(early.strategies)) == "sequential_boot"


@pytest.mark.parametrize("num_steps", [3, 32, 1000])
def test_a_plan_set_prints_at_most_ten_lines_whatever_its_size(num_steps):
    plan_set = ml.plan(np.linspace(0.3, 1.4, 50), num_steps=num_steps, solvers=[]).plan_set
    lines = repr(plan_set).splitlines()
    assert len(lines) <= 10
    assert all(len(line) < 200 for line in lines)
    assert f"T = {num_steps}, 50 coordinates" in lines[0]
    for name, found in plan_set.strategies.items():
        assert any(line.startswith(f"  {name}: ") for line in lines)
        assert repr(found).count("\n") == 0
    many = replace(plan_set, strategies=dict.fromkeys(map(str, range(30)), found))
    assert len(repr(many).splitlines()) == 10
    assert "22 more strategies" in repr(many)


def test_without_pandas_a_table_stays_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert isinstance(ml.plan([0.5], num_steps=3).table(), ml.Table)


def test_with_pandas_a_table_is_a_data_frame():
    pandas = pytest.importorskip("pandas")
    found = frame(ml.Table(("strategy", "w2_squared"), (("a", 0.5), ("b", 1.5))))
    expected = pandas.DataFrame({"strategy": ["a", "b"], "w2_squared": [0.5, 1.5]})
    pandas.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("engine", ["sgd", "closed_form"])
@pytest.mark.parametrize("budget", ["per_merge", "total"])
def test_students_are_those_that_a_comparison_trains(engine, budget):
    plans = ml.plan(VARIANCES, num_steps=4, train_time=1.92, budget=budget)  # 60 steps, or 20 each
    trained = plans.train(batch_size=64, seed=5, engine=engine, progress=False)
    assert trained.gradient_steps == 60
    training = Training(cosine_schedule(4), VARIANCES, None, 64, 1e-3, engine, "cpu")
    for name, merges in (("vanilla", 1), ("progressive", 3), ("sequential_boot", 3)):
        of_each = 60 // merges if budget == "total" else 60
        steps = ((of_each,) * merges,) * 2
        students = do_job(training, Job(name, plans.plan_set.plans[name], steps, 5))
        found = trained.students[name]
        np.testing.assert_array_equal(found.operator, students.operator)
        np.testing.assert_array_equal(found.predicted, students.predicted)
        np.testing.assert_array_equal(found.w2_squared_runs, students.w2_squared_runs)


def test_the_best_split_is_planned_saved_read_and_trained(tmp_path):
    plans = ml.plan(VARIANCES, num_steps=4, train_time=1.92, budget="best_split")
    read = ml.load(plans.save(tmp_path))
    equal = ml.plan(VARIANCES, num_steps=4, train_time=1.92, budget="total")
    assert "training time 1.92 in total, best split" in repr(read)
    trained = read.train(batch_size=64, engine="sgd", progress=False)
    closed = read.train(batch_size=64, engine="closed_form", progress=False)
    for name, found in trained.students.items():
        assert plans.strategies[name].shares == read.strategies[name].shares
        assert found.gradient_steps == 60  # none is left over
        np.testing.assert_allclose(found.operator, closed.students[name].operator, atol=2e-5)
    for name in ("progressive", "sequential_boot", "sequential_consistency"):
        assert plans.strategies[name].w2_squared < equal.strategies[name].w2_squared


@pytest.mark.parametrize("student_steps", [1, 2])
def test_students_on_latents_are_those_of_the_command(tmp_path, student_steps):
    """compare_strategies, told to train under the plans that were saved."""
    rows = latents()
    np.save(tmp_path / "a.npy", rows)
    plans = ml.plan(rows, num_steps=5, train_time=1.6, student_steps=student_steps)
    config = CompareConfig(
        out=tmp_path / "run",
        latents=tmp_path / "a.npy",
        plan=plans.save(tmp_path),
        num_steps=5,
        steps_per_merge=(50,),
        budgets=("per_merge",),
        student_steps=(student_steps,),
        engine="closed_form",
        batch_size=128,
        seed=3,
    )
    comparison, flat = compare_strategies(config), rows.reshape(-1, 4)
    compared = comparison.of_stage(Stage("per_merge", 50, student_steps), 3)
    trained = plans.train(batch_size=128, seed=3, engine="closed_form", progress=False)
    assert trained.students.keys() == compared.keys()
    for name, found in compared.items():
        np.testing.assert_array_equal(trained.students[name].operator, found.operator)
    # The bank is noise in the rotated coordinates, as faces and exported students have it.
    basis, noise = comparison.rotation.basis, noise_bank(7, 0, 4, 4).numpy()
    expected = flat.mean(axis=0) + (compared["vanilla"].operator * noise) @ basis.T
    samples = trained.sample(strategy="vanilla", count=4, seed=7)
    np.testing.assert_allclose(samples.reshape(4, 4), expected, atol=1e-5)


def test_measured_errors_lie_where_simulated_runs_do():
    plans = ml.plan(latents(4000), num_steps=6, train_time=0.64)
    trained = plans.train(progress=False)
    assert list(trained.students) == trained._table()["strategy"]
    for row in trained._table():
        width = row["high"] - row["low"]
        assert row["low"] - width < row["w2_squared"] < row["high"] + width
        assert row["gradient_steps"] <= 20 * row["merges"]
    assert trained.inputs == "latents"
    assert len(repr(trained).splitlines()) <= 10
    assert "on latents" in repr(trained).splitlines()[0]
    again = plans.train(["vanilla"], engine="sgd", progress=False).students["vanilla"]
    np.testing.assert_allclose(again.operator, trained.students["vanilla"].operator, rtol=1e-5)
    error = trained.errors("vanilla")
    assert float(np.square(error).sum()) == pytest.approx(
        dict(zip(*(trained._table()[name] for name in ("strategy", "w2_squared")), strict=True))[
            "vanilla"
        ]
    )


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"strategies": ["none"]}, "strategy 'none' is none of"),
        ({"strategies": []}, "strategies must be one or more of"),
        ({"lr": -1.0}, "--lr must be positive"),
        ({"lr": 0.9}, "--lr 0.9 is too large for the training time 6.4"),
        ({"lr": 0.1}, "--lr 0.1 is unstable for coordinate 1"),
        ({"batch_size": 0}, "--batch-size must be positive"),
        ({"inputs": "latents"}, "--inputs latents needs --latents"),
        ({"inputs": "faces"}, "inputs must be one of auto, gaussian, latents"),
        ({"engine": "exact"}, "engine must be one of auto, sgd, closed_form"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_a_training_that_cannot_be_is_refused(options, fault):
    with pytest.raises(ValueError, match=fault) as told:
        ml.plan(VARIANCES, num_steps=4).train(**options)
    assert "\n" not in str(told.value)


def test_a_schedule_is_a_name_itself_or_its_arrays():
    betas = np.linspace(0.01, 0.4, 12)
    mine = from_betas(betas)
    options = {"num_steps": 6, "zero_snr": True}
    one = ml.plan(VARIANCES, schedule=mine, **options)
    levels = zero_terminal_snr(mine)
    np.testing.assert_array_equal(one.problem.schedule.alpha, levels.alpha[::2])
    for given in (
        {"betas": betas},
        {"alphas_cumprod": np.cumprod(1 - betas)},
        {"alpha": mine.alpha, "sigma": mine.sigma},
    ):
        plans = ml.plan(VARIANCES, schedule=given, **options)
        assert repr(plans).splitlines()[1:] == repr(one).splitlines()[1:]
        assert "(arrays zero_snr)" in repr(plans)
    assert ml.plan(VARIANCES, schedule={"betas": betas}, solvers=[]).plan_set.num_steps == 12
    with pytest.raises(ValueError, match="--num-steps 13, but the schedule has 12; give no more"):
        ml.plan(VARIANCES, schedule=mine, num_steps=13)
    with pytest.raises(ValueError, match=r"schedule lacks 'sigma'; expected betas, alphas_cumprod"):
        ml.plan(VARIANCES, schedule={"alpha": mine.alpha})
    with pytest.raises(ValueError, match=r"betas\[2\] is 2.0, must be above 0"):
        ml.plan(VARIANCES, schedule={"betas": [0.1, 0.2, 2.0, 0.4]})


def test_samples_start_from_the_noised_latents_where_a_signal_is_left():
    """x_0 = C sqrt(n_T) noise with n_T = alpha_T**2 lam + sigma_T**2."""
    schedule = from_betas(np.full(6, 0.2))
    plans = ml.plan(VARIANCES, schedule=schedule)
    variances = np.array(VARIANCES)
    start = np.sqrt(schedule.alpha[-1] ** 2 * variances + schedule.sigma[-1] ** 2)
    operator = ddim_operators(schedule, variances).prod(axis=0) * start
    noise = np.array([[1.0, -2.0], [0.5, 3.0]])
    np.testing.assert_allclose(plans.sample(noise, strategy="teacher"), operator * noise)


def test_samples_are_the_matrix_function_of_the_covariance_applied_to_the_noise():
    """x_0 = mean + f(covariance) noise, which needs no choice of eigenvectors."""
    rows = latents()
    plans = ml.plan(rows, num_steps=5)
    assert plans.data.coordinates.rotation is not None
    noise = np.random.default_rng(1).normal(size=(6, 2, 2))
    flat = rows.reshape(-1, 4)
    variances, basis = np.linalg.eigh(np.cov(flat.T, bias=True))
    composite = ddim_operators(cosine_schedule(5), variances).prod(axis=0)
    matrix = basis @ np.diag(composite) @ basis.T
    expected = flat.mean(axis=0) + noise.reshape(-1, 4) @ matrix
    found = plans.sample(noise, strategy="teacher")
    assert found.shape == (6, 2, 2)
    np.testing.assert_allclose(found.reshape(-1, 4), expected, atol=1e-5)  # the basis is float32
    np.testing.assert_array_equal(plans.sample(noise.reshape(6, 4), strategy="teacher"), found)
    np.testing.assert_array_equal(plans.sample(torch.from_numpy(noise), strategy="teacher"), found)
    trained = plans.train(progress=False).sample(noise)
    assert np.abs(trained - found).max() < np.abs(found).max()


def test_noise_that_is_drawn_here_depends_on_its_seed_and_place_alone():
    plans = ml.plan(VARIANCES, num_steps=3)
    some = plans.sample(count=3, seed=7)
    assert some.shape == (3, 2)
    np.testing.assert_array_equal(plans.sample(count=5, seed=7)[:3], some)
    assert (plans.sample(count=3, seed=8) != some).any()
    with pytest.raises(ValueError, match=r"noise has shape \(3,\), must be \(n, ...\) of \(2,\)"):
        plans.sample(np.zeros(3))
    with pytest.raises(ValueError, match=r"strategy 'student' is none of .*teacher"):
        plans.sample(strategy="student")


def test_saved_plans_are_read_again_and_know_their_latents(tmp_path):
    rows = latents()
    plans = ml.plan(rows, num_steps=5, train_time=1.6)
    path = plans.save(tmp_path / "mine.json")
    bare = ml.load(path)
    assert bare.data is None
    assert repr(bare).splitlines()[1:] == repr(plans).splitlines()[2:]
    again = ml.load(path, rows)
    assert repr(again) == repr(plans)
    noise = np.ones((1, 2, 2))
    np.testing.assert_array_equal(again.sample(noise), plans.sample(noise))
    with pytest.raises(ValueError, match=r"mine\.json: these latents are not those"):
        ml.load(path, latents(seed=1))
    evil = "<b>1</b>\n2"
    written = json.loads(path.read_text())
    written["schedule"]["name"] = evil
    path.write_text(json.dumps(written))
    named = ml.load(path)
    assert len(repr(named).splitlines()) == len(repr(bare).splitlines())
    assert "b" not in Texts(named._repr_html_()).tags
    path.write_text(json.dumps({"num_steps": 3}))
    with pytest.raises(ValueError, match=r"mine\.json: not a whole plans.json"):
        ml.load(path)


def test_latents_fewer_than_their_coordinates_are_known_again(tmp_path):
    rows = latents(count=3)
    path = ml.plan(rows, num_steps=3).save(tmp_path)
    assert ml.load(path, rows + 0.0).data is not None


def test_plans_of_a_name_of_their_own_are_shown_drawn_and_trained(tmp_path):
    path = ml.plan(VARIANCES, num_steps=4).save(tmp_path)
    written = json.loads(path.read_text())
    written["strategies"]["mine"] = written["strategies"].pop("beam")
    path.write_text(json.dumps(written))
    plans = ml.load(path)
    assert "mine" in repr(plans)
    trained = plans.train(["mine"], progress=False)
    assert list(trained.students) == ["mine"]
    for figure in (plans.plot(), trained.plot()):
        assert figure._repr_png_().startswith(b"\x89PNG")


def test_pictures_are_figures_that_a_notebook_shows():
    plans = ml.plan(VARIANCES, num_steps=4, train_time=1.6)
    few = ml.plan(VARIANCES, num_steps=4, student_steps=2)
    for figure in (plans.plot(), few.plot(), plans.train(progress=False).plot()):
        assert isinstance(figure, Figure)
        assert figure._repr_png_().startswith(b"\x89PNG")


def test_bars_can_be_switched_off(capsys):
    plans = ml.plan(latents(), num_steps=4, progress=False)
    plans.train(progress=False)
    assert capsys.readouterr().err == ""
    plans.train()
    assert "train" in capsys.readouterr().err


def modules_after(code: str) -> set[str]:
    shown = "import sys; print(*sorted(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", f"{code}\n{shown}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(found.stdout.splitlines()[-1].split())


def test_importing_mergelab_imports_nothing_heavy():
    found = modules_after("import mergelab; dir(mergelab)")
    assert not {"numpy", "torch", "numba", "matplotlib", "planner", "tyro"} & found


def test_planning_for_variances_does_without_torch_and_pyplot(tmp_path):
    code = f"""
import mergelab as ml
plans = ml.plan([0.5, 1.1], num_steps=3)
print(repr(plans), plans._repr_html_(), plans.table(), plans.plot()._repr_png_()[:4])
print(plans.sample([[1.0, 2.0]]), ml.load(plans.save({str(tmp_path / "plans.json")!r})))
"""
    found = modules_after(code)
    assert "matplotlib.figure" in found
    assert not {"torch", "matplotlib.pyplot", "pandas"} & found


def test_what_is_public_is_there_and_nothing_else():
    for name in ml.__all__:
        assert name in dir(ml)
        assert getattr(ml, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'plans'"):
        _ = ml.plans


def test_modules_beside_the_packages_hide_no_module_of_others():
    """In a wheel the folder mergelab is on the path."""
    for path in (ROOT / "mergelab").glob("*.py"):
        assert path.stem.startswith("_"), path.name
