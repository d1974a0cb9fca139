"""The report of export_student: the student beside its target, and how to load it."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from distill.export_student import (
    DECODER_PROGRAM,
    LOADER_FILE,
    STUDENT_FILE,
    STUDENT_PROGRAM,
    Export,
    loader_text,
)
from experiment.folder import FIGURES, RESULTS
from experiment.write import write_rows
from report.faces import DPI, draw_face_rows
from report.page import Picture
from report.style import BLACK, COLOURS, STYLE, label, legend_above, save_figure, stage_label
from report.summary import write_summary

USE_WITHOUT_IMAGES = f"""\
import torch
from student import Student

student = Student("{STUDENT_FILE}")
latents = student(torch.randn(8, len(student.mean)))
"""
USE = f"""\
{USE_WITHOUT_IMAGES}\
images = torch.export.load("{DECODER_PROGRAM}").module()(latents)  # (8, 3, S, S) in [0, 1]
"""


@dataclass(frozen=True)
class ExportRow:
    """A row of ``results.csv``: one latent coordinate."""

    coordinate: int
    mean: float
    variance: float
    operator: float  # operator of the student on unit noise: the product over its steps
    composite: float
    target: float


def report_export(out: Path, export: Export) -> None:
    """Tabulate, draw and describe an exported student in the run folder ``out``."""
    problem = export.problem
    operators = (export.students.operator, problem.composite, problem.target)
    columns = (export.mean, problem.variances, *map(problem.on_unit_noise, operators))
    rows = [ExportRow(i, *map(float, row)) for i, row in enumerate(zip(*columns, strict=True))]
    write_rows(out / RESULTS, rows, ExportRow)
    operator, faces = (out / FIGURES / name for name in ("operator.png", "faces.png"))
    save_figure(draw_operator(export), operator)
    pictures = [
        Picture(operator, "The student's number for every latent coordinate, over its variance.")
    ]
    if export.faces:
        save_figure(draw_face_rows(export.faces, "faces of the same noise"), faces, DPI)
        pictures.append(Picture(faces, "Faces of the student and of its target.", is_photo=True))
    case = export.case
    stage = stage_label(case.stage, problem.schedule.num_steps)
    text = (
        f"The student of {label(case.strategy)}, {stage}: latents = mean + operator · noise, one "
        f"number per coordinate, with noise from N(0, I). A student of K steps is diagonal, so "
        f"its operator is the product of its steps.\n\n"
        f"- `{STUDENT_FILE}`: mean and operator in float32; its metadata says how the student was "
        f"made.\n"
        f"- `{LOADER_FILE}`: the Python that reads it, with torch and safetensors alone.\n"
        f"{_programs(export)}\n\n"
        f"`{LOADER_FILE}`:\n\n```python\n{loader_text()}```"
    )
    write_summary(out, "An exported student", text, pictures, [out / RESULTS, *export.files])


def _programs(export: Export) -> str:
    """What is exported besides the student's file, and how it is used."""
    if not export.faces:
        return (
            f"- `{STUDENT_PROGRAM}`: the student as a program for "
            f"`torch.export.load(path).module()`. Its comparison was given no VAE, so there is no "
            f"decoder.\n\nTo draw latents, in this folder:\n\n```python\n{USE_WITHOUT_IMAGES}```"
        )
    return (
        f"- `{STUDENT_PROGRAM}`, `{DECODER_PROGRAM}`: the student and the decoder of its VAE as "
        f"programs for `torch.export.load(path).module()`. The decoder takes one vector per "
        f"image. `AutoencoderKL` of diffusers takes a grid of vectors, so there is no folder in "
        f"its format.\n\n"
        f"To draw images, in this folder:\n\n```python\n{USE}```"
    )


def draw_operator(export: Export) -> Figure:
    """The operators of the student, of its target and of the composite, by variance."""
    problem = export.problem
    order = np.argsort(problem.variances)
    x = problem.variances[order]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.0, 3.2), layout="constrained")
        panel = figure.subplots()
        composite = problem.on_unit_noise(problem.composite)
        panel.plot(x, composite[order], color="0.7", linewidth=3, label="composite")
        if problem.parametrisation.kind == "operator":
            target = problem.on_unit_noise(problem.target)
            panel.plot(x, target[order], color=BLACK, linewidth=1, label="surrogate")
        panel.plot(
            x,
            problem.on_unit_noise(export.students.operator)[order],
            ".",
            color=COLOURS[export.case.strategy],
            markersize=4,
            label=f"student, {label(export.case.strategy)}",
        )
        panel.set_xlabel("variance of the latent coordinate")
        panel.set_ylabel("operator: latent over noise")
        legend_above(figure, panel, columns=3)
    return figure
