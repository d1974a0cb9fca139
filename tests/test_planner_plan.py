import copy
import pickle

import pytest

from planner.plan import (
    Plan,
    distinct,
    from_outline,
    map_distinct,
    merge,
    merges,
    num_merges,
    outline,
    rounds,
    share_equal,
    step,
)
from planner.strategies import CANONICAL, sequential_boot, sequential_consistency
from tests.brute_force import every_algorithm_1_plan, every_plan


def test_a_merge_follows_every_merge_it_is_built_from():
    left, right = merge(step(4), step(3)), merge(step(2), step(1))
    assert list(merges(merge(left, right))) == [left, right, merge(left, right)]


def test_parts_must_tile_the_jump():
    with pytest.raises(ValueError, match=r"\[\(4, 3\), \(2, 1\)\] do not tile the jump x_4 -> x_1"):
        merge(step(4), step(2))


def test_a_long_jump_without_parts_is_refused():
    with pytest.raises(ValueError, match="x_3 -> x_1 has no parts"):
        Plan(start=3, stop=1)


def test_a_merge_of_one_part_is_refused():
    with pytest.raises(ValueError, match="single part"):
        Plan(start=2, stop=1, parts=(step(2),))


def test_the_brute_force_counts_are_the_known_ones():
    """Plane trees by leaves are the little Schroeder numbers; Algorithm 1 tries, for n steps, the
    direct merge and every pair: D(n) = [n > 2] + sum_m D(m) D(n - m)."""
    assert [sum(1 for _ in every_plan(1, n)) for n in range(1, 7)] == [1, 1, 3, 11, 45, 197]
    counts = [sum(1 for _ in every_algorithm_1_plan(1, n)) for n in range(1, 6)]
    assert counts == [1, 1, 3, 8, 23]


@pytest.mark.parametrize("name", CANONICAL)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 8, 31, 1500])
def test_a_strategy_covers_every_step_and_its_rounds_hold_every_merge(name, num_steps):
    plan = CANONICAL[name](num_steps)
    assert (plan.start, plan.stop) == (num_steps, 0)
    in_order = [(jump.start, jump.stop) for jump in merges(plan)]
    in_rounds = [(jump.start, jump.stop) for group in rounds(plan) for jump in group]
    assert sorted(in_rounds) == sorted(in_order)
    leaves = [p.start for jump in merges(plan) for p in jump.parts if not p.parts]
    assert sorted(leaves) == ([] if num_steps == 1 else list(range(1, num_steps + 1)))


def test_rounds_and_merges_are_as_many_as_the_strategies_promise():
    counts = {
        name: (num_merges(make(32)), len(rounds(make(32)))) for name, make in CANONICAL.items()
    }
    assert counts == {
        "vanilla": (1, 1),
        "progressive": (31, 5),
        "sequential_consistency": (31, 31),
        "sequential_boot": (31, 31),
    }


def test_progressive_carries_the_odd_block_over():
    plan = CANONICAL["progressive"](5)
    assert [(jump.start, jump.stop) for jump in merges(plan)] == [(4, 2), (2, 0), (4, 0), (5, 0)]


def test_boot_always_starts_from_noise_and_consistency_always_ends_at_data():
    assert {jump.start for jump in merges(CANONICAL["sequential_boot"](9))} == {9}
    assert {jump.stop for jump in merges(CANONICAL["sequential_consistency"](9))} == {0}


def test_plans_that_are_equal_become_one_object_and_are_counted_once():
    plans = [make(5) for make in (*CANONICAL.values(), *CANONICAL.values())]
    shared = share_equal(plans)
    assert list(shared) == plans
    assert len(distinct(plans)) == 8
    assert distinct(shared) == plans[:4]
    assert all(first is again for first, again in zip(shared[:4], shared[4:], strict=True))


def test_a_function_is_computed_once_for_each_plan_object():
    seen = []

    def count(plan):
        seen.append(plan)
        return num_merges(plan)

    vanilla, boot = CANONICAL["vanilla"](5), CANONICAL["sequential_boot"](5)
    assert map_distinct(count, [vanilla, boot, vanilla]) == [1, 4, 1]
    assert seen == [vanilla, boot]


def test_an_outline_gives_its_plan_back():
    for plan in every_plan(1, 5):
        assert from_outline(5, outline(plan)) == plan
        assert num_merges(plan) == len(outline(plan))


def test_a_plan_of_thousands_of_levels_is_shown_in_one_line_compared_and_hashed():
    """Python stops a recursion at some thousand levels; a sequential plan has T - 1 of them."""
    for make in (sequential_boot, sequential_consistency):
        plan, again, shorter = make(5000), make(5000), make(4999)
        assert repr(plan) == "<Plan x_5000 -> x_0, 4999 merges>"
        assert plan == again
        assert hash(plan) == hash(again)
        assert plan != shorter
        assert pickle.loads(pickle.dumps(plan)) == plan
        assert copy.deepcopy(plan) == plan
    assert sequential_boot(5000) != sequential_consistency(5000)
    assert step(3) != "x_3 -> x_2"
    assert repr(step(3)) == "<Plan x_3 -> x_2, a teacher step>"
    assert repr(merge(step(3), step(2))) == "<Plan x_3 -> x_1, 1 merge>"
