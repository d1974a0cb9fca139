"""The confirming runs of neural students: every case of neural_protocol.json, and a verdict.

Learning rates, budgets, laws and the criterion of a ranking are fixed in that file. No trial used
the seeds of that file. The same command resumes where it stopped.

Example:
    python -m benchmarks.neural_students --latents runs/latents --out runs/neural
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from statistics import median

from experiment.flags import refuse_repeats
from experiment.read import field, number, read_json, reading
from experiment.write import write_text
from neural.config import NeuralConfig
from neural.distill_neural import PLANNED, NeuralRow, distill_neural, stages_of
from neural.ranking import CONSTANT_GUESS, NO_RANKING, finite, named_by, regret, tally
from neural.student_plans import ComputeBudget
from planner.strategies import CANONICAL
from report.markdown import markdown_table
from report.neural import report_neural
from report.neural_figures import BUDGET_NAMES
from scripts.cli import main

PROTOCOL = Path(__file__).with_name("neural_protocol.json")


@dataclass(frozen=True)
class ProtocolConfig:
    """Run the cases of the protocol and say which expectations hold."""

    out: Path
    """Folder for a run folder per case, and for verdict.md."""
    cases: tuple[str, ...] | None = None
    """Cases to run; without it, all. The verdict is on those that are run."""
    latents: Path | None = None
    """Folder of encode_latents; without it, the case on latents is left out."""
    protocol: Path = PROTOCOL
    """JSON file with the cases."""

    def __post_init__(self) -> None:
        if self.cases is not None:
            refuse_repeats(self, "cases")


Cells = list[tuple[str, dict[str, NeuralRow]]]
"""(name of the cell, strategy -> its row)."""


def run(config: ProtocolConfig) -> None:
    """Run the cases one after another, then judge."""
    with reading(config.protocol, "a protocol", "give the one beside this script"):
        protocol = read_json(config.protocol)
        if number(protocol, "no_ranking_below") != NO_RANKING:
            raise ValueError(f"no_ranking_below must be {NO_RANKING}, that of neural/ranking.py")
        cases, of_all = field(protocol, "cases", dict), field(protocol, "flags_of_all", dict)
        thresholds = field(protocol, "thresholds", dict)
    unknown = set(config.cases or ()) - set(cases)
    if unknown:
        raise ValueError(f"--cases {' '.join(sorted(unknown))}: known are {' '.join(cases)}")
    found: dict[str, list[NeuralRow]] = {}
    for name in config.cases or cases:
        flags = of_all | cases[name]
        if flags.get("distribution") == "latents":
            if config.latents is None:
                print(f"{name} is left out: give --latents")
                continue
            flags["latents"] = config.latents
        print(f"\ncase {name}")
        comparison = distill_neural(make_config(config.out / name, flags))
        report_neural(config.out / name, comparison)
        found[name] = comparison.rows
    text = verdict(found, thresholds)
    write_text(config.out / "verdict.md", text + "\n")
    print(f"\n{text}\n\n{config.out / 'verdict.md'}")


def make_config(out: Path, flags: Mapping[str, object]) -> NeuralConfig:
    """The comparison of one case; lists of the JSON file become tuples."""
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in flags.items()}
    return NeuralConfig(out=out, **values)  # type: ignore[arg-type]


def verdict(found: Mapping[str, Sequence[NeuralRow]], thresholds: Mapping[str, float]) -> str:
    """Which expectations hold for one-step students, as a Markdown table."""

    def cells(budget: ComputeBudget, chosen: Callable[[str], bool]) -> Cells:
        return [
            (f"{name}, {steps}", {one: by_strategy[one] for one in CANONICAL})
            for name, rows in found.items()
            if chosen(name) and not name.endswith("_shared")
            for (number, of, steps), by_strategy in stages_of(rows).items()
            if number == 1 and of == budget
        ]

    def is_adam(name: str) -> bool:
        return name.startswith("adam")

    def is_sgd(name: str) -> bool:
        return name.startswith("sgd")

    lines = [
        _guess("all, equal in total", cells("total", lambda name: True), "vanilla", NO_RANKING),
        _guess(
            "Adam, equal per merge",
            cells("per_merge", is_adam),
            "sequential_boot",
            thresholds["boot_regret"],
        ),
        _guess(
            "latents, equal per merge",
            cells("per_merge", lambda name: name == "latents"),
            "sequential_boot",
            thresholds["boot_regret"],
        ),
        _law("SGD, equal per merge", cells("per_merge", is_sgd), thresholds["law_hits"]),
    ]
    header = ["cells", "expected", "found", "verdict"]
    compared = [
        _compared(f"{kind}, {budget.replace('_', ' ')}", cells(budget, chosen), budget)
        for kind, chosen in (("Adam", is_adam), ("SGD", is_sgd))
        for budget in CONSTANT_GUESS
    ]
    columns = ["", "cells", "with a winner", "law: hits, largest regret", "constant guess"]
    return (
        markdown_table(header, lines)
        + "\n\nThe law against a constant guess that needs no theory, where there is a law:\n\n"
        + markdown_table(columns, compared)
        + "\n\nThe plan that theory finds for a cell, where no canonical strategy has it. Its "
        "error over the least of the canonical ones:\n\n" + _planned(found)
    )


def _planned(found: Mapping[str, Sequence[NeuralRow]]) -> str:
    ratios: dict[str, list[float]] = {}
    for rows in found.values():
        for (_, budget, _), by_strategy in stages_of(rows).items():
            own = by_strategy.get(PLANNED)
            if own is not None and not own.same_as:
                least = min(by_strategy[name].error for name in CANONICAL)
                ratios.setdefault(BUDGET_NAMES[budget], []).append(own.error / least)
    lines = [
        [name, str(len(of)), *(f"{x:.2f}" for x in (min(of), median(of), max(of)))]
        for name, of in ratios.items()
    ]
    return markdown_table(["budget", "cells", "least", "median", "largest"], lines)


def _guess(name: str, cells: Cells, strategy: str, most: float) -> list[str]:
    expected = f"{strategy}, regret at most {most:g}"
    if not cells:
        return [name, expected, "not run", "–"]
    regrets = [regret(_errors(rows), [strategy]) for _, rows in cells]
    worst = max(regrets)
    at = cells[regrets.index(worst)][0]
    kept = sum(one <= most for one in regrets)
    said = f"{kept} of {len(cells)} cells; largest {worst:.2f} ({at})"
    return [name, expected, said, "holds" if worst <= most else "refuted"]


def _law(name: str, cells: Cells, least: float) -> list[str]:
    expected = f"law names the winner in {least:.0%}"
    measured, named = _with_law(cells)
    if not measured:
        return [name, expected, "not run", "–"]
    found = tally(measured, named)
    said = f"{found.hits} of {found.winners} winners, {found.cells} cells"
    if not found.winners:
        return [name, expected, said, "undecided"]
    held = found.hits >= least * found.winners
    return [name, expected, said, "holds" if held else "refuted"]


def _compared(name: str, cells: Cells, budget: ComputeBudget) -> list[str]:
    measured, named = _with_law(cells)
    if not measured:
        return [name, "0", "–", "–", "–"]
    law = tally(measured, named)
    guess = tally(measured, [[CONSTANT_GUESS[budget]]] * len(measured))
    scores = [f"{one.hits}, {one.max_regret:.2f}" for one in (law, guess)]
    return [name, str(law.cells), str(law.winners), *scores]


def _with_law(cells: Cells) -> tuple[list[dict[str, float]], list[list[str]]]:
    """Measured errors of the cells with a law, and the strategies that it puts first."""
    measured, named = [], []
    for _, rows in cells:
        predicted = {name: row.predicted for name, row in rows.items()}
        if not any(map(isnan, predicted.values())):
            measured.append(_errors(rows))
            named.append(named_by(predicted))
    return measured, named


def _errors(rows: Mapping[str, NeuralRow]) -> dict[str, float]:
    """Strategy -> error, infinite where it diverged."""
    errors = {name: row.error for name, row in rows.items()}
    if not finite(errors):
        raise FloatingPointError("every strategy of a cell diverged; the protocol's lr is too high")
    return errors


if __name__ == "__main__":
    main(ProtocolConfig, run, __doc__)
