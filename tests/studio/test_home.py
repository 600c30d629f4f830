"""The studio's first page: a project from the samples, and the run that is trained in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient


def test_a_newcomer_makes_the_sample_project(opened: Callable[..., Any]):
    page = opened("/")
    page.get_by_label("Name").fill("first")
    page.get_by_label("Pictures").select_option("character")
    page.get_by_role("button", name="Make a project").click()
    card = page.locator("#projects li", has_text="first")
    card.get_by_text("14 pictures").wait_for()
    assert card.locator("img").count() == 6


def test_a_name_of_a_project_stays_inside_the_workspace(client: TestClient):
    for name in ("../x", "a/b", "/etc", "..", "con", "a\\b", "C:", "x\0y"):
        answer = client.post("/api/projects", json={"name": name})
        assert answer.status_code in (403, 422), name


def test_the_pages_speak_japanese_where_the_browser_does(opened: Callable[..., Any]):
    page = opened("/", locale="ja-JP")
    assert page.get_by_role("button", name="プロジェクトを作る").is_visible()
    assert page.locator("html").get_attribute("lang") == "ja"


def test_every_word_is_there_in_both_languages():
    from renma.studio.pages import words

    assert words("en").keys() == words("ja").keys()
