import math

import pytest
import scipy
import torch

from sampling.wasserstein import margin, random_directions, sliced_w2_squared


def transport_cost(a: torch.Tensor, b: torch.Tensor) -> float:
    """Least mean squared displacement of one sample into the other, by linear programming."""
    n, m = len(a), len(b)
    cost = (a[:, None] - b[None, :]).square().numpy().astype(float)
    rows = torch.kron(torch.eye(n), torch.ones(1, m)).numpy()
    columns = torch.kron(torch.ones(1, n), torch.eye(m)).numpy()
    found = scipy.optimize.linprog(
        cost.ravel(),
        A_eq=[*rows, *columns],
        b_eq=[1 / n] * n + [1 / m] * m,
    )
    return found.fun


@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 6), (7, 3), (1, 4)])
def test_along_each_direction_it_is_the_optimal_transport_cost(n, m):
    generator = torch.Generator().manual_seed(n * 10 + m)
    a, b = torch.randn(n, 3, generator=generator), torch.randn(m, 3, generator=generator) + 1
    directions = random_directions(4, 3, seed=0)
    found = sliced_w2_squared(a, b, directions)
    expected = [transport_cost(a @ direction, b @ direction) for direction in directions.T]
    torch.testing.assert_close(found, torch.tensor(expected).float(), rtol=1e-4, atol=1e-6)


def test_a_shift_costs_its_squared_length_over_the_dimension():
    """The mean over the sphere of (direction . shift)**2 is |shift|**2 / d."""
    samples = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    shift = torch.full((8,), 0.5)
    found = sliced_w2_squared(samples, samples + shift, random_directions(20_000, 8, seed=1))
    assert found.mean().item() == pytest.approx(shift.square().sum().item() / 8, rel=0.03)


def test_two_gaussians_are_as_far_apart_as_their_standard_deviations():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(20_000, 2, generator=generator) for _ in range(2))
    found = sliced_w2_squared(a, 1.5 * b, random_directions(50, 2, seed=0)).mean().sqrt()
    assert found.item() == pytest.approx(0.5, abs=0.02)  # sampling noise of 20,000 points


def test_directions_have_unit_length_and_no_preference():
    directions = random_directions(4_000, 5, seed=3)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(4_000))
    second_moment = directions @ directions.T / 4_000
    assert (second_moment - torch.eye(5) / 5).abs().max() < 3 * math.sqrt(0.09 / 4_000)


def test_the_margin_tells_better_samples_from_worse_and_sees_no_difference_in_none():
    generator = torch.Generator().manual_seed(0)
    held_out, good, same = (torch.randn(600, 6, generator=generator) for _ in range(3))
    bad = 1.3 * torch.randn(600, 6, generator=generator)
    directions = random_directions(20, 6, seed=0)
    better, worse, none = (
        margin(samples, reference, held_out, directions)
        for samples, reference in ((good, bad), (bad, good), (good, same))
    )
    assert better.reference - better.samples > 4 * better.standard_error > 0
    assert (better.reference, better.samples) == (worse.samples, worse.reference)
    assert abs(none.reference - none.samples) < 4 * none.standard_error


def test_the_standard_error_is_the_spread_over_sets_of_held_out_latents():
    generator = torch.Generator().manual_seed(1)
    good, bad = torch.randn(2, 2_000, 3, generator=generator).unbind()
    bad, directions = 1.1 * bad, random_directions(5, 3, seed=0)
    found = [
        margin(good, bad, torch.randn(200, 3, generator=generator), directions) for _ in range(60)
    ]
    spread = torch.tensor([one.reference - one.samples for one in found]).std().item()
    errors = torch.tensor([one.standard_error for one in found])
    assert errors.mean().item() == pytest.approx(spread, rel=0.35)  # 60 sets know it to 10 %
