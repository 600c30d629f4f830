"""Commands of renma as a user gives them, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""What makes processor seconds comparable, whatever else the machine does."""


def renma(*words: str, one_thread: bool = False) -> None:
    """Runs a command to its end.

    Args:
        words: behind ``renma``.
        one_thread: compute in a single thread.
    """
    environment = {**os.environ, **(ONE_THREAD if one_thread else {})}
    command = [sys.executable, "-W", "ignore", "-m", "renma", *words]
    subprocess.run(command, check=True, env=environment)
