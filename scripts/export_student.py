"""Write one student of a finished comparison as files that need no mergelab.

Example:
    mergelab export_student --run runs/compare --strategy per_dimension --budget total \\
        --steps-per-merge 100 --out runs/student
"""

from distill.config import ExportConfig
from scripts.cli import main


def run(config: ExportConfig) -> None:
    """Write the student, then report."""
    from distill.export_student import export_student
    from report.export import report_export

    report_export(config.out, export_student(config))


if __name__ == "__main__":
    main(ExportConfig, run, __doc__)
