"""G4: a run's folder is anybody's - odd events and pictures break no report, nor does their size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from renma.core.errors import UserError
from renma.core.events import read_events
from renma.judge import report
from renma.judge.folder import RunRecord
from renma.judge.report import page, sentences
from renma.judge.report.scores import MOST_ATTRIBUTES, MOST_CHECKPOINTS, MOST_MEASURES
from testbed import judged_run
from testbed.html_page import Page

FIRST, LAST = "lora/girl-step00000010.safetensors", "lora/girl.safetensors"
DEEP = "[" * 100_000
HUGE = 10**400


def make(folder: Path) -> Page:
    return Page(report.write_report(folder).read_text(encoding="utf-8"))


def add(folder: Path, kind: str, **data: Any) -> None:
    with (folder / "events.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"kind": kind, **data}) + "\n")


def deep_picture(path: Path, text: str = DEEP) -> None:
    info = PngInfo()
    info.add_itxt("renma", text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)


ODD = ("x", [1], {"a": 1}, True, None, 1e30, -1e30, float("nan"), float("inf"), HUGE)


@pytest.mark.parametrize("odd", ODD, ids=lambda value: str(value)[:8])
def test_odd_fields_of_events_are_left_out(finished: Path, odd: Any) -> None:
    """Every field that the report reads, with something else in it than it is made for."""
    add(finished, "started", plan={"pictures": 3, "seconds": odd, "steps": odd}, version=odd)
    add(finished, "finished", time=odd, seconds=odd, steps=odd, peak_memory_mib=odd)
    add(finished, "saved", step=odd, path=odd)
    add(finished, "saved", step=odd, path=LAST)
    add(finished, "step", step=odd, loss=odd, grad_norm=odd, lr=odd, max_norm=odd)
    add(finished, "step", step=21, loss=odd, grad_norm=odd, lr={"unet": odd}, max_norm=odd)
    add(finished, "validated", step=odd, loss=odd)
    add(finished, "sample", step=odd, index=odd, path="samples/20.png", prompt=odd, weight=odd)
    add(finished, "warned", text=odd)
    shown = make(finished)
    assert "step 10" in shown.text
    # two previews of the run itself, two training pictures, the newest preview
    assert shown.count("img") >= 5


@pytest.mark.parametrize("odd", ODD, ids=lambda value: str(value)[:8])
def test_odd_plans_and_times_give_no_row(finished: Path, odd: Any) -> None:
    add(finished, "started", plan=odd)
    add(finished, "finished", time=odd, seconds=odd)
    record = RunRecord.open(finished)
    about = page._about(record)
    assert not any(words.count("-") == 2 for words in about)
    rows = page._run_part(record)
    assert rows["plan"] == ([] if not isinstance(odd, dict) else rows["plan"])
    expected = [] if odd not in (1e30, -1e30) else rows["measured"]
    assert rows["measured"] == expected


def test_a_time_that_has_a_date_is_told(finished: Path) -> None:
    add(finished, "finished", time=86400.0 * 365, seconds=75.0)
    assert "1971-01-01" in page._about(RunRecord.open(finished))
    assert page._run_part(RunRecord.open(finished))["measured"] == [("Time", "1 min 15 s")]


@pytest.mark.parametrize("odd", ["x", [1], True, 1.5, -1, HUGE])
def test_a_step_that_is_none_is_not_known(finished: Path, odd: Any) -> None:
    log = finished / "events.jsonl"
    rows = [row for row in log.read_text().splitlines() if '"saved"' not in row]
    log.write_text("\n".join(rows) + "\n")
    add(finished, "saved", step=odd, path=FIRST)
    found = {one.path.name: one.step for one in RunRecord.open(finished).checkpoints()}
    assert found == {"girl-step00000010.safetensors": None, "girl.safetensors": 20}


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "\ud800"])
def test_paths_that_no_file_can_have_are_none(finished: Path, path: str) -> None:
    assert RunRecord.open(finished).inside(path) is None


def test_lines_that_are_no_json_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text("\n".join([DEEP, "1" * 5000, '{"kind', '{"kind": "step"}', "[]"]))
    assert list(read_events(log)) == [{"kind": "step"}]


def test_half_a_sign_breaks_no_page(finished: Path) -> None:
    add(finished, "warned", text="before \ud83d after")
    assert "before ? after" in make(finished).text


@pytest.mark.parametrize("text", [DEEP, '{"prompts": 3}', '{"prompts": [{"kind": 1}]}', "1" * 5000])
def test_a_grid_with_odd_words_is_shown_without_them(finished: Path, text: str) -> None:
    deep_picture(finished / "grid3.png", text)
    shown = make(finished)
    assert "grid3.png" in shown.text
    assert "prompts" not in {one.get("class") for one in shown.all("ul")}


@pytest.mark.parametrize("levels", [600, 900, 100_000])
def test_a_cell_nested_deeply_is_passed_over(finished: Path, levels: int) -> None:
    """Also where it can be read, but not be written again."""
    judged_run.write(finished)
    for prompt in ("aa12, smile", "person, smile"):
        judged_run.cell(finished, prompt, 1, "grey")
        judged_run.cell(finished, prompt, 1, "red", finished / FIRST)
    inner = "[" * levels + "]" * levels
    deep_picture(finished / "cells" / "a.png", DEEP)
    deep_picture(finished / "cells" / "b.png", f'{{"prompt": {{}}, "loras": [], "x": {inner}}}')
    alts = [str(one["alt"]) for one in make(finished).all("img")]
    assert sum(words.startswith("base model: ") for words in alts) == 2


def endless() -> dict[str, Any]:
    """A score of more of everything than a page can hold."""
    word = "<" * 5000
    names = [f"m{n}" for n in range(100)]
    rows = [
        judged_run.checkpoint(f"lora/{n}.safetensors", n, 0.5, **dict.fromkeys(names, 0.5 + n))
        | {"label": f"{n} {word}"}
        for n in range(500)
    ]
    best = judged_run.checkpoint(LAST, 500, 0.9, **dict.fromkeys(names, 1e99))
    return {
        "checkpoints": [*rows, best],
        "best": LAST,
        "measures": {name: {"title": name + word, "help": word} for name in names},
        "attributes": {f"{n} {word}": {"label": word, "likeness": 1e99} for n in range(300)},
        "verdict": [f"{n} {word}" for n in range(100)],
        "advice": [f"{n} {word}" for n in range(200)],
        "encoder": word,
        "state": word,
    }


def test_endless_scores_and_tags_keep_the_page_small_and_say_what_is_left_out(
    finished: Path,
) -> None:
    judged_run.write(finished, **endless())
    word = "<" * 5000
    tag = {"tag": word, "share": 1e99, "distance": 1e99}
    tags = {"trigger": word, "absorbed": [tag] * 50, "drifted": [tag] * 60}
    lists = {"sentences": [word] * 70, "advice": [word] * 80}
    (finished / "tags.json").write_text(json.dumps(tags | lists))
    shown = make(finished)
    assert (finished / "report.html").stat().st_size < page.LARGEST - 4_500_000
    most = sentences.MOST
    for text in (
        f"And {100 - most} more in score.json.", f"And {200 - most} more in score.json.",
        f"And {70 - most} more in tags.json.", f"And {80 - most} more in tags.json.",
        f"Not shown: {501 - MOST_CHECKPOINTS} more checkpoints, {100 - MOST_MEASURES} more measures",
        f", {300 - MOST_ATTRIBUTES} more attributes; score.json has them.",
        "Not shown: 26 more absorbed tags, 36 more drifted tags; tags.json has them.",
    ):  # fmt: skip
        assert text in shown.text, text
    assert "<" * 2001 not in shown.text
    assert "(5000 signs)" in shown.text
    # the best one stands behind 500 others and is shown all the same
    assert "step 500" in shown.text


def test_what_fits_is_shown_whole(finished: Path) -> None:
    judged_run.write(finished)
    shown = make(finished)
    assert "Not shown" not in shown.text
    assert "more in score.json" not in shown.text


def test_a_page_that_would_be_too_large_is_refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(page.render(RunRecord.open(finished)).encode())
    monkeypatch.setattr(page, "LARGEST", size + 1)
    make(finished)
    (finished / "report.html").unlink()
    monkeypatch.setattr(page, "LARGEST", size)
    with pytest.raises(UserError, match="would be"):
        make(finished)
    assert not (finished / "report.html").exists()
