"""A studio to call, one that is really served, and a real browser in front of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from renma.studio.app import application
from renma.studio.place import Place
from renma.studio.token import Token
from testbed.studio import SECRET, Served, serve

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty folder of projects."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def place(workspace: Path) -> Place:
    return Place.made(workspace)


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    """A caller with the token; the queue works."""
    headers = {"authorization": f"Bearer {SECRET}"}
    app: Any = application(place, Token(SECRET))
    with TestClient(app, base_url="http://127.0.0.1", headers=headers) as made:
        yield made


@pytest.fixture
def served(workspace: Path) -> Iterator[Served]:
    """A real studio of the workspace."""
    made = serve(workspace)
    try:
        yield made
    finally:
        made.process.terminate()
        made.process.wait(20)
        assert made.process.stdout is not None
        made.process.stdout.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(served: Served, chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages of the studio; whatever a page writes to its console fails the test."""
    said: list[str] = []
    contexts: list[Any] = []

    def open_page(path: str = "/", *, width: int = 1280, height: int = 900, **more: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(served.entrance)
        if path != "/":
            page.goto(served.address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said, said
