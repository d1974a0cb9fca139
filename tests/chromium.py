"""Headless Chromium, for tests of pages."""

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Containers have no user namespaces and a small /dev/shm.
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


def _starts(program: str) -> bool:
    """Whether the browser can show a page here at all."""
    command = [program, "--headless", *FLAGS, "--dump-dom", "about:blank"]
    try:
        return subprocess.run(command, capture_output=True, timeout=90, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@functools.cache
def chromium() -> str | None:
    """The browser's program; found when the first test asks for it, not by every worker."""
    return next(filter(_starts, filter(None, map(shutil.which, NAMES))), None)


needs_chromium = pytest.mark.usefixtures("needs_chromium")


def run_chromium(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One headless run with a profile of its own in ``folder``."""
    flags = ["--headless", *FLAGS, "--enable-logging=stderr"]
    return subprocess.run(
        [str(chromium()), *flags, f"--user-data-dir={folder / 'profile'}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
