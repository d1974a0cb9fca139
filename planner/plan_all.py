"""Plans of every strategy for one problem: canonical, joint, and one per coordinate."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from planner.budget import Budget
from planner.denoiser import best_chains, is_boot_optimal, is_vanilla_optimal_in_total, joint_chain
from planner.effort import ALL_SOLVERS, MOST_SECONDS, Effort, refuse_solver
from planner.joint import joint_blocks
from planner.per_dimension import per_dimension_plans, settled_by_theory, table_bytes
from planner.plan import Plans, distinct
from planner.plan_few_steps import plan_few_steps
from planner.plan_set import PER_DIMENSION, PlanSet, StrategyPlans, plan_set_of, valued_by
from planner.plan_split import plan_best_split
from planner.problem import DenoiserProblem, Problem
from planner.strategies import CANONICAL
from planner.total_bounds import bounded_plans, proven_text, takes_bounds
from planner.total_bounds import expected_seconds as bounds_seconds
from planner.total_budget import MOST_STEPS, plans_under_total
from planner.watch import Watch

Array = NDArray[np.float64]


def plan_every_strategy(
    problem: Problem,
    budget: Budget,
    full_search: bool = False,
    log: Callable[[str], object] = lambda line: None,
    student_steps: int = 1,
    effort: Effort = ALL_SOLVERS,
    known: PlanSet | None = None,
    save: Callable[[PlanSet], object] = lambda plan_set: None,
) -> PlanSet:
    """Canonical, joint and per-dimension plans, with the operators that their students end with.

    Under a total budget the plan of each coordinate is exact up to ``MOST_STEPS`` steps. Beyond, it
    is exact where ``planner.total_bounds`` settles it, and a lower bound says how good the others
    are; where that would take too long, operators have canonical strategies only. For operators the
    joint solvers are heuristics under a total budget: they plan for one number of merges after
    another. For denoisers every strategy but the canonical ones is then vanilla, which is optimal
    (``planner.denoiser``). This is for students of one step; ``planner.plan_few_steps`` says what
    is exact for more, and ``planner.plan_split`` what is exact where every plan has its best split.

    The slow solvers come last.

    Args:
        full_search: Search coordinates even where theory knows the answer.
        log: Called with one line per decision: how the coordinates are planned, and which solvers
            are left out and why.
        student_steps: K, the steps of the student, which share the teacher's steps equally.
        effort: Which joint solvers run, and for how long.
        known: Plans for this problem from before. Those of solvers that finished are kept.
        save: Called with all plans so far after every solver.

    Raises:
        ValueError: ``student_steps`` is not in 1..T, or the budget is best_split for other students
            than those of one step that train by gradient flow.
    """
    plan_share = partial(plan_one_step, full_search=full_search)
    if budget.kind == "best_split":
        if student_steps > 1:
            raise ValueError(f"the best split is known for K = 1 only, not for K = {student_steps}")
        equal = replace(budget, kind="total")

        def plan_equal(effort: Effort) -> PlanSet:
            def tell(line: str) -> None:
                log(f"with equal shares: {line}")

            return plan_share(problem, equal, log=tell, effort=effort, known=None, save=_keep_none)

        return plan_best_split(problem, budget, plan_equal, log, effort, known, save)
    if student_steps == 1:
        return plan_share(problem, budget, log=log, effort=effort, known=known, save=save)
    return plan_few_steps(problem, budget, student_steps, plan_share, log, effort, known, save)


def _keep_none(plan_set: PlanSet) -> None:
    """Keeps no plans: those for equal shares are a step on the way."""


def plan_one_step(
    problem: Problem,
    budget: Budget,
    full_search: bool,
    log: Callable[[str], object],
    effort: Effort,
    known: PlanSet | None,
    save: Callable[[PlanSet], object],
) -> PlanSet:
    """The plans of every strategy for a student of one step; see ``plan_every_strategy``."""
    num_steps, width = problem.operators.shape
    target = problem.target
    valued = valued_by(problem, budget)
    found = dict(known.strategies) if known else {}
    bound = known.lower_bound if known else None

    def so_far() -> PlanSet:
        exact = found.get("pareto")
        return plan_set_of(problem, budget, found, bound, exact.w2_squared if exact else bound)

    canonical = {name: valued((make(num_steps),) * width) for name, make in CANONICAL.items()}
    found |= canonical
    save(so_far())
    if reason := _unknown(problem, budget):
        log(f"canonical strategies only, no lower bound: {reason}")
        return so_far()
    if PER_DIMENSION not in found:
        own, limits = _own_plans(problem, budget, full_search, log)
        best = found[PER_DIMENSION] = valued(own)
        bound = best.w2_squared
        if limits is not None:
            bound = min(bound, float(problem.distance(limits, target)))
            log(proven_text(best.operator, limits, best.w2_squared - bound))
        save(so_far())
    for solver in effort.solvers:
        if solver in found and found[solver].finished:
            continue
        planned = _joint_plan(solver, problem, budget, valued, found, effort, log)
        if planned is not None and not planned.finished:
            log(
                f"{solver} was stopped by its time limit; its best plan so far has W2² "
                f"{planned.w2_squared:.6e}, and no joint plan has less than {bound:.6e}"
            )
        if planned is not None:
            found[solver] = planned
            save(so_far())
    return so_far()


def _unknown(problem: Problem, budget: Budget) -> str:
    """Why no exact plan is known under a total budget, or "" where one is."""
    if budget.kind == "per_merge":
        return ""
    trained = problem.trained(budget.train_time, budget.decay)
    if isinstance(trained, DenoiserProblem):
        if is_vanilla_optimal_in_total(trained):
            return ""
        return "at this learning rate a longer jump trains less than a shorter one"
    if problem.num_steps <= MOST_STEPS:
        return ""
    seconds = bounds_seconds(problem.num_steps, len(problem.variances))
    if seconds <= MOST_SECONDS:
        return ""
    return (
        f"plans for a total budget would take about {seconds:.0f} s for {problem.num_steps} steps "
        f"and {len(problem.variances)} coordinates, more than {MOST_SECONDS:.0f} s"
    )


def _joint_plan(
    solver: str,
    problem: Problem,
    budget: Budget,
    valued: Callable[[Plans], StrategyPlans],
    found: dict[str, StrategyPlans],
    effort: Effort,
    log: Callable[[str], object],
) -> StrategyPlans | None:
    """One plan for all coordinates, or None if the solver is left out or found none in its time.

    Args:
        found: The plans so far, per-dimension plans among them.
    """
    num_steps, width = problem.operators.shape
    own = found[PER_DIMENSION]
    watch = Watch(solver, effort.time_limit)
    rivals = []
    try:
        if width == 1 or (
            problem.parametrisation.kind == "denoiser" and len(distinct(own.plans)) == 1
        ):
            rivals = [own]  # every solver would find the optimal plan again
        else:
            refuse_solver(solver, problem, budget, effort)
            for count in budget.merge_counts(num_steps):
                trained = problem.trained(budget.time_of_one(count), budget.decay)
                if isinstance(trained, DenoiserProblem):
                    plan = joint_chain(trained, solver, watch=watch)
                else:
                    (plan,) = joint_blocks(trained, solver, watch=watch)
                rivals.append(valued((plan,) * width))
    except (ValueError, TimeoutError) as error:
        if not rivals:
            log(f"{solver} is left out: {error}")
            return None
    best = min(rivals, key=attrgetter("w2_squared"))
    if budget.kind == "total" and solver == "beam":
        # The beam planned for a few numbers of merges only. Another strategy may be better.
        others = [found[name] for name in (*CANONICAL, "greedy") if name in found]
        own_plans = [valued((plan,) * width) for plan in distinct(own.plans)]
        best = min([*others, best, *own_plans], key=attrgetter("w2_squared"))
    return replace(best, finished=not watch.stopped)


def _own_plans(
    problem: Problem,
    budget: Budget,
    full_search: bool,
    log: Callable[[str], object],
) -> tuple[Plans, Array | None]:
    """The best plan of every coordinate by itself, d of them, and the operators none passes, (d,).

    The plans are optimal where there are no such operators.
    """
    trained = problem.trained(budget.train_time, budget.decay)
    if isinstance(trained, DenoiserProblem):
        return _own_chains(trained, budget, full_search, log), None
    if budget.kind == "total":
        moments = problem.second_moments
        rates = moments if budget.decay is None else budget.decay(moments)
        if takes_bounds(problem.num_steps, len(problem.variances)):
            return bounded_plans(problem, rates, budget.train_time)
        own = plans_under_total(problem.operators, rates, problem.direction, budget.train_time)
        return own, None
    settled = settled_by_theory(trained)
    boot, vanilla = (int((settled == name).sum()) for name in ("sequential_boot", "vanilla"))
    searched = len(settled) if full_search else len(settled) - boot - vanilla
    if not full_search:
        log(f"theory settles {boot} coordinates (BOOT) and {vanilla} (vanilla) in O(T)")
    if searched:
        size = table_bytes(problem.num_steps, searched) / 1e6
        log(f"{searched} coordinates are searched in full, with {size:.3g} MB of tables")
    return per_dimension_plans(trained, full_search=full_search), None


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
