import numpy as np
import pytest

from diffusion.schedule import cosine_schedule
from planner.fronts import build, interval_fronts, nearest_to
from planner.greedy import TILE, greedy_fronts, greedy_plan
from planner.plan import outline
from planner.problem import MergeProblem, make_problem
from planner.watch import Watch


def assert_same_search(problem):
    """The compiled Algorithm 1 against the general search over rows, in NumPy: the same bits."""
    oracle = interval_fronts(problem, nearest_to(problem.surrogate))
    found = greedy_fronts(problem, Watch())
    assert found.keys() == oracle.keys()
    for block, front in oracle.items():
        np.testing.assert_array_equal(found[block].values, front.values)
        np.testing.assert_array_equal(found[block].origins, front.origins)
    whole = (1, problem.num_steps)
    assert outline(greedy_plan(problem, Watch())) == outline(build(oracle, whole, 0))


@pytest.mark.parametrize("train_time", [0.2, 6.4])
@pytest.mark.parametrize("num_steps", [1, 2, 3, TILE - 1, TILE, TILE + 1, 2 * TILE + 7])
def test_every_block_keeps_the_same_candidate_as_in_numpy(num_steps, train_time):
    variances = np.random.default_rng(num_steps).uniform(0.05, 3.0, 5)
    assert_same_search(
        make_problem(cosine_schedule(num_steps), variances).with_training(train_time)
    )


@pytest.mark.parametrize("width", [2, 7, 8, 9, 31, 32, 33, 128, 129, 136, 300, 1000])
def test_squares_are_added_in_the_order_of_numpy(width):
    """NumPy adds eight interleaved sums, and halves of rows longer than 128."""
    variances = np.random.default_rng(width).uniform(0.05, 3.0, width)
    assert_same_search(make_problem(cosine_schedule(9), variances).with_training(1.6))


def test_of_equal_candidates_the_first_is_kept():
    """Without shrinkage all candidates are products, equal but for rounding, and often equal."""
    rng = np.random.default_rng(0)
    operators = np.exp2(rng.integers(-1, 2, (TILE + 9, 3)).astype(float))  # products are exact
    for undone in (0.0, 0.5, 1.0):
        shrinkage = np.full_like(operators, undone)
        assert_same_search(MergeProblem(np.ones(3), operators, operators.prod(axis=0), shrinkage))


def test_a_time_that_is_up_ends_the_search():
    problem = make_problem(cosine_schedule(4), np.array([0.5, 1.5])).with_training(1.0)
    watch = Watch("greedy", -1.0)
    with pytest.raises(TimeoutError, match="greedy found no plan within its time limit"):
        greedy_plan(problem, watch)
    assert watch.stopped
