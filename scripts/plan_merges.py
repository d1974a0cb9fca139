"""Plan the merges of every strategy, and say what each plan is worth in closed form.

Example:
    python -m scripts.plan_merges --variances 0.5 1.08 --num-steps 32 --train-time 6.4 --out runs/p
"""

from distill.plan_job import PlanConfig, make_plans
from scripts.cli import main


def run(config: PlanConfig) -> None:
    """Plan, write, and print the strategies from best to worst."""
    plan_set = make_plans(config, print)
    if plan_set.lower_bound is not None:
        print(f"lower bound of W2**2: {plan_set.lower_bound:.6e}")
    for name, found in sorted(plan_set.strategies.items(), key=lambda item: item[1].w2_squared):
        proof = "  optimal" if found.optimal else ""
        print(f"{name:24}{found.w2_squared:.6e}{proof}")
    print(f"plans: {config.out / 'plans.json'}")


if __name__ == "__main__":
    main(PlanConfig, run, __doc__)
