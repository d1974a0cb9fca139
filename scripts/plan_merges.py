"""Plan the merges of every strategy and compute the error of each plan in closed form.

Examples:
    mergelab plan_merges --variances 0.5 1.08 --num-steps 32 --train-time 6.4 --out runs/plan
    mergelab plan_merges --variances 0.5 1.08 --student-steps 1 2 4 --out runs/few_steps
"""

from distill.config import PlanConfig
from scripts.cli import main


def run(config: PlanConfig) -> None:
    """Plan, then report the strategies from best to worst."""
    from distill.plan_merges import plan_merges
    from report.plans import report_plans

    report_plans(config.out, plan_merges(config, print))


if __name__ == "__main__":
    main(PlanConfig, run, __doc__)
