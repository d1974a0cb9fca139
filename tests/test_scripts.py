import io
import os
import re
import signal
import sys

import pytest

from distill.config import CompareConfig, PlanConfig
from report.config import DecodeConfig
from report.decode_grids import decode_grids
from scripts import compare_strategies, encode_latents, plan_merges
from scripts.cli import _unknown_argument, flags_of_command, main
from scripts.commands import COMMANDS, config_of
from vae.check_data import check_data
from vae.config import CheckConfig, EncodeConfig


def run_cli(monkeypatch, config, job, *arguments: object):
    monkeypatch.setattr(sys, "argv", ["job.py", *map(str, arguments)])
    main(config, job, "A job.")


def fails(monkeypatch, capsys, config, job, *arguments: object) -> str:
    """Exit status 2 with one line on stderr, which is returned."""
    with pytest.raises(SystemExit) as stop:
        run_cli(monkeypatch, config, job, *arguments)
    captured = capsys.readouterr()
    assert stop.value.code == 2
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--out", "a", "--step-per-merge", "3"],
            "--step-per-merge; did you mean --steps-per-merge?",
        ),
        (
            ["--out", "a", "--scheduler-file", "b"],
            "unknown argument --scheduler-file; did you mean --scheduler?",
        ),
        (["--out", "a", "--run", "b"], "job has no --run; decode_grids"),
        (["--out", "a", "--sample=3"], "job has no --sample; check_data does"),
        (["--out", "a", "more"], "more belongs to no flag"),
        (["--out", "a", "--xyzzy"], "unknown argument --xyzzy; known are --out"),
        (
            ["--out", "a", "--num-steps", "many"],
            "error: --num-steps takes a whole number, got many",
        ),
        (["--out", "a", "--num-steps", "-3"], "error: --num-steps must be positive, got -3; see"),
        (["--out", "a", "--engine", "magic"], "invalid choice 'magic' for argument '--engine'"),
        (["--num-steps", "3"], "error: --out is missing: Run folder; see --help"),
        (["--out", "a", "--vae", "/no/such/vae"], "needs --latents"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(
    monkeypatch, capsys, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    line = fails(monkeypatch, capsys, CompareConfig, compare_strategies.run, *arguments)
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variances", "0,5"], "--variances takes numbers, with spaces between, got 0,5;"),
        (["--variances", "0.5", "—rotate"], "--variances takes numbers, .*, got 0.5 —rotate;"),
        (["--variances"], "--variances needs one or more numbers, with spaces between;"),
        (["--variances", "1e31"], "--variances: variance of coordinate 0 is 1e\\+31, more than"),
        (["--student-steps", "1e0"], "--student-steps takes whole numbers, with spaces between, "),
        (["--num-steps", "3.5"], "--num-steps takes a whole number, got 3.5;"),
        (["--time-limit", "1,5"], "--time-limit takes a number, got 1,5;"),
        (["--train-time"], "--train-time needs a value;"),
        (
            ["--schedule", "{pipe}"],
            "--schedule .*pipe: a pipe or a device, not a file or a folder;",
        ),
        (["--latents", "{pipe}"], "--latents .*pipe: a pipe or a device, not a file or a folder;"),
        (["--out=~/run"], "--out ~/run: the shell has not replaced ~ by the home folder; leave a"),
        (
            ["--latents", "/dev/zero"],
            "--latents /dev/zero: a pipe or a device, not a file or a folder;",
        ),
    ],
)
def test_what_a_tired_person_types_is_told_in_words_and_never_waited_for(
    monkeypatch, capsys, tmp_path, arguments, message
):
    os.mkfifo(tmp_path / "pipe")
    given = [part.format(pipe=tmp_path / "pipe") for part in arguments]
    if "--variances" not in given and "--latents" not in given:
        given += ["--variances", "1"]
    out = ["--out", str(tmp_path / "out")]
    line = fails(monkeypatch, capsys, PlanConfig, plan_merges.run, *out, *given)
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()


def test_help_is_not_a_mistake(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run_cli(monkeypatch, CompareConfig, compare_strategies.run, "--help")
    assert stop.value.code == 0
    assert "Teacher steps T on the cosine schedule" in capsys.readouterr().out


def test_where_the_terminal_takes_no_unicode_a_mistake_is_one_plain_line(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # has no encoding
    for asked in (["--out", "a", "--num-steps", "many"], ["--out"], []):
        line = fails(monkeypatch, capsys, CompareConfig, compare_strategies.run, *asked)
        assert line.endswith("; see --help")
        assert "---" not in line


def test_an_interruption_that_comes_out_as_another_error_is_still_one(monkeypatch, capsys):
    """As where a C extension is imported at that moment."""

    def interrupted(_):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    with pytest.raises(SystemExit) as stop:
        run_cli(monkeypatch, CompareConfig, interrupted, "--out", "a")
    assert stop.value.code == 130
    assert "the same command resumes the run" in capsys.readouterr().err


def test_an_interruption_while_a_mistake_is_refused_is_one_line(monkeypatch, capsys):
    class SlowlyTold(ValueError):
        def __str__(self) -> str:
            signal.raise_signal(signal.SIGINT)
            return "a mistake"

    def broken(_):
        raise SlowlyTold

    with pytest.raises(SystemExit) as stop:
        run_cli(monkeypatch, CompareConfig, broken, "--out", "a")
    assert stop.value.code == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_error_of_ours_is_shown_whole(monkeypatch):
    def broken(_):
        raise KeyError("name")

    with pytest.raises(KeyError):
        run_cli(monkeypatch, CompareConfig, broken, "--out", "a")


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_cli(monkeypatch, CompareConfig, interrupted, "--out", "a")
    assert stop.value.code == 130
    assert "the same command resumes the run" in capsys.readouterr().err


def test_the_way_of_a_users_images_from_folder_to_grid(
    monkeypatch, capsys, image_folder, model_run, tmp_path
):
    vae, cache = model_run[0], tmp_path / "cache"
    run_cli(monkeypatch, CheckConfig, check_data, "--data", image_folder)
    checked = capsys.readouterr().out
    assert "40 in" in checked
    assert "178x218 (40)" in checked
    encode = ["--data", image_folder, "--vae", vae, "--out", tmp_path / "codes", "--cache", cache]
    run_cli(monkeypatch, EncodeConfig, encode_latents.run, *encode)
    assert (tmp_path / "codes/figures/covariance.png").is_file()
    (tmp_path / "codes/parts").mkdir()  # as of a run cut off just before it removed them
    run_cli(monkeypatch, EncodeConfig, encode_latents.run, *encode)
    assert not (tmp_path / "codes/parts").exists()
    shape = ["--num-steps", 4, "--steps-per-merge", 2, "--batch-size", 64, "--num-images", 3]
    shape += ["--engine", "closed_form"]
    source = ["--vae", vae, "--latents", tmp_path / "codes", "--out", tmp_path / "run"]
    run_cli(monkeypatch, CompareConfig, compare_strategies.run, *source, *shape)
    out = capsys.readouterr().out
    assert "per-dimension plan" in out
    for name in ("results.csv", "summary.md", "recommendation.json", "report.html"):
        assert (tmp_path / "run" / name).is_file()
    grids = ["--run", tmp_path / "run", "--first", 7, "--columns", 2, "--out", tmp_path / "grids"]
    run_cli(monkeypatch, DecodeConfig, decode_grids, *grids)
    assert (tmp_path / "grids/figures/faces_total_6_steps.png").is_file()


def test_a_run_that_never_was_cannot_be_decoded(monkeypatch, capsys, tmp_path):
    line = fails(monkeypatch, capsys, DecodeConfig, decode_grids, "--run", tmp_path / "no")
    assert "no finished run of compare_strategies" in line


def test_no_suggestion_is_a_flag_that_the_named_command_lacks():
    """Every flag of every command, asked of every other one."""
    flags = {command: set(flags_of_command(command)) for command in COMMANDS}
    every = set().union(*flags.values())
    for command in COMMANDS:
        for name in every - flags[command]:
            said = _unknown_argument(config_of(command), command, name)
            if "did you mean" in said:
                assert said.rpartition(" ")[2].rstrip("?") in flags[command]
                continue
            others = re.fullmatch(rf"{command} has no {name}; (.*) do(?:es)?", said)[1]
            named = set(re.split(r", | and ", others))
            assert named == {other for other in COMMANDS if name in flags[other]}


@pytest.mark.parametrize("message", ["broken", "error: broken"])
def test_a_mistake_says_error_once(monkeypatch, capsys, message):
    def broken(_):
        raise ValueError(message)

    assert fails(monkeypatch, capsys, CompareConfig, broken, "--out", "a") == "error: broken"
