import pickle

import numpy as np
import pytest

from distill.jobs import Case, list_jobs, steps_per_merge
from planner.budget import Stage
from planner.plan import from_outline, merge, merges, outline, step
from planner.strategies import CANONICAL, progressive, sequential_boot, vanilla


@pytest.mark.parametrize("name", CANONICAL)
@pytest.mark.parametrize("num_steps", [1, 2, 7, 2_000])
def test_plans_of_any_depth_survive_pickling(name, num_steps):
    plan = CANONICAL[name](num_steps)
    copy = pickle.loads(pickle.dumps(plan))
    assert outline(copy) == outline(plan)
    assert [(j.start, j.stop) for j in merges(copy)] == [(j.start, j.stop) for j in merges(plan)]


def test_unlike_plans_have_unlike_outlines():
    left = merge(merge(step(3), step(2)), step(1))
    right = merge(step(3), merge(step(2), step(1)))
    assert outline(left) != outline(right) != outline(vanilla(3))
    assert from_outline(3, outline(right)) == right


def test_equal_totals_are_shared_among_merges():
    plans = [vanilla(9), progressive(9), merge(step(9), merge(step(8), vanilla(7)))]
    assert steps_per_merge(plans, Stage("per_merge", 10)).tolist() == [10, 10, 10]
    # 80 in total: 1 merge, 8 merges, 3 merges of which each gets the whole part of 80 / 3.
    assert steps_per_merge(plans, Stage("total", 10)).tolist() == [80, 10, 26]


def test_one_step_leaves_nothing_to_merge():
    assert steps_per_merge([step(1)], Stage("total", 10)).tolist() == [10]


def test_cases_of_equal_work_share_a_job_and_others_do_not():
    plans = {
        Stage("per_merge", 10): {"a": (sequential_boot(5),) * 2, "b": (sequential_boot(5),) * 2},
        Stage("total", 10): {"a": (sequential_boot(5),) * 2, "c": (vanilla(5), sequential_boot(5))},
        Stage("per_merge", 40): {
            "a": (vanilla(5), vanilla(5)),
            "c": (vanilla(5), sequential_boot(5)),
        },
    }
    jobs = list_jobs(plans, seeds=[0, 1])
    assert len(jobs) == 12
    assert len(set(jobs.values())) == 8
    shared = jobs[Case("a", Stage("per_merge", 10), 0)]
    assert (
        jobs[Case("b", Stage("per_merge", 10), 0)]
        is shared
        is jobs[Case("a", Stage("total", 10), 0)]
    )
    assert jobs[Case("a", Stage("per_merge", 10), 1)] is not shared
    assert shared.name == "per_merge_00010_a_seed0"
    mixed = jobs[Case("c", Stage("total", 10), 0)]
    np.testing.assert_array_equal(mixed.steps_per_merge, [40, 10])
    assert (mixed.num_merges, mixed.gradient_steps) == (4, 40)
