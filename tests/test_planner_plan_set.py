import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.schedule import cosine_schedule
from experiment.write import write_json
from planner.budget import Budget
from planner.effort import Effort
from planner.parametrisation import Parametrisation
from planner.plan import distinct, merge, step
from planner.plan_all import plan_every_strategy
from planner.plan_file import from_json, read_plans, read_plans_for, to_json
from planner.plan_set import PER_DIMENSION, PlanSet, StrategyPlans
from planner.problem import make_problem
from planner.strategies import CANONICAL, equal_shares, shifted


@st.composite
def some_plan(draw, num_steps):
    """Any plan: neighbouring blocks are merged, two or more at a time, until one is left."""
    blocks = [step(t) for t in range(num_steps, 0, -1)]
    while len(blocks) > 1:
        first = draw(st.integers(0, len(blocks) - 2))
        last = draw(st.integers(first + 2, len(blocks)))
        blocks[first:last] = [merge(*blocks[first:last])]
    return blocks[0]


@st.composite
def some_plan_set(draw):
    num_steps, width = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    student_steps = draw(st.integers(1, num_steps))
    numbers = st.lists(st.floats(0, 20), min_size=width, max_size=width).map(np.array)
    shares = equal_shares(num_steps, student_steps)
    joint = [shifted(draw(some_plan(start - stop)), stop) for start, stop in shares]
    apart = tuple(
        shifted(draw(some_plan(start - stop)), stop) for start, stop in shares for _ in range(width)
    )
    strategies = {
        name: StrategyPlans(plans, draw(numbers), draw(st.floats(0, 1)), draw(st.booleans()))
        for name, plans in (
            ("beam", tuple(plan for plan in joint for _ in range(width))),
            (PER_DIMENSION, apart),
        )
    }
    time, budget = draw(st.floats(0.01, 10)), draw(st.sampled_from(["per_merge", "total"]))
    variances, target = draw(numbers), draw(numbers)
    return PlanSet(
        *(num_steps, time, budget, variances, target, 0.25, strategies),
        student_steps=student_steps,
    )


@settings(max_examples=60, deadline=None)
@given(some_plan_set())
def test_plans_survive_the_file(plan_set):
    back = from_json(json.loads(json.dumps(to_json(plan_set))))
    assert to_json(back) == to_json(plan_set)
    assert back.student_steps == plan_set.student_steps
    for name, found in plan_set.strategies.items():
        assert back.strategies[name].plans == found.plans
        np.testing.assert_array_equal(back.strategies[name].operator, found.operator)
    np.testing.assert_array_equal(back.variances, plan_set.variances)


def test_only_denoisers_name_their_parametrisation_and_call_their_target_the_composite():
    variances = np.array([0.5, 1.08])
    chosen = Parametrisation("denoiser", "z", "v")
    problem = make_problem(cosine_schedule(4), variances, chosen)
    value = to_json(plan_every_strategy(problem, Budget(1.6)))
    named = {name: value[name] for name in ("parametrisation", "loss", "prediction", "law")}
    assert named == {
        "parametrisation": "denoiser",
        "loss": "z",
        "prediction": "v",
        "law": "gradient_flow",
    }
    assert "surrogate" not in value
    np.testing.assert_array_equal(value["composite"], problem.composite)
    assert from_json(value).parametrisation == chosen
    for name, wrong in (("loss", "mse"), ("law", 3), ("prediction", "eps")):
        with pytest.raises(ValueError, match=f"{name}"):
            from_json(value | {name: wrong})


def written(num_steps=4, variances=(0.5, 1.08), student_steps=1):
    problem = make_problem(cosine_schedule(num_steps), np.array(variances))
    return to_json(plan_every_strategy(problem, Budget(1.6), student_steps=student_steps))


@pytest.mark.parametrize("student_steps", [1, 2])
def test_long_lists_name_every_plan_once(monkeypatch, student_steps):
    variances = np.array([0.5, 2.5, 0.6, 1.02, 0.7])
    problem = make_problem(cosine_schedule(8), variances)
    plan_set = plan_every_strategy(problem, Budget(1.6), student_steps=student_steps)
    listed = to_json(plan_set)
    monkeypatch.setattr("planner.plan_file.MOST_LISTED", 3)
    short = json.loads(json.dumps(to_json(plan_set)))
    own = short["strategies"]["per_dimension"]
    merges, places = own["merges"], own["plan_of"]
    for row, of in [(merges, places)] if student_steps == 1 else zip(merges, places, strict=True):
        assert of[0] == of[2] == of[4] == 0
        assert len(row) == len(set(of)) < len(variances)
    assert short["strategies"]["vanilla"] == listed["strategies"]["vanilla"]
    back = from_json(short)
    assert back.plans == plan_set.plans
    assert len(distinct(back.strategies["per_dimension"].plans)) < len(variances) * student_steps
    monkeypatch.undo()
    assert to_json(back) == listed
    # What a version that does not know plan_of sees, and what damage may leave.
    old = copy.deepcopy(short)
    del old["strategies"]["per_dimension"]["plan_of"]
    with pytest.raises(
        ValueError, match=r"per_dimension: \d plans and 5 operators for 5 variances"
    ):
        from_json(old)
    for wrong in (-1, len(variances), "0"):
        spoilt = copy.deepcopy(short)
        (
            spoilt["strategies"]["per_dimension"]["plan_of"][0]
            if student_steps > 1
            else spoilt["strategies"]["per_dimension"]["plan_of"]
        )[0:1] = [wrong]
        with pytest.raises(ValueError, match="plan_of"):
            from_json(spoilt)


def test_four_thousand_coordinates_take_less_than_two_megabytes(tmp_path):
    variances = np.random.default_rng(0).uniform(0.05, 2.0, 4096)
    problem = make_problem(cosine_schedule(32), variances)
    found = plan_every_strategy(problem, Budget(6.4), effort=Effort(()))
    # Three joint solvers would add three operators.
    joint = dict.fromkeys(("greedy", "beam", "pareto"), found.strategies["vanilla"])
    write_json(
        tmp_path / "plans.json", to_json(replace(found, strategies=found.strategies | joint))
    )
    assert (tmp_path / "plans.json").stat().st_size < 2_000_000


def test_the_file_has_the_keys_that_were_promised():
    value = written()
    assert set(value) == {
        *("num_steps", "train_time", "budget", "variances"),
        *("surrogate", "lower_bound", "strategies", "schedule"),
    }
    assert set(value["strategies"]) == {*CANONICAL, "greedy", "beam", "pareto", "per_dimension"}
    for name, found in value["strategies"].items():
        assert set(found) == {"w2_squared", "operator", "optimal", "merges"}
        jumps = found["merges"][0] if name == "per_dimension" else found["merges"]
        assert jumps[-1]["interval"] == [1, 4]
    progressive = value["strategies"]["progressive"]["merges"]
    assert progressive[-1] == {"interval": [1, 4], "children": [[1, 2], [3, 4]]}
    assert {tuple(jump["interval"]) for jump in progressive} == {(1, 2), (3, 4), (1, 4)}


def test_merges_of_several_steps_are_listed_step_by_step():
    value = written(5, student_steps=2)
    assert value["student_steps"] == 2
    assert "student_steps" not in written(5)
    merges = value["strategies"]["sequential_boot"]["merges"]
    assert merges == [
        [{"interval": [4, 5], "children": [[4, 4], [5, 5]]}],
        [
            {"interval": [2, 3], "children": [[2, 2], [3, 3]]},
            {"interval": [1, 3], "children": [[1, 1], [2, 3]]},
        ],
    ]
    apart = value["strategies"]["per_dimension"]["merges"]
    assert [[own[-1]["interval"] for own in step] for step in apart] == [[[4, 5]] * 2, [[1, 3]] * 2]


def test_plans_of_several_steps_are_refused_where_students_of_one_are_trained(tmp_path):
    path = tmp_path / "plans_K2.json"
    path.write_text(json.dumps(written(student_steps=2)))
    with pytest.raises(ValueError, match=r"of K = 2, .* of K = 1; plan again .* --student-steps 1"):
        read_plans_for(path, make_problem(cosine_schedule(4), np.ones(2)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v.update(student_steps=1), "student_steps is 1, must be at least 2"),
        (lambda v: v.update(student_steps=4), "merges of 2 steps, not of 4"),
        (lambda v: v.update(student_steps=10**12), "merges of 2 steps, not of 1000000000000"),
        (lambda v: v.update(num_steps=7), r"a child \[4, 4\] is no step"),
        (lambda v: v.update(num_steps=1), "of 2 steps cannot learn from a teacher of 1"),
        (lambda v: v.pop("student_steps"), "children"),
        (lambda v: v["strategies"]["per_dimension"]["merges"][1].pop(), "1 plans and 2 operators"),
        (lambda v: v["strategies"]["vanilla"]["merges"].reverse(), "that is still to be used"),
        (lambda v: v["strategies"]["vanilla"]["merges"].__setitem__(0, 3), "merges"),
    ],
)
def test_spoilt_plans_of_several_steps_are_refused(tmp_path, spoil, message):
    value = written(6, student_steps=2)
    spoil(value)
    path = tmp_path / "plans_K2.json"
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match=rf"plans_K2.json: not a whole plans.json .*{message}"):
        read_plans(path)


def test_a_plan_of_thousands_of_steps_is_written_and_read(tmp_path):
    path = tmp_path / "plans.json"
    path.write_text(json.dumps(written(1500, [0.5])))
    back = read_plans(path)
    assert back.strategies["sequential_boot"].plans[0].start == 1500


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v.pop("surrogate"), "lacks 'surrogate'"),
        (lambda v: v["strategies"]["vanilla"].update(operator=[1.0]), "2 plans and 1 operators"),
        (lambda v: v["strategies"]["vanilla"].update(merges=[]), "not one of all steps"),
        (
            lambda v: v["strategies"]["vanilla"]["merges"][0].update(interval=[1, 3]),
            r"do not tile the interval \[1, 3\]",
        ),
        (lambda v: v.update(num_steps=5), "not one of all steps"),
    ],
)
def test_a_spoilt_file_is_refused_by_its_path(tmp_path, spoil, message):
    value = written()
    spoil(value)
    path = tmp_path / "plans.json"
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match=rf"plans.json: not a whole plans.json .*{message}"):
        read_plans(path)


def test_half_a_file_and_no_file_are_refused(tmp_path):
    path = tmp_path / "plans.json"
    path.write_text(json.dumps(written())[:500])
    with pytest.raises(ValueError, match=r"not a whole plans\.json"):
        read_plans(path)
    with pytest.raises(FileNotFoundError):
        read_plans(tmp_path / "none.json")
