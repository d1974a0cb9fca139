"""Headless Chromium, for tests of pages."""

import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)


def run_chromium(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One headless run with a profile of its own in ``folder``."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    return subprocess.run(
        [str(CHROMIUM), *flags, f"--user-data-dir={folder / 'profile'}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
