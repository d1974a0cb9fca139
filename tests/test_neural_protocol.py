"""The protocol of the confirming runs, and how its expectations are judged."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.neural_students import PROTOCOL, make_config, verdict
from experiment.read import read_json
from neural.distill_neural import NeuralRow
from neural.ranking import NO_RANKING
from planner.strategies import CANONICAL

THRESHOLDS = {"boot_regret": 1.05, "law_hits": 0.70}


def test_every_case_of_the_protocol_is_a_comparison_that_can_run():
    protocol = read_json(PROTOCOL)
    assert protocol["no_ranking_below"] == NO_RANKING
    for name, flags in protocol["cases"].items():
        latents = {"latents": Path("latents")} if name == "latents" else {}
        config = make_config(Path("out"), protocol["flags_of_all"] | flags | latents)
        assert config.lr is not None, f"{name} leaves its learning rate to a default"
        assert config.optimizer == name.partition("_")[0] or name == "latents"
        assert config.seed != 0  # trials were run with seed 0


def rows(budget, errors, predicted=None, steps=30):
    predicted = predicted or errors
    zero = dict.fromkeys(("linear", "nonlinear", "sliced_w2", "seconds"), 0.0)
    zero |= dict.fromkeys(("updates", "merges", "gradient_steps", "forwards"), 1)
    zero |= {"std_teachers": 0.0, "std_seeds": 0.0, "diverged": ""}
    return [
        NeuralRow(name, "", 1, budget, steps, error=one, predicted=other, **zero)
        for name, one, other in zip(CANONICAL, errors, predicted, strict=True)
    ]


# Vanilla, progressive, consistency, BOOT.
BOOT_LEADS, VANILLA_LEADS = (4.0, 3.0, 5.0, 1.0), (1.0, 3.0, 5.0, 4.0)


def verdict_of(found, cells):
    line = next(line for line in verdict(found, THRESHOLDS).splitlines() if f"| {cells}" in line)
    return line.split("|")[-2].strip()


def test_expectations_hold_where_the_expected_strategy_leads_in_every_cell():
    found = {"adam_ring": rows("per_merge", BOOT_LEADS) + rows("total", VANILLA_LEADS)}
    assert verdict_of(found, "all, equal in total") == "holds"
    assert verdict_of(found, "Adam, equal per merge") == "holds"
    assert verdict_of(found, "SGD, equal per merge") == "–"


@pytest.mark.parametrize(("budget", "cells"), [("per_merge", "Adam, equal"), ("total", "all,")])
def test_one_cell_that_another_strategy_leads_refutes(budget, cells):
    other = VANILLA_LEADS if budget == "per_merge" else BOOT_LEADS
    good = BOOT_LEADS if budget == "per_merge" else VANILLA_LEADS
    found = {"adam_ring": rows(budget, good) + rows(budget, other, steps=100)}
    assert verdict_of(found, cells) == "refuted"


def test_a_law_is_judged_by_the_winners_it_names():
    right, wrong = rows("per_merge", BOOT_LEADS), rows("per_merge", BOOT_LEADS, VANILLA_LEADS, 100)
    tied = rows("per_merge", (1.0, 1.05, 5.0, 6.0), VANILLA_LEADS, 300)  # no winner: not counted
    assert verdict_of({"sgd_ring": right + tied}, "SGD") == "holds"
    assert verdict_of({"sgd_ring": right + wrong + tied}, "SGD") == "refuted"
    assert verdict_of({"sgd_ring": tied}, "SGD") == "undecided"


def test_the_planned_plan_is_no_rival_in_the_verdict_and_has_a_line_of_its_own():
    planned = replace(rows("total", VANILLA_LEADS)[0], strategy="planned", error=0.25)
    found = {"sgd_ring": [*rows("total", VANILLA_LEADS), planned]}
    assert verdict_of(found, "all, equal in total") == "holds"
    assert "| equal in total | 1 | 0.25 | 0.25 | 0.25 |" in verdict(found, THRESHOLDS)
