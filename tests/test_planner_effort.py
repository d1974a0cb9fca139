import itertools

import numpy as np
import pytest

from diffusion.schedule import cosine_schedule
from planner.budget import Budget
from planner.effort import MOST_BYTES, Effort, expected_seconds, refuse_solver
from planner.greedy import greedy_bytes
from planner.joint import SOLVERS
from planner.parametrisation import OPERATOR, Parametrisation
from planner.plan_all import plan_every_strategy
from planner.plan_file import from_json, to_json
from planner.problem import make_problem
from planner.strategies import CANONICAL
from planner.watch import Watch

VARIANCES = np.array([0.9, 1.02, 1.3])


def posed(num_steps, width=3, parametrisation=OPERATOR):
    return make_problem(cosine_schedule(num_steps), np.linspace(0.5, 1.5, width), parametrisation)


@pytest.mark.parametrize("parametrisation", [OPERATOR, Parametrisation("denoiser", "z")])
def test_more_work_is_expected_to_take_longer(parametrisation):
    budget = Budget(1.0)
    for solver in SOLVERS:
        by_steps = [
            expected_seconds(solver, posed(t, 2, parametrisation), budget) for t in (8, 64, 512)
        ]
        assert by_steps == sorted(by_steps)
    wide = posed(64, 128, parametrisation)
    greedy, beam = (expected_seconds(solver, wide, budget) for solver in ("greedy", "beam"))
    assert greedy < beam < expected_seconds("beam", wide, Budget(1.0, "total"))


def test_a_slow_solver_is_left_out_with_its_seconds_unless_a_limit_is_given():
    problem, budget = posed(512), Budget(1.0)
    refuse_solver("greedy", problem, budget, Effort())
    with pytest.raises(ValueError, match=r"about \d{3} s, more than 60 s; a time limit"):
        refuse_solver("beam", problem, budget, Effort())
    refuse_solver("beam", problem, budget, Effort(time_limit=1.0))


def test_a_solver_that_would_fill_the_memory_is_left_out_with_its_size():
    problem = posed(160, 2**15)
    assert greedy_bytes(160, 2**15) > MOST_BYTES
    with pytest.raises(ValueError, match=r"6\.7 GB of memory, more than 4\.3 GB; plan fewer"):
        refuse_solver("greedy", problem, Budget(1.0), Effort(time_limit=1.0))


def test_only_the_solvers_asked_for_run():
    for solvers in itertools.chain([()], itertools.combinations(SOLVERS, 2)):
        found = plan_every_strategy(
            make_problem(cosine_schedule(6), VARIANCES), Budget(0.8), effort=Effort(solvers)
        )
        assert list(found.strategies) == [*CANONICAL, *solvers, "per_dimension"]
        assert found.lower_bound is not None


@pytest.mark.parametrize("student_steps", [1, 2])
def test_cheap_plans_are_saved_first_and_what_is_known_is_kept(student_steps):
    problem, saved, lines = make_problem(cosine_schedule(8), VARIANCES), [], []
    whole = plan_every_strategy(
        problem, Budget(0.8), student_steps=student_steps, save=saved.append
    )
    slow = ["per_dimension", *SOLVERS]
    assert [set(each.strategies) - set(CANONICAL) for each in saved] == [
        set(slow[:count]) for count in range(5)
    ]
    assert to_json(saved[-1]) == to_json(whole)
    for each in saved:
        known = from_json(to_json(each))
        again = []
        found = plan_every_strategy(
            problem,
            Budget(0.8),
            student_steps=student_steps,
            known=known,
            save=again.append,
            log=lines.append,
        )
        assert to_json(found) == to_json(whole)
        assert len(again) == 1 + len(slow) + len(CANONICAL) - len(each.strategies)


class CountingWatch(Watch):
    """A clock that runs by the number of questions, so that every stop can be tried."""

    questions = 0

    def time_is_up(self):
        self.questions -= 1
        self.stopped = self.stopped or self.questions < 0
        return self.stopped


def test_a_beam_that_is_stopped_gives_its_best_plan_with_the_lower_bound(monkeypatch):
    problem = make_problem(cosine_schedule(14), VARIANCES)
    greedy = plan_every_strategy(problem, Budget(0.8), effort=Effort(("greedy",)))
    whole = plan_every_strategy(problem, Budget(0.8), effort=Effort(("beam",)))
    with monkeypatch.context() as patch:
        patch.setattr("planner.plan_all.Watch", CountingWatch)
        stopped = []
        for count in range(2, 30, 3):
            patch.setattr(CountingWatch, "questions", count)
            lines = []
            found = plan_every_strategy(
                problem, Budget(0.8), effort=Effort(("beam",)), known=greedy, log=lines.append
            )
            beam = found.strategies["beam"]
            if beam.finished:
                continue
            stopped.append(found)
            assert found.lower_bound <= beam.w2_squared <= found.strategies["greedy"].w2_squared
            (line,) = lines
            assert line.startswith("beam was stopped by its time limit; its best plan so far has")
            assert f"W2² {beam.w2_squared:.6e}" in line
            assert f"no joint plan has less than {found.lower_bound:.6e}" in line
            assert from_json(to_json(found)).strategies["beam"].finished is False
    assert len(stopped) > 3
    # The same again without a limit replaces the plan of the stopped solver.
    later = plan_every_strategy(problem, Budget(0.8), effort=Effort(("beam",)), known=stopped[0])
    assert later.strategies["beam"].finished
    assert later.strategies["beam"].w2_squared == whole.strategies["beam"].w2_squared


def test_a_solver_without_a_plan_in_its_time_is_left_out_with_one_line():
    for student_steps in (1, 2):
        lines = []
        found = plan_every_strategy(
            make_problem(cosine_schedule(12), VARIANCES),
            Budget(0.8),
            effort=Effort(time_limit=1e-9),
            student_steps=student_steps,
            log=lines.append,
        )
        assert list(found.strategies) == [*CANONICAL, "per_dimension"]
        for solver in SOLVERS:
            assert any(
                f"{solver} is left out: {solver} found no plan within its time limit" in line
                for line in lines
            )
