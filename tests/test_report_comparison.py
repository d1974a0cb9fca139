"""What a comparison leaves behind, and its page in a real browser."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from distill.compare_strategies import compare_strategies
from distill.comparison import open_comparison
from distill.results import ResultRow, over_seeds, tabulate
from experiment.folder import RESULTS, only_writer
from experiment.write import write_rows
from planner.budget import Stage
from planner.regimes import plan_kinds
from planner.strategies import CANONICAL
from report.comparison import write_report
from report.config import DecodeConfig
from report.decode_grids import decode_grids
from report.markdown import Cell, Table
from report.page import Page, Picture, Section, write_page
from report.verdict import claim_sentences
from tests.chromium import needs_chromium, run_chromium
from tests.conftest import draw_image, make_model_run, small_comparison

# Whether pictures are drawn at all can only a script tell.
PROBE = """<script>addEventListener("load", () => {
  const all = [...document.images];
  document.title = `drawn ${all.filter(i => i.complete && i.naturalWidth > 1).length}`
    + ` of ${all.length}, overflow ${document.documentElement.scrollWidth - innerWidth}`
    + `, back ${getComputedStyle(document.body).backgroundColor}`;
});</script></body>"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, list, str]:
    """Run folder, rows and terminal text of a small comparison."""
    folder = tmp_path_factory.mktemp("comparison")
    config = small_comparison(
        folder / "run & <b>co</b>", make_model_run(folder), num_images=3, student_steps=(1, 2)
    )
    comparison = compare_strategies(config)
    rows = tabulate(comparison, config.num_images, config.seed)
    write_rows(config.out / RESULTS, rows, ResultRow)
    text, _ = write_report(config.out, comparison, rows, config.seed)
    return config.out, rows, text


class Tags(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_figures_summary_recommendation_and_page_say_what_was_measured(finished):
    out, rows, text = finished
    figures = {path.name for path in (out / "figures").iterdir()}
    stages = ("per_merge_2_steps", "per_merge_40_steps", "total_6_steps", "total_120_steps")
    assert {f"faces_{stage}.png" for stage in stages} < figures
    assert {f"faces_{stage}_K2.png" for stage in stages} < figures
    assert {"error_curves.png", "plan_arcs.png", "plan_kinds.png", "latents.png"} < figures
    assert {"error_curves_K2.png", "plan_arcs_K2_total.png", "student_steps.png"} < figures
    summary = (out / "summary.md").read_text()
    html = (out / "report.html").read_text()
    page = Tags(html)
    for row in rows:
        assert f"{row.w2_squared:.4e}" in summary
        assert f"{row.w2_squared:.4e}" in page.text
        assert f"{row.w2_squared:.3e}" in text
    for sentence in claim_sentences(over_seeds(rows), 4):
        assert sentence in summary
        assert sentence in page.text

    found = json.loads((out / "recommendation.json").read_text())
    assert found["sentence"] in summary
    assert found["sentence"] in page.text
    assert len(found["stages"]) == 8
    for stage in found["stages"]:
        here = [
            row.w2_squared_expected**0.5
            for row in rows
            if row.stage == (stage["budget"], stage["epochs"], stage["student_steps"])
        ]
        assert stage["expected_w2"] <= (1 + found["as_good_within"]) * min(here)

    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 16
    assert all(len(image["alt"]) > 40 for image in images)
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert len(scripts) == 4  # data and script of the plan view, and what sorts the tables
    assert not any("src" in attributes for attributes in scripts)
    assert all(attributes["src"].startswith("data:") for attributes in images)
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for link in (attributes["href"] for _, attributes in page.tags if "href" in attributes):
        assert (
            link.startswith(("data:", "https://arxiv.org/"))
            or (link[0] == "#" and link[1:] in places)
            or (out / unquote(link)).is_file()
        ), link
    assert "None" not in page.text
    assert len(html) < 10e6
    assert "b" not in {tag for tag, _ in page.tags}  # the folder's name is text


@needs_chromium
def test_the_page_renders_light_and_dark_without_a_console_error_and_prints(finished, tmp_path):
    page = finished[0] / "report.html"
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", PROBE))
    backs = []
    for scheme in ("0", "1"):  # Blink's numbers for dark and light
        result = run_chromium(
            tmp_path,
            f"--blink-settings=preferredColorScheme={scheme}",
            "--window-size=1200,900",
            "--dump-dom",
            probed.as_uri(),
        )
        title, *_ = re.findall("<title>(.*?)</title>", result.stdout)  # drawings have some too
        assert "drawn 16 of 16" in title
        assert int(re.search(r"overflow (-?\d+)", title)[1]) <= 0
        backs.append(re.search(r"back rgb\((\d+)", title)[1])
        assert "CONSOLE" not in result.stderr
    assert int(backs[0]) < 64 < 192 < int(backs[1])

    pdf = tmp_path / "report.pdf"
    run_chromium(tmp_path, f"--print-to-pdf={pdf}", page.as_uri())
    assert pdf.read_bytes()[:5] == b"%PDF-"
    assert len(re.findall(rb"/Type ?/Page\b", pdf.read_bytes())) >= 3


def test_all_text_is_escaped(tmp_path):
    draw_image(0).save(tmp_path / "a.png")
    evil = "<script>alert('&')</script>\""
    table = Table((evil, "n"), ((Cell(evil), Cell("1", is_best=True)),))
    page = Page(
        title=evil,
        subtitle=evil,
        recommendation=evil,
        verdict=None,
        claim=[evil],
        definitions=evil,
        overviews=[(evil, table)],
        changes_heading=evil,
        changes=[evil],
        notes=[evil],
        parts=[evil, table],
        sections=[Section(evil, [Picture(tmp_path / "a.png", evil, evil, folded=evil)])],
        details=[(evil, table)],
        files=[tmp_path / "a.png"],
        facts={evil: evil},
        command=evil,
    )
    write_page(tmp_path / "page.html", page)
    read = Tags((tmp_path / "page.html").read_text())
    assert [tag for tag, _ in read.tags].count("script") == 1  # our own
    assert read.text.count(evil) == 25
    assert [attributes["alt"] for tag, attributes in read.tags if tag == "img"] == [evil]


SORT = """<script>addEventListener("load", () => {
  const table = document.querySelector("main table");
  const column = n => [...table.tBodies[0].rows].map(row => row.cells[n].textContent);
  const press = n => table.tHead.rows[0].cells[n].querySelector("button").click();
  const found = [];
  for (const n of [1, 1, 0]) { press(n); found.push(column(n).join(" ")); }
  document.title = found.join("|");
});</script></body>"""


@needs_chromium
@pytest.mark.parametrize("place", ["details", "parts"])
def test_a_click_on_a_header_sorts_its_table_by_number_or_by_name(tmp_path, place):
    draw_image(0).save(tmp_path / "a.png")
    lines = [["b", "1e-3"], ["a", "1,000"], ["c", "–"], ["d", "2"]]
    page = Page(
        title="t",
        sections=[Section("s", [Picture(tmp_path / "a.png", "c")])],
        facts={},
        command="c",
    )
    table = Table.of(["name", "n"], lines)
    tables = {"details": [("d", table)], "parts": [table]}
    write_page(tmp_path / "page.html", replace(page, **{place: tables[place]}))
    sorting = tmp_path / "sorting.html"
    sorting.write_text((tmp_path / "page.html").read_text().replace("</body>", SORT))
    shown = run_chromium(tmp_path, "--dump-dom", sorting.as_uri()).stdout
    (title,) = re.findall("<title>(.*?)</title>", shown)
    assert title == "1e-3 2 1,000 –|1,000 2 1e-3 –|a b c d"


@needs_chromium
def test_a_figure_opens_over_the_whole_window(tmp_path):
    draw_image(0).save(tmp_path / "a_b.png")
    picture = Picture(tmp_path / "a_b.png", "c")
    page = Page(title="t", sections=[Section("s", [picture])], facts={}, command="c")
    write_page(tmp_path / "page.html", page)
    probe = """<script>addEventListener("load", () => {
      const box = document.querySelector("figure").getBoundingClientRect();
      const root = document.documentElement;
      document.title = box.width === root.clientWidth && box.height === root.clientHeight;
    });</script></body>"""
    probed = tmp_path / "probed.html"
    probed.write_text((tmp_path / "page.html").read_text().replace("</body>", probe))
    for place, opened in (("#large-a-b", "true"), ("#a-b", "false")):
        shown = run_chromium(tmp_path, "--dump-dom", probed.as_uri() + place).stdout
        assert f"<title>{opened}</title>" in shown


def test_lines_with_the_same_numbers_name_the_first(tmp_path):
    lines = [["a", "1", "2"], ["b", "1", "2"], ["c", "1", "3"], ["d", "1", "2"]]
    plain = Table.of(["name", "x", "y"], lines)
    assert [same for _, same in replace(plain, marks_equals=True).marked_lines] == [
        "",
        "a",
        "",
        "a",
    ]
    assert [same for _, same in plain.marked_lines] == [""] * 4


def test_a_coordinates_kind_is_the_strategy_it_is_worth_as_much_as(finished):
    """Theory: BOOT for all variances up to 1, whatever the training ([OM] Theorem 4.3)."""
    comparison = open_comparison(finished[0], None, "cpu")
    variances = comparison.problem.variances
    students = comparison.of_stage(Stage("per_merge", 2), 0)
    canonical = {name: students[name].predicted for name in CANONICAL}
    kinds = plan_kinds(canonical, students["per_dimension"].predicted)
    assert set(kinds[variances <= 1]) == {"sequential_boot"}
    assert "sequential_boot" not in set(kinds[variances > 1])


def test_grids_without_out_are_drawn_by_one_command_at_a_time(finished):
    config = DecodeConfig(run=finished[0], columns=2, device="cpu")
    held = finished[0] / "grids" / "seed0_first0_columns2"
    with only_writer(held), pytest.raises(ValueError, match="another run is at work in it"):
        decode_grids(config)
    assert not held.exists()
    decode_grids(config)
    assert (held / "results.csv").is_file()


def test_grids_show_the_students_of_the_asked_numbers_of_steps(finished, tmp_path):
    config = DecodeConfig(run=finished[0], columns=2, device="cpu", student_steps=(2,))
    decode_grids(replace(config, out=tmp_path / "two"))
    names = sorted(path.name for path in (tmp_path / "two" / "figures").iterdir())
    assert len(names) == 4
    assert all(name.endswith("_K2.png") for name in names)
    with pytest.raises(ValueError, match=r"--student-steps 3: .* has students of K = 1, 2; give"):
        decode_grids(replace(config, out=tmp_path / "three", student_steps=(3,)))


@pytest.mark.parametrize("flags", [{"num_steps": 1}, {"num_steps": 3, "student_steps": (3,)}])
def test_where_nothing_is_left_to_merge_all_is_drawn(model_run, tmp_path, flags):
    """A teacher of one step, and a student of as many steps as its teacher."""
    flags = {"steps_per_merge": (2, 40), "budgets": ("total",), "num_images": 2} | flags
    config = small_comparison(tmp_path / "run", model_run, **flags)
    comparison = compare_strategies(config)
    rows = tabulate(comparison, config.num_images, config.seed)
    text, files = write_report(config.out, comparison, rows, config.seed)
    assert all(row.merges == 0 and row.w2_squared_to_composite < 1e-25 for row in rows)
    assert files[-1].is_file()
    assert "equally good" in text
