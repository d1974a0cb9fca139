"""Plans of every strategy for one problem: canonical, joint, and one per coordinate."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from planner.beam import WIDTH
from planner.budget import Budget, operator_under
from planner.denoiser import best_chains, is_boot_optimal, is_vanilla_optimal_in_total, joint_chain
from planner.joint import SOLVERS, joint_blocks, meets
from planner.per_dimension import per_dimension_plans, settled_by_theory, table_bytes
from planner.plan import Plans, distinct
from planner.plan_few_steps import plan_few_steps
from planner.plan_set import PER_DIMENSION, PlanSet, StrategyPlans
from planner.problem import Decay, DenoiserProblem, Problem
from planner.strategies import CANONICAL
from planner.total_budget import MOST_STEPS, plans_under_total
from planner.value import w2_squared

MOST_NUMBERS = 2e10
"""Candidates of a solver times d, above which it is left out; it would take some ten minutes."""
MOST_PARETO_WIDTH = 6
"""Coordinates above which the exact joint solver is left out: hardly a candidate is dominated."""


def plan_every_strategy(
    problem: Problem,
    budget: Budget,
    decay: Decay | None = None,
    full_search: bool = False,
    log: Callable[[str], object] = lambda line: None,
    student_steps: int = 1,
) -> PlanSet:
    """Canonical, joint and per-dimension plans, with the operators that their students end with.

    Under a total budget the plan of each coordinate is exact. For operators the joint solvers are
    then heuristics: they plan for one number of merges after another. Beyond ``MOST_STEPS`` steps
    operators have canonical strategies only, and nothing is proven optimal. For denoisers every
    strategy but the canonical ones is then vanilla, which is optimal (``planner.denoiser``). This
    is for students of one step; ``planner.plan_few_steps`` says what is exact for more.

    Args:
        decay: n_b w -> the rate of decay. Without it, the rate is n_b w, that of gradient flow.
        full_search: Search coordinates even where theory knows the answer.
        log: Called with one line per decision: how the coordinates are planned, and which solvers
            are left out and why.
        student_steps: K, the steps of the student, which share the teacher's steps equally.

    Raises:
        ValueError: ``student_steps`` is not in 1..T.
    """
    plan_share = partial(_plan_one_step, decay=decay, full_search=full_search)
    if student_steps == 1:
        return plan_share(problem, budget, log=log, solvers=SOLVERS)
    return plan_few_steps(problem, budget, student_steps, plan_share, decay, log)


def _plan_one_step(
    problem: Problem,
    budget: Budget,
    decay: Decay | None,
    full_search: bool,
    log: Callable[[str], object],
    solvers: Sequence[str],
) -> PlanSet:
    """The plans of every strategy for a student of one step, with these joint solvers."""
    num_steps, width = problem.operators.shape
    target = problem.target

    def valued(plans: Plans) -> StrategyPlans:
        operator = operator_under(budget, plans, problem, decay)
        return StrategyPlans(plans, operator, float(w2_squared(operator, target)), optimal=False)

    found = {name: valued((make(num_steps),) * width) for name, make in CANONICAL.items()}
    bound = None
    if reason := _unknown(problem, budget, decay):
        log(f"canonical strategies only, no lower bound: {reason}")
    else:
        own = valued(_own_plans(problem, budget, decay, full_search, log))
        found |= _joint_plans(problem, budget, decay, valued, found, own, solvers, log)
        found[PER_DIMENSION] = own
        bound = own.w2_squared
    least = found["pareto"].w2_squared if "pareto" in found else bound

    def proven(plans: StrategyPlans) -> bool:
        return least is not None and meets(plans.w2_squared, least, target)

    return PlanSet(
        num_steps=num_steps,
        train_time=budget.train_time,
        budget=budget.kind,
        variances=problem.variances,
        target=target,
        lower_bound=bound,
        strategies={name: replace(each, optimal=proven(each)) for name, each in found.items()},
        parametrisation=problem.parametrisation,
    )


def _unknown(problem: Problem, budget: Budget, decay: Decay | None) -> str:
    """Why no exact plan is known under a total budget, or "" where one is."""
    if budget.kind == "per_merge":
        return ""
    trained = problem.trained(budget.train_time, decay)
    if isinstance(trained, DenoiserProblem):
        if is_vanilla_optimal_in_total(trained):
            return ""
        return "at this learning rate a longer jump trains less than a shorter one"
    if problem.num_steps <= MOST_STEPS:
        return ""
    return f"planning for a total budget takes at most {MOST_STEPS} steps, not {problem.num_steps}"


def _joint_plans(
    problem: Problem,
    budget: Budget,
    decay: Decay | None,
    valued: Callable[[Plans], StrategyPlans],
    canonical: dict[str, StrategyPlans],
    own: StrategyPlans,
    solvers: Sequence[str],
    log: Callable[[str], object],
) -> dict[str, StrategyPlans]:
    """Solver -> one plan for all coordinates; solvers that would take too long are left out."""
    num_steps, width = problem.operators.shape
    shared = problem.parametrisation.kind == "denoiser" and len(distinct(own.plans)) == 1
    found = {}
    for solver in solvers:
        if width == 1 or shared:  # every solver would find the optimal plan again
            found[solver] = own
            continue
        try:
            _refuse(solver, problem, budget)
            rivals = []
            for count in budget.merge_counts(num_steps):
                trained = problem.trained(budget.time_of_one(count), decay)
                if isinstance(trained, DenoiserProblem):
                    plan = joint_chain(trained, solver)
                else:
                    (plan,) = joint_blocks(trained, solver)
                rivals.append(valued((plan,) * width))
        except ValueError as error:
            log(f"{solver} is left out: {error}")
            continue
        found[solver] = min(rivals, key=_w2_squared)
    if budget.kind == "total" and "beam" in found:
        # The beam planned for a few numbers of merges only. Another strategy may be better.
        own_plans = (valued((plan,) * width) for plan in distinct(own.plans))
        rivals = [*canonical.values(), *found.values(), *own_plans]
        found["beam"] = min(rivals, key=_w2_squared)
    return found


def _w2_squared(plans: StrategyPlans) -> float:
    return plans.w2_squared


def _own_plans(
    problem: Problem,
    budget: Budget,
    decay: Decay | None,
    full_search: bool,
    log: Callable[[str], object],
) -> Plans:
    """The optimal plan of every coordinate by itself, d of them."""
    trained = problem.trained(budget.train_time, decay)
    if isinstance(trained, DenoiserProblem):
        return _own_chains(trained, budget, full_search, log)
    if budget.kind == "total":
        rates = problem.second_moments if decay is None else decay(problem.second_moments)
        return plans_under_total(problem.operators, rates, problem.direction, budget.train_time)
    settled = settled_by_theory(trained)
    boot, vanilla = (int((settled == name).sum()) for name in ("sequential_boot", "vanilla"))
    searched = len(settled) if full_search else len(settled) - boot - vanilla
    if not full_search:
        log(f"theory settles {boot} coordinates (BOOT) and {vanilla} (vanilla) in O(T)")
    if searched:
        size = table_bytes(problem.num_steps, searched) / 1e6
        log(f"{searched} coordinates are searched in full, with {size:.3g} MB of tables")
    return per_dimension_plans(trained, full_search=full_search)


def _own_chains(
    trained: DenoiserProblem, budget: Budget, full_search: bool, log: Callable[[str], object]
) -> Plans:
    """The optimal plan of every coordinate of a problem of denoisers."""
    num_steps, width = trained.problem.num_steps, len(trained.problem.variances)
    if budget.kind == "total":
        log(f"theory settles {width} coordinates: vanilla is optimal for a total budget")
        return (CANONICAL["vanilla"](num_steps),) * width
    if is_boot_optimal(trained) and not full_search:
        log(f"theory settles {width} coordinates: BOOT is optimal per merge")
        return (CANONICAL["sequential_boot"](num_steps),) * width
    log(f"{width} coordinates are searched, in O(T**2) each")
    return best_chains(trained)


def _refuse(solver: str, problem: Problem, budget: Budget) -> None:
    """Refuse a joint solver that cannot plan for the budget or would take some ten minutes.

    Raises:
        ValueError: with the reason.
    """
    num_steps, width = problem.operators.shape
    kept = WIDTH if solver == "beam" else 1
    if problem.parametrisation.kind == "operator":
        numbers = (num_steps**3 - num_steps) / 6 * kept**2 * width
    else:
        numbers = (num_steps**2 - num_steps) / 2 * kept * width
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"num_steps = {num_steps} and {width} coordinates are {numbers:.1e} numbers to "
            f"compare, more than {MOST_NUMBERS:.0e}"
        )
    if solver == "pareto" and budget.kind == "total":
        raise ValueError("its fronts do not count merges, which a total budget depends on")
    if solver == "pareto" and width > MOST_PARETO_WIDTH:
        raise ValueError(f"{width} coordinates are more than {MOST_PARETO_WIDTH}")
