"""The command study_convergence: how the error falls with training, under both budgets."""

from dataclasses import dataclass, field

import numpy as np

from distill.config import RECORDED_SYNTHETIC_ENGINE, ConvergenceConfig, SyntheticEngine
from distill.synthetic import load_or_compute_cells, open_synthetic_run
from experiment.progress import tqdm
from experiment.track import open_tracker
from experiment.write import recorded_as
from planner.budget import BUDGETS, BudgetKind
from planner.plan import num_merges
from planner.strategies import CANONICAL


@dataclass(frozen=True)
class ConvergenceRow:
    """The signed error a - S of one strategy and variance at one training length."""

    num_steps: int
    variance: float
    strategy: str
    engine: SyntheticEngine = field(metadata=RECORDED_SYNTHETIC_ENGINE)
    budget: BudgetKind
    gradient_steps: int = field(metadata=recorded_as("epochs"))
    """What the budget holds equal: gradient steps per merge, or in total."""
    steps_per_merge: int = field(metadata=recorded_as("epochs_per_merge"))
    mean: float
    """Mean over trials."""
    std: float
    """Standard deviation over trials, with trials - 1 in the denominator."""
    trials: int
    predicted: float
    """Closed form with the expected shrinkage."""


def study_convergence(config: ConvergenceConfig) -> list[ConvergenceRow]:
    """Compute all points of the study, except those that an earlier run of it finished.

    Totals are T - 1 times the steps per merge that were asked for, so plans of T - 1 merges divide
    them evenly; vanilla spends the whole total on its one merge.

    Raises:
        ValueError: the learning rate is unstable, or the run folder is another run's, or damaged.
        FloatingPointError: a student diverged.
    """
    device = open_synthetic_run(config, "study_convergence", [config.num_steps], {})
    points = [
        (budget, strategy, steps if budget == "per_merge" else steps * (config.num_steps - 1))
        for steps in sorted(config.steps_per_merge)
        for budget in BUDGETS
        for strategy in config.strategies
    ]
    rows = []
    with (
        # Points that an earlier run finished are shown again, so nothing that it showed stays.
        open_tracker(config.track, config.out, config, 0, "gradient_steps") as show,
        tqdm(points, unit="point") as bar,
    ):
        for budget, strategy, gradient_steps in bar:
            per_merge = merge_steps(budget, strategy, gradient_steps, config.num_steps)
            bar.set_description(f"{strategy}, {per_merge} gradient steps per merge")
            cells = load_or_compute_cells(config, config.num_steps, strategy, per_merge, device)
            for i, variance in enumerate(config.variances):
                rows.append(
                    ConvergenceRow(
                        num_steps=config.num_steps,
                        variance=variance,
                        strategy=strategy,
                        engine=config.engine,
                        budget=budget,
                        gradient_steps=gradient_steps,
                        steps_per_merge=per_merge,
                        mean=float(np.mean(cells.errors[:, i])),
                        std=float(np.std(cells.errors[:, i], ddof=1)),
                        trials=config.trials,
                        predicted=float(cells.predicted[i]),
                    )
                )
                where = f"{strategy}_{budget}/error_of_{variance:g}"
                show({where: rows[-1].mean}, gradient_steps, None)
    return rows


def merge_steps(budget: BudgetKind, strategy: str, gradient_steps: int, num_steps: int) -> int:
    """Gradient steps that each merge of a canonical strategy takes.

    Args:
        gradient_steps: Gradient steps per merge, or in total, as the budget says.
    """
    if budget == "per_merge":
        return gradient_steps
    return gradient_steps // num_merges(CANONICAL[strategy](num_steps))
