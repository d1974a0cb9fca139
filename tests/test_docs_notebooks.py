"""The notebooks run as they stand, and show what is stored in them."""

import base64
import re

import pytest

from tests.notebooks import NOTEBOOKS, outputs_of, read

AGAIN = "store the outputs again: python -m tests.notebooks"
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")

# The planner fills one table per thread, so their memory is the machine's.
TABLES = re.compile(r", with [\d.e-]+ MB of tables")


def words_and_numbers(text: str) -> list[tuple[str, list[float]]]:
    """Lines as words and numbers, sorted: rounding decides the order of equal strategies."""
    lines = [
        (NUMBER.sub("#", line), [float(n.replace(",", "")) for n in NUMBER.findall(line)])
        for line in text.splitlines()
    ]
    return sorted((re.sub(r"[\s-]+", " ", words), numbers) for words, numbers in lines)


def text_of(output: dict) -> str:
    return "".join(output["text"] if "text" in output else output["data"]["text/plain"])


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_shows_what_is_stored_in_it(path, tmp_path):
    notebook = read(path)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell, found in zip(cells, outputs_of(notebook, tmp_path), strict=True):
        stored = cell["outputs"]
        assert [each["output_type"] for each in stored] == [each["output_type"] for each in found]
        for was, now in zip(stored, found, strict=True):
            assert was.get("data", {}).keys() == now.get("data", {}).keys()
            texts = [TABLES.sub("", text_of(each)) for each in (was, now)]
            lines = zip(*map(words_and_numbers, texts), strict=True)
            for (words, numbers), (other, others) in lines:
                assert words == other, AGAIN
                assert numbers == pytest.approx(others, rel=0.02, abs=1e-12), AGAIN


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_a_small_whole_file_of_the_format(path):
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert notebook["cells"][0]["source"][0].startswith("# ")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    pictures = [
        base64.b64decode(output["data"]["image/png"])
        for cell in code
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert path.stat().st_size < 400_000
    for cell in notebook["cells"]:
        assert all(len(line) <= 121 for line in cell["source"])


def test_the_papers_notebook_has_ten_cells():
    cells = read(NOTEBOOKS / "reproduce_the_paper.ipynb")["cells"]
    assert sum(cell["cell_type"] == "code" for cell in cells) == 10
