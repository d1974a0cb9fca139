"""The paper's tables: every T, variance and strategy, measured over trials beside the theory."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from diffusion.schedule import cosine_schedule
from distill.config import SimulateConfig
from distill.stage_plans import read_plan_set
from distill.synthetic import load_or_compute_cells, open_synthetic_run
from experiment.write import sha256
from planner.problem import make_problem


@dataclass(frozen=True)
class SyntheticRow:
    """One cell of the table: signed error a - S of one T, variance and strategy."""

    num_steps: int
    variance: float
    strategy: str
    engine: str
    mean: float  # over trials
    std: float  # over trials, with trials - 1 in the denominator
    trials: int
    predicted: float  # closed form with the expected shrinkage

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return self.std / self.trials**0.5


def simulate_students(config: SimulateConfig) -> list[SyntheticRow]:
    """Finish all cells, or load what an earlier run of this command finished.

    Returns:
        Rows by T, then variance, then strategy, each in the order asked for.

    Raises:
        FileNotFoundError, ValueError: the plans are missing, damaged or for another problem.
        ValueError, FloatingPointError: as ``begin`` and ``finish_cells``.
    """

    def place(row: SyntheticRow) -> tuple[int, int]:
        return config.num_steps.index(row.num_steps), config.variances.index(row.variance)

    given, fingerprints = {}, {}
    if config.plan is not None:
        problem = make_problem(cosine_schedule(config.num_steps[0]), np.array(config.variances))
        given = read_plan_set(config.plan, problem.operators.shape).plans
        fingerprints["plan"] = sha256(config.plan)
    device = open_synthetic_run(config, "simulate_students", list(config.num_steps), fingerprints)
    rows = []
    asked = [(steps, name) for steps in config.num_steps for name in given or config.strategies]
    with tqdm(asked, unit="cell") as bar:
        for num_steps, strategy in bar:
            bar.set_description(f"T = {num_steps}, {strategy}")
            plans = given.get(strategy)
            cells = load_or_compute_cells(config, num_steps, strategy, config.epochs, device, plans)
            for i, variance in enumerate(config.variances):
                errors = cells.errors[:, i]
                rows.append(
                    SyntheticRow(
                        num_steps=num_steps,
                        variance=variance,
                        strategy=strategy,
                        engine=config.engine,
                        mean=float(np.mean(errors)),
                        std=float(np.std(errors, ddof=1)),
                        trials=config.trials,
                        predicted=float(cells.predicted[i]),
                    )
                )
    return sorted(rows, key=place)
