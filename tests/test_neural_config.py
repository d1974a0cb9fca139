"""Flags of distill_neural that are refused, each with one line that names the flag."""

from pathlib import Path

import pytest

from neural.config import NeuralConfig

LATENTS = {"distribution": "latents", "latents": Path("latents")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"prediction": "eps"}, "--prediction eps says nothing of x_0 at alpha = 0"),
        ({"student_steps": (1, 17)}, "--student-steps 17 are more than the teacher's"),
        ({"student_steps": (1, 1)}, "--student-steps must be one or more different values"),
        ({"parametrisation": "operator", "loss": "x_0"}, "--loss x_0 is for"),
        ({"distribution": "latents"}, "--distribution latents and --latents .* go together"),
        ({"latents": Path("latents")}, "--distribution latents and --latents .* go together"),
        (LATENTS | {"teachers": 2}, "--teachers 2: latents have one teacher"),
        (LATENTS | {"prediction": "v"}, "--prediction is for the two-dimensional"),
        ({"student": "shared", "parametrisation": "operator"}, "--student shared takes"),
        (LATENTS | {"student": "shared"}, "--student shared takes"),
        ({"variances": (1.0, 1.0, 1.0)}, "--variances must be two"),
        ({"variances": (0.0, 1.0)}, "--variances must be positive"),
        ({"variances": (1.0, float("nan"))}, "--variances must be positive"),
        ({"variances": (1.0, 1e31)}, "--variances must be positive, at most 1e.30, got"),
        ({"lr": -1.0}, "--lr must be positive"),
        ({"steps_per_merge": (0,)}, "--steps-per-merge must be at least 1"),
        ({"batch_size": 10**10}, "--batch-size must be at most"),
        ({"num_steps": 1}, "--num-steps must be at least 2"),
        ({"seed": -1}, "--seed must be"),
    ],
)
def test_flags_that_cannot_be_are_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        NeuralConfig(out=Path("out"), **flags)


def test_defaults_depend_on_parametrisation_and_data():
    assert NeuralConfig(out=Path("out")).students_loss == "x_0"
    operator = NeuralConfig(out=Path("out"), parametrisation="operator")
    assert operator.students_loss == "z"
    assert NeuralConfig(out=Path("out"), optimizer="sgd").students_lr == 0.02
    latents = NeuralConfig(out=Path("out"), **LATENTS)
    assert (latents.students_lr, latents.num_teachers) == (3e-4, 1)
