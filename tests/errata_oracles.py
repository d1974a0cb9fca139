"""What docs/errata.md prints, computed anew: one function a table, one call a row.

A row comes as header -> cell; an oracle takes from it what it needs and gives header -> number for
the columns that it answers for. All other columns hold what was put in, or are quoted.
"""

from collections.abc import Callable

import numpy as np
import torch

from diffusion.gaussian import ddim_operators, noised_variances, surrogate_composite
from diffusion.schedule import cosine_schedule
from distill.law import sgd_shrinkage
from distill.train import time_embedding
from planner.joint import plan_jointly
from planner.per_dimension import optimal_values
from planner.plan import merges, rounds
from planner.problem import make_problem
from planner.regimes import consistency_threshold, vanilla_threshold
from planner.strategies import CANONICAL
from planner.value import plan_operator, w2_squared
from tests.brute_force import every_algorithm_1_plan
from tests.problems import greedy_plan, posed, problem

Row = dict[str, str]
Oracle = Callable[[Row], dict[str, float]]
ORACLES: dict[tuple[str, int], Oracle] = {}
EPOCHS, LR = 100, 1e-3  # of the paper's tables


def shows(entry: str, table: int = 0) -> Callable[[Oracle], Oracle]:
    """Register the oracle of a table of an entry."""

    def register(oracle: Oracle) -> Oracle:
        ORACLES[entry, table] = oracle
        return oracle

    return register


def variances_of(row: Row) -> list[float]:
    return [float(part) for part in row["λ"].split(",")]


# The paper.


def algorithm_1(operators, shrinkage, surrogate, ranges: str) -> float:
    """What Algorithm 1 finds for one coordinate, its index ranges read in one of three ways.

    ``printed``: products and cuts over [a+1..b], the direct merge forgotten once a cut exists.
    ``assigned``: closed ranges, and still forgotten. ``corrected``: closed ranges, all compared.
    """
    num_steps = len(operators)
    first = 1 if ranges == "printed" else 0
    best = {(t, t): operators[t] for t in range(num_steps)}
    for length in range(2, num_steps + 1):
        for a in range(num_steps - length + 1):
            b = a + length - 1
            g = shrinkage[b]
            direct = (1 - g) * operators[a + first : b + 1].prod() + g * operators[b]
            cuts = [best[m + 1, b] * ((1 - g) * best[a, m] + g) for m in range(a + first, b)]
            rivals = [direct, *cuts] if ranges == "corrected" or not cuts else cuts
            best[a, b] = min(rivals, key=lambda value: abs(surrogate - value))
    return float(best[0, num_steps - 1])


@shows("P-1", 0)
def index_ranges(row: Row) -> dict[str, float]:
    operators, shrinkage, surrogate = problem(int(row["T"]), [float(row["λ"])], 1.6)
    found = {
        reading: algorithm_1(operators[:, 0], shrinkage[:, 0], surrogate[0], reading)
        for reading in ("printed", "assigned", "corrected")
    }
    ours = plan_operator(greedy_plan(operators, shrinkage, [float(row["λ"])]), operators, shrinkage)
    assert abs(ours[0] - found["corrected"]) < 1e-12
    columns = ("as printed", "closed ranges only", "corrected")
    errors = (abs(surrogate[0] - value) for value in found.values())
    return dict(zip(columns, errors, strict=True))


@shows("P-1", 1)
def merges_of_merged_blocks(row: Row) -> dict[str, float]:
    variances = np.array([float(row["λ"])])
    operators, shrinkage, surrogate = problem(int(row["T"]), variances, 1.6)
    pairs, any_number = (
        optimal_values(posed(operators, shrinkage, variances), nary=nary, full_search=True)[0]
        for nary in (False, True)
    )
    return {
        "pairs": (surrogate[0] - pairs) ** 2,
        "any number": (surrogate[0] - any_number) ** 2,
    }


@shows("P-2")
def splits(row: Row) -> dict[str, float]:
    num_steps = int(row["T"])
    lengths = range(2, num_steps + 1)
    counted = sum((num_steps - length + 1) * (length - 1) for length in lengths)
    return {"splits": counted, "(T³ - T)/6": (num_steps**3 - num_steps) / 6, "T²": num_steps**2}


@shows("P-3")
def joint_plans(row: Row) -> dict[str, float]:
    num_steps, train_time = int(row["T"]), float(row["s"])
    posed = make_problem(cosine_schedule(num_steps), np.array(variances_of(row))).with_training(
        train_time
    )
    heuristic = plan_jointly(posed, "greedy").w2_squared
    exact = plan_jointly(posed, "pareto").w2_squared
    if num_steps <= 7:
        brute = min(
            w2_squared(plan_operator(plan, posed.operators, posed.shrinkage), posed.surrogate)
            for plan in every_algorithm_1_plan(1, num_steps)
        )
        assert abs(brute / exact - 1) < 1e-12
    return {"Algorithm 1": heuristic, "optimum": exact, "ratio": heuristic / exact}


@shows("P-4", 0)
def thresholds(row: Row) -> dict[str, float]:
    schedule = cosine_schedule(int(row["T"]))
    angle = np.pi / (2 * schedule.num_steps)
    t = np.arange(1, schedule.num_steps)
    own = np.tan(t * angle) / np.tan((t - 0.5) * angle)  # where A_t = 1
    assert abs(own.max() - vanilla_threshold(schedule)) < 1e-12
    found = {f"λ_C, s = {s}": consistency_threshold(schedule, s) for s in (1.6, 3.2, 6.4)}
    return {"λ₀*": 2 / (1 - np.tan(angle / 2) ** 2), "least λ₀(t)": own.min(), **found}


@shows("P-4", 1)
def vanilla_below_its_threshold(row: Row) -> dict[str, float]:
    variances = np.array([float(row["λ"])])
    operators, shrinkage, surrogate = problem(int(row["T"]), variances, float(row["s"]))
    vanilla = plan_operator(CANONICAL["vanilla"](int(row["T"])), operators, shrinkage)
    best = optimal_values(posed(operators, shrinkage, variances), full_search=True)
    return {"operator gap": (best - vanilla)[0], "error of the optimum": (surrogate - best)[0]}


@shows("P-5")
def boot_on_the_unit_interval(row: Row) -> dict[str, float]:
    variances = np.array([*np.linspace(0.02, 1, 50), 1 - 1e-6, 1 - 1e-9])
    operators, shrinkage, _ = problem(int(row["T"]), variances, float(row["s"]))
    best = optimal_values(posed(operators, shrinkage, variances), full_search=True)
    boot = plan_operator(CANONICAL["sequential_boot"](int(row["T"])), operators, shrinkage)
    assert np.abs(boot / best - 1).max() < float(row["largest relative gap below"])
    return {}


def composites(num_steps: int, variance: float) -> tuple[float, float]:
    """The product of all A_t, and the surrogate's."""
    variances = np.array([variance])
    operators = ddim_operators(cosine_schedule(num_steps), variances)
    return operators.prod(), surrogate_composite(operators, variances)[0]


@shows("P-6", 0)
def jump_of_the_surrogate(row: Row) -> dict[str, float]:
    num_steps = int(row["T"])
    at, above = composites(num_steps, 1.0)[1], composites(num_steps, 1.0 + 1e-9)[1]
    assert abs(at - np.cos(np.pi / (2 * num_steps)) ** num_steps) < 1e-12
    return {"S at λ = 1": at, "S just above": above, "jump": above - at}


@shows("P-6", 1)
def offset_of_the_surrogate(row: Row) -> dict[str, float]:
    true, surrogate = composites(int(row["T"]), float(row["λ"]))
    shortfall = 1 - surrogate / np.sqrt(float(row["λ"]))
    return {"∏ A_t - S": true - surrogate, "1 - S/√λ": shortfall}


@shows("P-7", 0)
def contraction(row: Row) -> dict[str, float]:
    variance = float(row["λ"])
    ratios = {T: composites(T, variance)[0] / np.sqrt(variance) for T in (8, 32, 512)}
    inverse = composites(32, 1 / variance)[0] * np.sqrt(variance)
    assert abs(inverse - ratios[32]) < 1e-12
    return {f"T = {T}": ratio for T, ratio in ratios.items()}


@shows("P-7", 1)
def merges_and_rounds(row: Row) -> dict[str, float]:
    plan = CANONICAL[row["strategy"]](32)
    return {"merges": len(list(merges(plan))), "rounds": len(rounds(plan))}


def trained_error(strategy, num_steps, variance, epochs, first: float = 1.0) -> float:
    """Signed error to S of a student trained by plain gradient descent, in closed form."""
    schedule, variances = cosine_schedule(num_steps), np.array([variance])
    operators = ddim_operators(schedule, variances)
    noised = noised_variances(schedule, variances)
    shrinkage = sgd_shrinkage(noised, LR, epochs)
    surrogate = surrogate_composite(operators, variances)[0]
    if strategy != "sequential_consistency":
        return plan_operator(CANONICAL[strategy](num_steps), operators, shrinkage)[0] - surrogate
    student = first  # what step 1 multiplies
    for A, n in zip(operators[:, 0], noised[:, 0], strict=True):
        g = (1 - 2 * LR * 32 * n) ** epochs
        student = A * ((1 - g) * student + g)
    return student - surrogate


@shows("P-7", 2)
def equal_totals(row: Row) -> dict[str, float]:
    strategy, variance = row["strategy"], float(row["λ"])
    plan = CANONICAL[strategy](32)
    epochs = int(row["steps per merge"])
    assert int(row["steps in total"]) == epochs * len(list(merges(plan)))
    return {"error to S": trained_error(strategy, 32, variance, epochs)}


@shows("P-8", 0)
def three_cells(row: Row) -> dict[str, float]:
    last_operator = np.cos(np.pi / 64)  # A_T
    errors = (
        trained_error("sequential_consistency", 32, float(row["λ"]), EPOCHS, first)
        for first in (1.0, last_operator)
    )
    return dict(zip(("from A_1", "from A_1 A_T"), errors, strict=True))


@shows("P-8", 1)
def best_at_1_02(row: Row) -> dict[str, float]:
    return {"error to S": trained_error(row["strategy"], 32, 1.02, EPOCHS)}


@shows("P-8", 2)
def embedding(row: Row) -> dict[str, float]:
    norms = time_embedding(torch.linspace(0, 1, 33, dtype=torch.float64)).square().sum(dim=1)
    assert torch.allclose(norms, norms[:1].expand(33), atol=1e-12)
    factor = 2 * LR * float(norms[0])
    return {
        "norm²": float(norms[0]),
        "factor per step, n_t = 1": 1 - factor,
        "s in the small-step limit": EPOCHS * factor / 2,
        "stable below n_t": 2 / factor,
    }
