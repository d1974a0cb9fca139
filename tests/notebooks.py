"""Execute notebooks without Jupyter, and store what their cells show.

    python -m tests.notebooks      stores the outputs in docs/notebooks/*.ipynb

A cell is executed, and the value of its last line is shown as Jupyter shows it: as text, and as
HTML or as a picture where the value has such a form. Without pandas tables are mergelab's own, so
outputs do not depend on whether it is installed.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
FORMS = {"text/plain": "__repr__", "text/html": "_repr_html_", "image/png": "_repr_png_"}


def read(path: Path) -> dict[str, Any]:
    """A notebook as JSON."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def outputs_of(notebook: dict[str, Any], folder: Path) -> list[list[dict[str, Any]]]:
    """Execute the code cells in their order, in ``folder``; returns the outputs of each."""
    names: dict[str, object] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    with _without_pandas(), contextlib.chdir(folder):
        return [_execute("".join(cell["source"]), names, i) for i, cell in enumerate(cells, 1)]


@contextlib.contextmanager
def _without_pandas() -> Iterator[None]:
    found = sys.modules.get("pandas")
    sys.modules["pandas"] = None  # type: ignore[assignment]  # so that its import fails
    try:
        yield
    finally:
        del sys.modules["pandas"]
        if found is not None:
            sys.modules["pandas"] = found


def _execute(source: str, names: dict[str, object], count: int) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(tree, f"cell {count}", "exec"), names)
        value = None
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {count}", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if said.getvalue():
        text = said.getvalue().splitlines(keepends=True)
        outputs.append({"name": "stdout", "output_type": "stream", "text": text})
    if value is not None:
        forms = {form: getattr(value, way, lambda: None)() for form, way in FORMS.items()}
        outputs.append(
            {
                "data": {form: _text(made) for form, made in forms.items() if made is not None},
                "execution_count": count,
                "metadata": {},
                "output_type": "execute_result",
            }
        )
    return outputs


def _text(made: str | bytes) -> list[str] | str:
    """A form as notebook files have it: lines, or base64 for a picture."""
    if isinstance(made, bytes):
        return base64.b64encode(made).decode("ascii")
    return made.splitlines(keepends=True)


def store(path: Path) -> None:
    """Execute a notebook and write its outputs into it."""
    notebook = read(path)
    with tempfile.TemporaryDirectory() as folder:
        found = iter(outputs_of(notebook, Path(folder)))
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell |= {"execution_count": count, "outputs": next(found)}
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        store(notebook)
