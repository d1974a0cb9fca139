import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs_as_printed(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, str(README), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    w2 = {line.split()[0]: float(line.split()[1]) for line in lines}
    assert min(w2, key=w2.get) == "per_dimension"


def test_every_file_and_command_it_names_is_there():
    text = README.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (README.parent / link).exists(), link
    for script in re.findall(r"python -m scripts\.(\w+)", text):
        assert (README.parent / "scripts" / f"{script}.py").is_file(), script
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", text, re.MULTILINE):
        assert f"\n{target}:" in makefile, target
