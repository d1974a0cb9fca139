"""How the error falls with training: at equal epochs a merge, and at equal epochs in total."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from distill.config import ConvergenceConfig
from distill.synthetic import load_or_compute_cells, open_synthetic_run
from planner.budget import BUDGETS, BudgetKind
from planner.plan import merges
from planner.strategies import CANONICAL


@dataclass(frozen=True)
class ConvergenceRow:
    """Signed error a - S of one strategy and variance under one budget."""

    num_steps: int
    variance: float
    strategy: str
    engine: str
    budget: str  # what ``epochs`` counts: per_merge or total
    epochs: int
    epochs_per_merge: int
    mean: float
    std: float
    trials: int
    predicted: float


def study_convergence(config: ConvergenceConfig) -> list[ConvergenceRow]:
    """Finish all points of the study, or load what an earlier run of this command finished.

    Equal totals are (T - 1) times the epochs asked for, so that plans of T - 1 merges divide
    them evenly; vanilla spends all of a total on its one merge.

    Raises:
        ValueError, FloatingPointError: as ``begin`` and ``finish_cells``.
    """
    device = open_synthetic_run(config, "study_convergence", [config.num_steps], {})
    points = [
        (budget, strategy, epochs if budget == "per_merge" else epochs * (config.num_steps - 1))
        for epochs in sorted(config.epochs)
        for budget in BUDGETS
        for strategy in config.strategies
    ]
    rows = []
    with tqdm(points, unit="point") as bar:
        for budget, strategy, epochs in bar:
            spent = epochs_per_merge(budget, strategy, epochs, config.num_steps)
            bar.set_description(f"{strategy}, {spent} epochs a merge")
            cells = load_or_compute_cells(config, config.num_steps, strategy, spent, device)
            for i, variance in enumerate(config.variances):
                rows.append(
                    ConvergenceRow(
                        num_steps=config.num_steps,
                        variance=variance,
                        strategy=strategy,
                        engine=config.engine,
                        budget=budget,
                        epochs=epochs,
                        epochs_per_merge=spent,
                        mean=float(np.mean(cells.errors[:, i])),
                        std=float(np.std(cells.errors[:, i], ddof=1)),
                        trials=config.trials,
                        predicted=float(cells.predicted[i]),
                    )
                )
    return rows


def epochs_per_merge(budget: BudgetKind, strategy: str, epochs: int, num_steps: int) -> int:
    """Gradient steps of each merge of a canonical strategy under a budget."""
    if budget == "per_merge":
        return epochs
    return epochs // len(list(merges(CANONICAL[strategy](num_steps))))
