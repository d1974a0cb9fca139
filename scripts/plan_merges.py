"""Plan the merges of every strategy, and say what each plan is worth in closed form.

Example:
    python -m scripts.plan_merges --variances 0.5 1.08 --num-steps 32 --train-time 6.4 --out runs/p
"""

from distill.plan_job import PlanConfig, make_plans
from report.plans import conclude_plans
from scripts.cli import main


def run(config: PlanConfig) -> None:
    """Plan, and tell the strategies from best to worst."""
    conclude_plans(config.out, make_plans(config, print))


if __name__ == "__main__":
    main(PlanConfig, run, __doc__)
