"""G4: the report - one file, nothing outside, nothing executed, everything in it."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import save_file

from renma.config.run_tasks import ReportOptions
from renma.core.errors import UserError
from renma.judge import report
from renma.judge.folder import RunRecord
from renma.judge.inline import inline
from renma.judge.report import contact, curves, heroes, previews, sheets
from renma.judge.report.page import HERO, LARGEST
from testbed import judged_run
from testbed.html_page import Page

HOSTILE = '</td><script>alert(1)</script><img src=x onerror="alert(2)">'
ONLY_HERE = (
    "girl", "trigger aa12", "20 steps", "aa12, smile", "step 10", "aa12, one", "one.png",
    "bucket 64×64", "1 min 15 s", "512 MiB", "optimizer.learning_rate", "0.001", "0.0001",
    "schedule.name", "cosine", "[sample]", "lora/girl-step00000010.safetensors", "ss_steps",
    "torch", "Python", "renma prepare lint pictures --resolution 64 --json > lint.json", "a page", "a caption",
    "Where the LoRA acts", "smile comes by itself", "82 %", "frown", "0.42", "0.20",
)  # fmt: skip

ROOT = "/" + "root"
"""The home of a machine's keeper."""


def make(folder: Path) -> Page:
    return Page(report.write_report(folder).read_text(encoding="utf-8"))


def add_events(folder: Path, *events: dict[str, Any]) -> None:
    with (folder / "events.jsonl").open("a", encoding="utf-8") as log:
        log.writelines(json.dumps(event) + "\n" for event in events)


def add_tags(folder: Path, **changes: Any) -> None:
    row = {
        "trigger": "aa12",
        "absorbed": [{"tag": "smile", "share": 0.82, "alone": 0.7, "base": 0.12}],
        "drifted": [{"tag": "frown", "distance": 0.42, "base_noise": 0.2}],
        "sentences": ["smile comes by itself"],
    } | changes
    (folder / "tags.json").write_text(json.dumps(row), encoding="utf-8")


def add_sheets(folder: Path) -> None:
    Image.new("RGB", (900, 500), "red").save(folder / "blocks.png")
    Image.new("RGB", (900, 500), "red").save(folder / "grid-seeds.png")
    about = PngInfo()
    about.add_itxt("renma", json.dumps({"prompts": [{"kind": "a page", "text": "a caption"}]}))
    Image.new("RGB", (900, 500), "red").save(folder / "grid.png", pnginfo=about)


def test_everything_is_in_the_page(finished: Path) -> None:
    add_sheets(finished)
    add_tags(finished)
    page = make(finished)
    file = finished / "lora/girl.safetensors"
    sizes = hashlib.sha256(file.read_bytes()).hexdigest(), f"{file.stat().st_size} bytes"
    for text in (*ONLY_HERE, *sizes):
        assert text in page.text, text
    # loss, learning rate
    assert page.count("svg") == 2
    # newest preview, 2 previews, 2 training pictures, 2 grids, blocks
    assert page.count("img") == 8


def test_contents_lead_to_every_section(finished: Path) -> None:
    add_sheets(finished)
    add_tags(finished)
    judged_run.write(finished)
    page = make(finished)
    anchors = {str(one["id"]) for one in page.all("section")}
    links = [str(one["href"]) for one in page.all("a")]
    assert sorted(links) == sorted(f"#{anchor}" for anchor in anchors)
    assert len(links) == 9
    for name in ("score.json", "tags.json", "grid.png", "grid-seeds.png", "blocks.png"):
        (finished / name).unlink()
    page = make(finished)
    assert {f"#{one['id']}" for one in page.all("section")} == {
        one["href"] for one in page.all("a")
    }
    assert "#tags" not in {one["href"] for one in page.all("a")}


def test_nothing_outside_and_nothing_to_execute(finished: Path) -> None:
    judged_run.write(finished)
    add_sheets(finished)
    page = make(finished)
    assert "script" not in {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "form", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "srcset", "action"}:
                assert (value or "").startswith("data:image/webp;base64,")
            if name == "href":
                assert (value or "").startswith("#")
    policy = next(a for a in page.all("meta") if a.get("http-equiv"))
    assert "default-src 'none'" in str(policy["content"])
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"url\(|@import|https?://", text)
    for medium in ("prefers-color-scheme", "@media print"):
        assert medium in text


def test_hostile_text_stays_text(finished: Path) -> None:
    caption = next((finished / "pictures").rglob("one.txt"))
    caption.write_text(HOSTILE)
    toml = (finished / "run.toml").read_text().replace('trigger = "aa12"', f"title = '{HOSTILE}'")
    (finished / "run.toml").write_text(toml)
    numbers = {"x": np.zeros(1, np.float32)}
    save_file(numbers, finished / "lora/girl.safetensors", {HOSTILE: HOSTILE})
    row = {"kind": "sample", "step": 20, "path": "samples/20.png", "prompt": HOSTILE, "index": 1}
    add_events(finished, row, {"kind": "warned", "text": HOSTILE})
    label = {"label": HOSTILE, "likeness": "<b>", "leakage": 0}
    measures = {"likeness": {"title": HOSTILE, "better": HOSTILE, "help": HOSTILE}}
    judged_run.write(
        finished, verdict=[HOSTILE, f"`{HOSTILE}`"], advice=[HOSTILE], state=HOSTILE,
        attributes={HOSTILE: label}, measures=measures, encoder=HOSTILE,
    )  # fmt: skip
    tag = {"tag": HOSTILE, "share": HOSTILE}
    add_tags(finished, trigger=HOSTILE, absorbed=[tag], drifted=[tag], sentences=[HOSTILE])
    finding = {"code": HOSTILE, "picture": HOSTILE, "text": HOSTILE, "remedy": HOSTILE}
    answer = {"folder": HOSTILE, "pictures": 1, "findings": [finding]}
    (finished / "lint.json").write_text(json.dumps(answer))
    page = make(finished)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any("onerror" in attributes for _, attributes in page.tags)
    # title, heading, metadata twice, caption, prompt, warning, settings twice, verdict twice,
    # advice, state, attribute twice, measure thrice, encoder, tags four times, lint thrice
    assert page.text.count(HOSTILE) >= 24
    raw = (finished / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in raw
    assert html.escape(HOSTILE, quote=False).split('"')[0] in raw


def test_a_bare_folder_still_gives_a_report(finished: Path) -> None:
    for name in ("samples", "lora", "pictures"):
        shutil.rmtree(finished / name)
    log = finished / "events.jsonl"
    log.write_text(log.read_text().splitlines()[0] + "\n")  # begun, and killed in the first step
    page = make(finished)
    assert "Not judged yet" in page.text
    assert "No LoRA file" in page.text
    assert "The pictures cannot be shown" in page.text
    assert not page.count("svg") + page.count("img")


def test_no_report_is_written_where_nothing_was_trained(finished: Path) -> None:
    """An empty page would look like a result."""
    shutil.rmtree(finished / "lora")
    (finished / "events.jsonl").write_text('{"kind": "warned", "text": "no GPU"}\n')
    with pytest.raises(UserError, match=r"nothing was trained there yet. First: renma train "):
        report.write_report(finished)
    assert not (finished / "report.html").exists()


def test_the_report_of_a_project_lies_in_its_run(finished: Path, lines: Any) -> None:
    project = finished.parent / "mine"
    (project / "runs").mkdir(parents=True)
    shutil.copy(finished / "run.toml", project)
    shutil.copytree(finished, project / "runs" / "001")
    report.run(ReportOptions(folder=project), lines)
    assert lines.lines == [f"report: {project / 'runs' / '001' / 'report.html'}"]
    assert not (project / "report.html").exists()


def test_broken_and_foreign_pictures_are_not_shown(finished: Path) -> None:
    (finished / "samples/20.png").write_bytes(b"no picture")
    (finished / "grid.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 8)).save(finished.parent / "private.png")
    row = {"kind": "sample", "step": 20, "path": "../private.png", "prompt": "p", "index": 5}
    add_events(finished, row)
    before = len(RunRecord.open(finished).all("sample"))
    assert before == 3
    page = make(finished)
    assert page.text.count("is not a picture that can be read") == 3
    # 1 preview, 2 training pictures
    assert page.count("img") == 3


def test_previews_are_thinned_to_first_and_last(finished: Path) -> None:
    row = {"kind": "sample", "path": "samples/20.png", "prompt": "p", "weight": 0.5}
    rows = [
        {**row, "index": index, "step": step} for step in range(100, 200) for index in range(12)
    ]
    add_events(finished, *rows)
    found = previews.previews(RunRecord.open(finished))
    assert len(found.steps) == previews.MOST_STEPS
    assert (found.steps[0], found.steps[-1], found.all_steps) == (10, 199, 102)
    assert (len(found.rows), found.all_prompts) == (previews.MOST_PROMPTS, 12)
    assert all(len(one.pictures) == len(found.steps) for one in found.rows)
    assert found.rows[1].prompt == "p (weight 0.5)"
    assert "10 of 12 prompts at 8 of 102 steps." in make(finished).text


def test_curves_show_what_was_measured(finished: Path) -> None:
    norms = {"shortened": 1, "mean": 0.5, "largest": 0.9}
    add_events(
        finished,
        *({"kind": "step", "step": n, "loss": 0.1, "grad_norm": 0.2, "max_norm": norms} for n in (21, 22)),
        *({"kind": "validated", "step": step, "loss": 1 / step} for step in (5, 10, 20)),
    )  # fmt: skip
    found = {one.title: one for one in curves.charts(RunRecord.open(finished))}
    assert [one.name for one in found["Loss"].lines] == ["each step", "smoothed", "held out"]
    assert len(found["Loss"].lines[2].dots) == 3
    assert "held out: 0.2 at step 5, 0.05 at step 20" in found["Loss"].about
    rest = [title for title in found if title != "Loss"]
    assert rest == [
        "Learning rate",
        "Gradient norm",
        "Norms of the layers, before they were shortened",
    ]


def test_a_resumed_run_counts_each_step_once(finished: Path) -> None:
    add_events(finished, {"kind": "step", "step": 20, "loss": None, "lr": {"unet": 1e-3}})
    loss, rates = curves.charts(RunRecord.open(finished))
    assert loss.lines[0].path.count(",") == 19
    assert rates.lines[0].path.count(",") == 20


def test_home_folders_are_not_told(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(finished.parent))
    monkeypatch.setenv("USERPROFILE", str(finished.parent))
    text = (finished / "run.toml").read_text()
    (finished / "run.toml").write_text(text.replace('"pictures"', f"'{finished / 'gone'}'"))
    add_events(
        finished,
        {"kind": "warned", "text": f"look at {finished}/x"},
        {
            "kind": "warned",
            "text": rf"see C:\Users\Ann\loras and /home/bob/a, /Users/cy/b, {ROOT}/c",
        },
    )
    numbers = {"x": np.zeros(1, np.float32)}
    rows = {"ss_folder": f"{finished}/y", "ss_json": json.dumps(r"D:\Users\Dan\z")}
    save_file(numbers, finished / "lora/girl.safetensors", rows)
    add_tags(finished, sentences=[f"`{finished}`"])
    page = make(finished)
    raw = (finished / "report.html").read_text(encoding="utf-8")
    assert str(finished.parent) not in raw
    for name in ("Ann", "bob", "/Users/cy", "Dan", ROOT):
        assert name not in page.text, name
    assert "look at ~/run/x" in page.text
    assert r"see ~\loras and ~/a, ~/b, ~/c" in page.text
    assert "~/run/gone" in page.text.replace("\\", "/")


def noise(seed: int, side: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_bounds_of_pictures_add_up() -> None:
    """Base64 writes three bytes as four; 600 kB are left for the text."""
    pages = (sheets.MOST + 2) * sheets._BYTES
    drawn = previews.MOST_STEPS * previews.MOST_PROMPTS * previews._BYTES
    pairs = 2 * (heroes.WITH + heroes.WITHOUT) * heroes._BYTES
    newest = HERO * previews._BYTES
    data = 2 * contact.MOST * contact.BYTES
    pictures = pages + drawn + data + max(pairs, newest)
    assert pictures * 4 / 3 < LARGEST - 600_000


@pytest.mark.parametrize("most", [60_000, 10_000, 3_000])
def test_pictures_keep_within_their_bytes(most: int) -> None:
    picture = inline(noise(3, 300), 256, most)
    data = base64.b64decode(picture.uri.partition(",")[2])
    assert 0.4 * most < len(data) <= most
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.size == (picture.width, picture.height)


def test_the_worst_pictures_keep_the_page_small(finished: Path) -> None:
    """Noise cannot be compressed: nearly every bound in bytes is used up."""
    picture = noise(1, 520)
    for name in ("score.png", "blocks.png", *(f"grid-{n}.png" for n in range(8))):
        picture.save(finished / name)
    small = noise(2, 256)
    folder = next((finished / "pictures").iterdir())
    for number in range(37):
        small.save(folder / f"{number:02}.png")
        (folder / f"{number:02}.txt").write_text("word " * 2000)
    small.save(finished / "samples/20.png")
    row = {"kind": "sample", "path": "samples/20.png", "prompt": "p " * 300}
    add_events(finished, *({**row, "index": i % 12, "step": i // 12} for i in range(120)))
    add_events(finished, *({"kind": "warned", "text": f"{n} " * 500} for n in range(200)))
    judged_run.write(finished)
    page = make(finished)
    size = (finished / "report.html").stat().st_size
    assert 2_000_000 < size < LARGEST
    assert "Not shown: grid-6.png, grid-7.png" in page.text
    assert "and 140 more in events.jsonl" in page.text


@pytest.mark.parametrize(
    ("text", "what"),
    [("{", "is not JSON"), ("[]", "all of it"), ('{"absorbed": [{}]}', "absorbed.0.tag")],
)
def test_a_broken_audit_of_tags_is_said(finished: Path, text: str, what: str) -> None:
    (finished / "tags.json").write_text(text)
    with pytest.raises(UserError, match=what):
        make(finished)


def test_the_command_writes_the_page(finished: Path, lines: Any) -> None:
    report.run(ReportOptions(folder=finished), lines)
    assert (finished / "report.html").stat().st_size < 200_000
    assert str(finished / "report.html") in lines.lines[0]


def test_reports_need_no_torch() -> None:
    code = "import sys, renma.judge.report, renma.drawing.sheet; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
