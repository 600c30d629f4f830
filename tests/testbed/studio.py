"""A studio in a process of its own, for tests that call it or kill it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SECRET = "0123456789abcdef0123456789abcdef"
"""The token of studios that tests make."""


@dataclass(frozen=True)
class Served:
    """A studio in a process of its own."""

    address: str
    token: str
    process: subprocess.Popen[str]

    @property
    def entrance(self) -> str:
        """The address that lets a browser in."""
        return f"{self.address}/?token={self.token}"


def serve(workspace: Path) -> Served:
    """Starts a studio and waits until it answers."""
    command = [sys.executable, "-m", "renma", "studio", str(workspace), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\w+)", line)
    assert found, line
    return Served(found[1], found[2], process)
