import pytest

from planner.plan import merges, num_merges
from planner.strategies import CANONICAL
from report.plan_figures import MOST_STEPS, distinct_arcs, grid_of


@pytest.mark.parametrize("name", CANONICAL)
@pytest.mark.parametrize("num_steps", [2, 32, MOST_STEPS, 200, 1000])
def test_every_arc_is_drawn_or_lies_on_a_longer_one_that_is(name, num_steps):
    plan, grid = CANONICAL[name](num_steps), grid_of(num_steps)
    shown = distinct_arcs(plan, num_steps)
    places = {(start // grid, stop // grid): start - stop for start, stop in shown}
    assert len(places) == len(shown)
    for jump in merges(plan):
        assert places[jump.start // grid, jump.stop // grid] >= jump.start - jump.stop
    assert (num_steps, 0) in shown
    if num_steps <= MOST_STEPS:
        assert len(shown) == num_merges(plan)
