"""Plan the merges of every strategy, and say what each plan is worth in closed form.

Example:
    python -m scripts.plan_merges --variances 0.5 1.08 --num-steps 32 --train-time 6.4 --out runs/p
"""

from distill.plan_merges import PlanConfig, plan_merges
from report.plans import report_plans
from scripts.cli import main


def run(config: PlanConfig) -> None:
    """Plan, and tell the strategies from best to worst."""
    report_plans(config.out, plan_merges(config, print))


if __name__ == "__main__":
    main(PlanConfig, run, __doc__)
