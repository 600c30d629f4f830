"""A real browser for tests of pages: the system's Chromium, spoken to over a pipe.

The DevTools protocol runs over file descriptors 3 and 4 (``--remote-debugging-pipe``), so neither a
port nor another package is needed. https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "no Chromium is installed (Debian: apt install chromium)"
PHONE = 600  # pixels; narrower windows are phones: touch, viewport as the page says
_SECONDS = 60.0
_SWITCHES = (
    "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions",
    "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


def program() -> str | None:
    """Returns the browser of this machine, if it has one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@dataclass
class Opened:
    """A page that was loaded, with everything it did meanwhile."""

    session: Session
    size: tuple[int, int]
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def value(self, expression: str) -> Any:
        """Returns what a JavaScript expression gives in the page."""
        row = {"expression": expression, "returnByValue": True}
        answer = self.session.ask("Runtime.evaluate", **row)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """Returns what the window shows, as PNG."""
        return base64.b64decode(self.session.ask("Page.captureScreenshot")["data"])


class Session:
    """One window's conversation."""

    def __init__(self, browser: Browser, name: str) -> None:
        self.browser, self.name = browser, name

    def ask(self, method: str, **parameters: Any) -> Any:
        """Returns a command's answer."""
        return self.browser.ask(method, self.name, parameters)


class Browser:
    """A running browser."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._rest, self._count = b"", 0
        self._events: list[dict[str, Any]] = []

    def open(self, page: Path, width: int, height: int = 900, *, dark: bool = False) -> Opened:
        """Returns a page of the disk, loaded in a window of its own."""
        target = self.ask("Target.createTarget", "", {"url": "about:blank"})["targetId"]
        row = {"targetId": target, "flatten": True}
        session = Session(self, self.ask("Target.attachToTarget", "", row)["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            session.ask(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < PHONE}
        session.ask("Emulation.setDeviceMetricsOverride", **size)
        colours = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        session.ask("Emulation.setEmulatedMedia", features=[colours])
        self._events.clear()
        session.ask("Page.navigate", url=page.resolve().as_uri())
        self._wait("Page.loadEventFired")
        opened = Opened(session, (width, height))
        opened.value("new Promise(done => requestAnimationFrame(() => done(1)))")
        for event in self._events:
            _note(opened, event["method"], event["params"])
        return opened

    def ask(self, method: str, session: str, parameters: dict[str, Any]) -> Any:
        """Returns a command's answer."""
        self._count += 1
        row: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if session:
            row["sessionId"] = session
        os.write(self._writes, json.dumps(row).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._count:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._events.append(message)

    def _wait(self, method: str) -> None:
        while not any(event.get("method") == method for event in self._events):
            self._events.append(self._message())

    def _message(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reads], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._reads, 1 << 20) if ready else b""
            if not data:
                raise AssertionError("the browser does not answer")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


def _note(opened: Opened, method: str, row: dict[str, Any]) -> None:
    if method == "Runtime.consoleAPICalled":
        opened.console.append(f"{row['type']}: {row['args']}")
    elif method == "Runtime.exceptionThrown":
        opened.console.append(f"exception: {row['exceptionDetails']['text']}")
    elif method == "Log.entryAdded":
        opened.console.append(f"{row['entry']['level']}: {row['entry']['text']}")
    elif method == "Network.requestWillBeSent":
        opened.requests.append(row["request"]["url"])


@contextmanager
def started(profile: Path) -> Iterator[Browser]:
    """Starts the browser and ends it.

    Args:
        profile: an empty folder for what it keeps.
    """
    found = program()
    assert found, MISSING
    ours_read, theirs_write = os.pipe()
    theirs_read, ours_write = os.pipe()
    # numbers that 3 and 4, which the browser wants, cannot collide with
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_read, theirs_write)]
    null = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (1, 2)]
    moved = [(os.POSIX_SPAWN_DUP2, end, n) for end, n in zip(ends, (3, 4), strict=True)]
    arguments = [found, *_SWITCHES, f"--user-data-dir={profile}", "about:blank"]
    process = os.posix_spawn(found, arguments, os.environ, file_actions=[*null, *moved])
    for end in (*ends, theirs_read, theirs_write):
        os.close(end)
    try:
        browser = Browser(ours_read, ours_write)
        yield browser
    finally:
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
        os.close(ours_read)
        os.close(ours_write)
