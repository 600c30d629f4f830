"""The pages: frames with words; what they show comes from the interface."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

import renma
from renma.core.html_page import environment

WORDS = Path(__file__).parent / "words"
LANGUAGES = ("en", "ja")
PAGES = {
    "": "home",
    "data": "data",
    "new": "new",
    "run": "run",
    "queue": "queue",
    "compare": "compare",
    "files": "files",
    "methods": "methods",
    "report": "report",
    "tools": "tools",
}
"""Page by its address; each is a template and a module of the same name."""


def router() -> APIRouter:
    """Returns the pages."""
    found = APIRouter(include_in_schema=False)
    for address, name in PAGES.items():
        found.add_api_route(f"/{address}", _page(name), methods=["GET"])
    return found


def _page(name: str) -> Any:
    def show(request: Request) -> HTMLResponse:
        language = spoken(request)
        told = words(language)
        text = _templates().get_template(f"{name}.html.jinja")
        return HTMLResponse(
            text.render(
                page=name,
                pages={n: a for a, n in PAGES.items()},
                t=lambda key: told[key],
                language=language,
                languages=LANGUAGES,
                words=told,
                version=renma.__version__,
            )
        )

    return show


def spoken(request: Request) -> str:
    """Returns the language to answer in: the one chosen, else the browser's first that is there."""
    chosen = request.cookies.get("language", "")
    if chosen in LANGUAGES:
        return chosen
    for part in request.headers.get("accept-language", "").split(","):
        name = part.partition(";")[0].strip().lower()[:2]
        if name in LANGUAGES:
            return name
    return LANGUAGES[0]


@cache
def words(language: str) -> dict[str, str]:
    """Returns the words of the pages in a language; every page has a file of its own."""
    found: dict[str, str] = {}
    for path in sorted((WORDS / language).glob("*.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found


@cache
def _templates() -> Any:
    return environment("renma.studio")
