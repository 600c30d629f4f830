"""G4: the report in a real browser, opened from the disk, on a desk and on a phone."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from renma.judge import report
from testbed import browser, judged_run
from testbed.browser import Browser

pytestmark = pytest.mark.skipif(browser.program() is None, reason=browser.MISSING)
SIZES = pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
LONG = "x" * 300
"""A word that no line can hold."""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser.started(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def judged(finished: Path) -> Path:
    """A finished run with everything that a page can have, and words without an end."""
    judged_run.write(finished, verdict=["Use step 10.", LONG], advice=[LONG])
    for text in ("aa12, smile", f"aa12, {LONG}", "person, smile"):
        judged_run.cell(finished, text, 1, "grey")
        judged_run.cell(finished, text, 1, "red", finished / judged_run.score()["best"])
    for name in ("grid.png", "blocks.png", "score.png"):
        Image.new("RGB", (3000, 700), "green").save(finished / name)
    tags = {"absorbed": [{"tag": LONG, "share": 0.5}], "drifted": [{"tag": LONG}]}
    (finished / "tags.json").write_text(json.dumps(tags))
    finding = {"code": "blurred", "picture": LONG, "text": LONG}
    answer = {"folder": "f", "pictures": 1, "findings": [finding]}
    (finished / "lint.json").write_text(json.dumps(answer))
    next((finished / "pictures").rglob("one.txt")).write_text(LONG)
    with (finished / "events.jsonl").open("a") as log:
        row = {"kind": "sample", "step": 20, "path": "samples/20.png", "prompt": LONG, "index": 1}
        log.write(json.dumps(row) + "\n" + json.dumps({"kind": "warned", "text": LONG}) + "\n")
    return report.write_report(finished)


@SIZES
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_opens_quietly_fits_and_asks_for_nothing(
    chromium: Browser, judged: Path, width: int, dark: bool
) -> None:
    page = chromium.open(judged, width, dark=dark)
    assert page.console == []
    page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.value("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    asked = {url.split(",")[0] for url in page.requests}
    assert asked == {judged.resolve().as_uri(), "data:image/webp;base64"}
    broken = "[...document.images].filter(one => !one.complete || !one.naturalWidth).length"
    assert page.value(broken) == 0
    # 6 heroes, 3 previews, 2 pictures, 3 sheets
    assert page.value("document.images.length") == 14
    # what the window shows follows the system's colours
    corner = Image.open(io.BytesIO(page.picture())).convert("L").getpixel((2, 2))
    assert isinstance(corner, int)
    assert (corner < 60) == dark


@SIZES
def test_words_are_large_enough_to_read(chromium: Browser, judged: Path, width: int) -> None:
    """Labels of charts shrink with the drawing; none is below 9 pixels."""
    page = chromium.open(judged, width)
    heights = page.value(
        "[...document.querySelectorAll('svg text')].map(one => one.getBoundingClientRect().height)"
    )
    assert len(heights) > 20
    assert min(heights) > 9


def test_contents_and_full_size_work_without_a_script(chromium: Browser, judged: Path) -> None:
    page = chromium.open(judged, 390)
    page.value("document.querySelector('nav a[href=\"#files\"]').click()")
    top = "document.querySelector('#files').getBoundingClientRect().top"
    assert 0 <= page.value(f"Math.min({top}, 600)") < 600
    before = page.value("document.querySelector('#grids img').clientWidth")
    page.value("document.querySelector('#grids input').click()")
    assert page.value("document.querySelector('#grids img').clientWidth") == 2000 > before
    assert page.value("document.documentElement.scrollWidth") == 390


def test_this_browser_would_tell(chromium: Browser, tmp_path: Path) -> None:
    """The checks above can fail: a page that does all of it is seen through."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><meta name=viewport content='width=device-width'>"
        "<body style='margin:0'><div style='width:2000px'>x</div><img src='http://127.0.0.1:9/x.png'>"
        "<script>console.error('loud'); nothing()</script>"
    )
    page = chromium.open(bad, 1280)
    assert any("loud" in line for line in page.console)
    assert any("exception" in line for line in page.console)
    assert page.value("document.documentElement.scrollWidth") == 2000
    assert "http://127.0.0.1:9/x.png" in page.requests


METHODS = f"""
[adapter]
algo = "dylora"
[relora]
every_steps = 5
[start]
base_weights = ["{LONG}.safetensors"]
[[erase.prompts]]
target = "{LONG}"
neutral = "person, smile, blue background, short hair"
"""


@SIZES
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_section_on_methods_fits(
    chromium: Browser, finished: Path, width: int, dark: bool
) -> None:
    with (finished / "run.toml").open("a") as file:
        file.write(METHODS)
    ranks = [{"rank": 2**i, "loss": 0.2 - i / 100, "file_bytes": 9**i} for i in range(8)]
    rows = [{"kind": "ranks", "rows": ranks, "enough": 64, "path": f"lora/{LONG}.safetensors"}]
    rows += [{"kind": "merged", "step": 5 * i, "cycle": i, "change": 1e-7} for i in range(1, 30)]
    with (finished / "events.jsonl").open("a") as log:
        log.writelines(json.dumps(row) + "\n" for row in rows)
    page = chromium.open(report.write_report(finished), width, dark=dark)
    assert page.console == []
    assert page.value("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    assert page.value("document.querySelectorAll('#method .method').length") == 4
    colours = "(one => [one.color, one.backgroundColor])(getComputedStyle({}))"
    badge = page.value(colours.format("document.querySelector('#method .badge')"))
    assert badge[0] != badge[1]
