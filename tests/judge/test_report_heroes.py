"""G4: pictures at the head of the page - base model and best checkpoint, nothing else changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from renma.judge import report
from renma.judge.folder import RunRecord
from renma.judge.report.heroes import Pair, pairs
from testbed import judged_run
from testbed.html_page import Page

BEST, OTHER = "lora/girl-step00000010.safetensors", "lora/girl.safetensors"
SMILE, WINK, PLAIN = "aa12, smile", "aa12, wink", "person, smile"


@pytest.fixture
def drawn(finished: Path) -> Path:
    """A run with cells: base grey, best red, another checkpoint blue."""
    for text in (SMILE, WINK, PLAIN):
        for seed in (1, 2, 3):
            judged_run.cell(finished, text, seed, "grey")
            judged_run.cell(finished, text, seed, "red", finished / BEST)
            judged_run.cell(finished, text, seed, "blue", finished / OTHER)
    return finished


def find(folder: Path) -> list[Pair]:
    return pairs(RunRecord.open(folder), folder / BEST)


def test_pairs_come_from_every_prompt_and_one_without_the_trigger(drawn: Path) -> None:
    found = find(drawn)
    assert [one.prompt for one in found] == [SMILE, WINK, SMILE, PLAIN]
    assert [one.kind for one in found] == ["with the trigger"] * 3 + ["without the trigger"]
    assert len({one.base.uri for one in found}) == 1
    assert len({one.best.uri for one in found}) == 1
    assert found[0].base.uri != found[0].best.uri


def test_the_page_shows_them_in_place_of_previews(drawn: Path) -> None:
    judged_run.write(drawn)
    page = Page(report.write_report(drawn).read_text(encoding="utf-8"))
    words = [str(one["alt"]) for one in page.all("img")]
    assert words.count(f"base model: {SMILE}") == 2
    assert words.count(f"step 10: {PLAIN}") == 1
    assert "preview after the last step" not in words


def test_only_what_differs_in_the_lora_alone_is_a_pair(finished: Path) -> None:
    best = finished / BEST
    judged_run.cell(finished, SMILE, 1, "grey")
    judged_run.cell(finished, SMILE, 2, "red", best)  # other noise
    judged_run.cell(finished, SMILE, 1, "red", best, weight=0.5)
    judged_run.cell(finished, SMILE, 1, "red", finished / OTHER)
    assert find(finished) == []
    judged_run.cell(finished, SMILE, 1, "red", best)
    assert len(find(finished)) == 1


def test_pictures_of_an_earlier_file_of_that_name_are_not_shown(drawn: Path) -> None:
    (drawn / BEST).write_bytes((drawn / OTHER).read_bytes())
    red = judged_run.payload(drawn / BEST)
    found = find(drawn)
    assert red == judged_run.payload(drawn / OTHER)
    # now the blue ones are of this file's weights
    assert len({one.best.uri for one in found}) == 1
    assert len(found) == 4
    (drawn / OTHER).unlink()
    (drawn / BEST).write_bytes(b"no safetensors")
    assert find(drawn) == []


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"prompt": 1, "loras": []}', '{"prompt": {}, "loras": [1]}']
)
def test_foreign_cells_are_passed_over(drawn: Path, text: str) -> None:
    info = PngInfo()
    info.add_itxt("renma", text)
    Image.new("RGB", (8, 8)).save(drawn / "cells" / "a.png", pnginfo=info)
    Image.new("RGB", (8, 8)).save(drawn / "cells" / "b.png")
    (drawn / "cells" / "c.png").write_bytes(b"no picture")
    assert len(find(drawn)) == 4
