"""List the jobs."""

import sys

from scripts.commands import find_jobs


def listing() -> str:
    """Every job with its one line, under how to call it."""
    jobs = find_jobs()
    width = max(len(job.name) for job in jobs)
    lines = [f"  {job.name:{width}}  {job.summary}" for job in jobs]
    usage = "python -m scripts.JOB --help tells a job's flags; docs/cli.md has them all."
    return "\n".join(["Jobs of mergelab:", "", *lines, "", usage])


if __name__ == "__main__":
    print(listing())
    if any(argument not in ("-h", "--help") for argument in sys.argv[1:]):
        print(f"error: {sys.argv[1]}: a job is python -m scripts.JOB, with a dot", file=sys.stderr)
        raise SystemExit(2)
