"""A studio in a process of its own, for tests that call it or kill it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET = "0123456789abcdef0123456789abcdef"
"""The token of studios that tests make."""


@dataclass(frozen=True)
class Served:
    """A studio in a process of its own."""

    address: str
    token: str
    process: subprocess.Popen[str]
    workspace: Path

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
    return Served(found[1], found[2], process, workspace)


def end(studio: Served) -> None:
    """Ends a studio, however it stands."""
    studio.process.terminate()
    studio.process.wait(20)
    assert studio.process.stdout is not None
    studio.process.stdout.close()


def call(studio: Served, path: str, body: Any = None) -> Any:
    """Calls the interface; what has a body is a change."""
    headers = {"authorization": f"Bearer {studio.token}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{studio.address}/api/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def settle(studio: Served) -> None:
    """Ends what a test left at work, and empties the workspace."""
    until = time.monotonic() + 30
    while busy := [job for job in call(studio, "jobs") if job["state"] in ("queued", "running")]:
        assert time.monotonic() < until, busy
        for job in busy:
            with contextlib.suppress(urllib.error.HTTPError):  # it ended by itself meanwhile
                call(studio, f"jobs/{job['id']}/stop", {})
        time.sleep(0.1)
    own = studio.workspace / ".renma-studio"
    for path in [*studio.workspace.iterdir(), *own.glob("jobs/*"), *own.glob("thumbs/*")]:
        while path != own and path.exists():  # a process that ends removes its own, too
            assert time.monotonic() < until, path
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
