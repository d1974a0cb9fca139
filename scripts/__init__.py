"""The commands. Importing this package installs the SIGINT handler of ``scripts.interrupts``."""

import scripts.interrupts  # noqa: F401 - from the first import on
