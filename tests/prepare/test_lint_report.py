"""B1: how lint says what it found - a page, JSON, a table, an exit code."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renma.config.prepare.lint import LintOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.prepare import lint


@pytest.fixture(autouse=True)
def _nothing_known(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    return Image.fromarray(values)


class Page(HTMLParser):
    """What a page holds: tags, and addresses that lead elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.pictures: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attrs:
            if key == "src":
                self.pictures.append(value or "")
            elif key in ("href", "action", "onload", "onerror", "style"):
                self.links.append(value or "")


def test_page_is_self_contained_and_escaped(tmp_path: Path):
    hostile = "<img src=x onerror=alert(1)>.png"
    (tmp_path / "in").mkdir()
    noise(1).save(tmp_path / "in" / hostile)
    (tmp_path / "in" / hostile).with_suffix(".txt").write_text("<script>alert(2)</script>")
    noise(2).save(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "b.txt").write_text("<script>alert(2)</script>")
    options = LintOptions(folder=tmp_path / "in", executor="serial", html=tmp_path / "page.html")
    lint.run(options, Silent())
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert page.pictures
    assert all(source.startswith("data:image/webp;base64,") for source in page.pictures)
    assert all(link.startswith("#") for link in page.links)
    assert "default-src 'none'" in text
    assert "&lt;script&gt;" in text


def test_json_table_and_strict(tmp_path: Path):
    noise(1).save(tmp_path / "a.png")
    lines: list[str] = []

    class Told(Silent):
        def line(self, text: str) -> None:
            lines.append(text)

    lint.run(LintOptions(folder=tmp_path, executor="serial", json=True), Told())
    data = json.loads("\n".join(lines))
    assert data["pictures"] == 1
    assert {row["code"] for row in data["findings"]} == set(data["counts"])
    small = next(row for row in data["findings"] if row["code"] == "small")
    assert small["measured"] == pytest.approx(512 / 90)
    assert small["remedy"]
    lines.clear()
    lint.run(LintOptions(folder=tmp_path, executor="serial"), Told())
    assert lines[-1] == "1 pictures, 0 of them read now; something was found in 1"
    with pytest.raises(UserError, match="something was found in 1 of 1"):
        lint.run(LintOptions(folder=tmp_path, executor="serial", strict=True), Silent())
    options = LintOptions(folder=tmp_path, executor="serial")
    found = [f.code for f in lint.examine(options, Silent()).findings]
    lint.run(
        LintOptions(folder=tmp_path, executor="serial", strict=True, ignore=tuple(found)), Silent()
    )
    with pytest.raises(UserError, match=r"no check 'gray'.*grey"):
        lint.examine(options.model_copy(update={"ignore": ("gray",)}), Silent())
