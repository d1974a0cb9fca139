"""The command simulate_students: the paper's tables, every T, variance and strategy over trials."""

from dataclasses import dataclass, field

import numpy as np

from distill.config import RECORDED_SYNTHETIC_ENGINE, SimulateConfig, SyntheticEngine
from distill.synthetic import load_or_compute_cells, open_synthetic_run, problem_of
from experiment.progress import tqdm
from experiment.track import open_tracker
from experiment.write import sha256
from planner.plan_file import read_plans_for


@dataclass(frozen=True)
class SyntheticRow:
    """One entry of the table: the signed error a - S at one T, variance and strategy."""

    num_steps: int
    variance: float
    strategy: str
    engine: SyntheticEngine = field(metadata=RECORDED_SYNTHETIC_ENGINE)
    mean: float
    """Mean over trials."""
    std: float
    """Standard deviation over trials, with trials - 1 in the denominator."""
    trials: int
    predicted: float
    """Closed form with the expected shrinkage."""

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return self.std / self.trials**0.5


def simulate_students(config: SimulateConfig) -> list[SyntheticRow]:
    """Compute all cells, except those that an earlier run of this command finished.

    Returns:
        Rows by T, then variance, then strategy, each in the order of the flags.

    Raises:
        FileNotFoundError, ValueError: the plans are missing, damaged or for another problem; the
            learning rate is unstable; or the run folder is another run's, or damaged.
        FloatingPointError: a student diverged.
    """

    def place(row: SyntheticRow) -> tuple[int, int]:
        return config.num_steps.index(row.num_steps), config.variances.index(row.variance)

    given, fingerprints = None, {}
    if config.plan is not None:
        given = read_plans_for(config.plan, problem_of(config, config.num_steps[0])).plans
        fingerprints["plan"] = sha256(config.plan)
    if config.compare is not None:
        fingerprints["compare"] = sha256(config.compare)
    device = open_synthetic_run(config, "simulate_students", config.num_steps, fingerprints)
    rows = []
    asked = [(steps, name) for steps in config.num_steps for name in given or config.strategies]
    with (
        # Cells that an earlier run finished are shown again, so nothing that it showed stays.
        open_tracker(config.track, config.out, config, 0, "num_steps") as show,
        tqdm(asked, unit="cell") as bar,
    ):
        for num_steps, strategy in bar:
            bar.set_description(f"T = {num_steps}, {strategy}")
            cells = load_or_compute_cells(
                config, num_steps, strategy, config.steps_per_merge, device, given
            )
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
                show({f"{strategy}/error_of_{variance:g}": rows[-1].mean}, num_steps, None)
    return sorted(rows, key=place)
