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
from testbed.studio import SECRET, Served, end, serve, settle

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real studio, started once: a second to start it for each test is what tests took."""
    made = serve(tmp_path_factory.mktemp("studio"))
    try:
        yield made
        settle(made)
    finally:
        end(made)


@pytest.fixture
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An empty folder of projects: that of the real studio where a test asks for one."""
    if "served" in request.fixturenames:
        made = request.getfixturevalue("studio")
        settle(made)
        return made.workspace
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
def served(workspace: Path, studio: Served) -> Served:
    """A real studio of the workspace."""
    assert studio.workspace == workspace
    return studio


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
