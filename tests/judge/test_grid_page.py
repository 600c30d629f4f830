"""The grid as a page: one file, nothing from outside, and its own script alone runs (F1, G3)."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renma.config.grid_task import GridOptions
from renma.judge import grid
from renma.judge.grid.plan import planned
from testbed.painted import Plain

EVIL = "<script>alert(1)</script>\"'&"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def page(finished: Path, lines: Any) -> Path:
    out = finished / "grid.html"
    fake = Plain(finished / "plain", lambda one: (one.prompt.seed * 50, 0, 0))
    options = GridOptions(
        sources=(finished,), x="seed=1,2,3", y="weight=0.5,1", difference="column", out=out,
        prompts=(EVIL, "cat"), width=128, height=64,
    )  # fmt: skip
    grid.draw_grid(planned(options, lines), fake, lines)
    return out


def test_nothing_comes_from_outside_and_nothing_written_becomes_markup(page):
    tags = Tags(page.read_text(encoding="utf-8"))
    assert len(tags.all("script")) == 1
    assert not tags.all("link")
    addresses = [one[name] for _, one in tags.found for name in ("src", "href") if name in one]
    assert {str(one)[:16] for one in addresses} == {"data:image/webp;"}
    assert not [one for _, one in tags.found if any(name.startswith("on") for name in one)]
    assert any(EVIL in str(one.get("alt")) for one in tags.all("img"))


def test_only_the_script_and_style_of_the_page_are_allowed(page):
    text = page.read_text(encoding="utf-8")
    (policy,) = [
        str(one["content"])
        for one in Tags(text).all("meta")
        if one.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name in ("script", "style"):
        match = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        assert match
        digest = base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert not [one for _, one in Tags(text).found if "style" in one]


def test_every_cell_is_there_with_its_place_and_its_difference(page):
    tags = Tags(page.read_text(encoding="utf-8"))
    cells = [one for one in tags.all("button") if "data-x" in one]
    places = [tuple(int(str(one[f"data-{axis}"])) for axis in "zyx") for one in cells]
    assert places == [(z, y, x) for z in range(2) for y in range(2) for x in range(3)]
    pictures = tags.all("img")
    assert len(pictures) == 24  # a cell and its difference each
    data = base64.b64decode(str(pictures[2]["src"]).partition(",")[2])
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (128, 64)
        red, *_ = picture.convert("RGB").getpixel((40, 30))  # pyright: ignore
        assert abs(red - 100) < 6
    text = page.read_text(encoding="utf-8")
    # one of three channels differs by 50 levels of 255
    assert text.count("<small>6.5 %") == 4
    assert text.count("<small>no difference") == 4
    assert 'th scope="row">weight 0.5' in text


def test_a_browser_runs_the_script_from_disk(page, tmp_path):
    """The policy lets the page's own script work: it shows what is of use with it alone."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium to open the page with")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    seen = Tags(done.stdout)
    (hint,) = [one for one in seen.all("p") if one.get("id") == "hint"]
    (sizer,) = [one for one in seen.all("label") if one.get("id") == "sizer"]
    assert "hidden" not in hint
    assert "hidden" not in sizer
