"""The report: one file, nothing outside, nothing executed, everything in it."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from renma.config import Run, load_run
from renma.config.run_tasks import ReportOptions
from renma.config.schedule import CosineWithRestarts
from renma.core.errors import UserError
from renma.judge import report
from renma.judge.folder import RunRecord
from renma.judge.settings import differences

HOSTILE = '</td><script>alert(1)</script><img src=x onerror="alert(2)">'
VOID = {"meta", "img", "br", "input", "line", "polyline", "link"}


class Page(HTMLParser):
    """Collects tags, attributes and text; fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def make(folder: Path) -> Page:
    return Page(report.write_report(folder).read_text(encoding="utf-8"))


def add_events(folder: Path, *events: dict[str, Any]) -> None:
    with (folder / "events.jsonl").open("a", encoding="utf-8") as log:
        log.writelines(json.dumps(event) + "\n" for event in events)


def add_score(folder: Path, **changes: Any) -> None:
    row = {"label": "step 10", "path": "lora/a", "likeness": 0.9, "leakage": 0.1, "merit": 0.85}
    result = {
        "likeness": 0.923, "leakage": 0.11, "base_likeness": 0.3, "base_leakage": 0.08,
        "best": "lora/a", "checkpoints": [row], "verdict": ["Splendid."],
        "attributes": {"hair": {"label": "pink", "likeness": 1.0, "leakage": None,
                                "base_likeness": 0.0, "base_leakage": 0.0}},
    } | changes  # fmt: skip
    (folder / "score.json").write_text(json.dumps(result))


def test_everything_is_in_the_page(finished: Path) -> None:
    add_score(finished)
    Image.new("RGB", (900, 500), "red").save(finished / "grid.png")
    page = make(finished)
    file = finished / "lora/girl.safetensors"
    for text in (
        "girl", "trigger aa12", "20 steps", "92 %", "11 %", "base model 8 %", "Splendid.", "best",
        "aa12, smile", "step 10", "aa12, one", "one.png", "bucket 64×64", "1 min 15 s", "512 MiB",
        "optimizer.learning_rate", "0.001", "0.0001", "schedule.name", "cosine",
        "[sample]", hashlib.sha256(file.read_bytes()).hexdigest(), f"{file.stat().st_size} bytes",
        "lora/girl-step00000010.safetensors", "ss_steps", "torch", "Python",
    ):  # fmt: skip
        assert text in page.text, text
    assert sum(tag == "svg" for tag, _ in page.tags) == 2
    # hero, 2 previews, 2 training pictures, grid
    assert sum(tag == "img" for tag, _ in page.tags) == 6


def test_nothing_outside_and_nothing_to_execute(finished: Path) -> None:
    add_score(finished)
    page = make(finished)
    assert "script" not in {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "form", "base", "a"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action"}:
                assert (value or "").startswith("data:image/webp;base64,")
    policy = next(a for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert "default-src 'none'" in str(policy["content"])
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"url\(|@import|https?://", text)
    assert "prefers-color-scheme" in text


def test_hostile_text_stays_text(finished: Path) -> None:
    caption = next((finished / "pictures").rglob("one.txt"))
    caption.write_text(HOSTILE)
    toml = (finished / "run.toml").read_text().replace('trigger = "aa12"', f"title = '{HOSTILE}'")
    (finished / "run.toml").write_text(toml)
    numbers = {"x": np.zeros(1, np.float32)}
    save_file(numbers, finished / "lora/girl.safetensors", {HOSTILE: HOSTILE})
    row = {"kind": "sample", "step": 20, "path": "samples/20.png", "prompt": HOSTILE, "index": 1}
    add_events(finished, row, {"kind": "warned", "text": HOSTILE})
    add_score(
        finished,
        verdict=[HOSTILE],
        attributes={
            HOSTILE: {
                "label": HOSTILE,
                "likeness": "<b>",
                "leakage": 0,
                "base_likeness": 0,
                "base_leakage": 0,
            }
        },
    )
    page = make(finished)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any("onerror" in attributes for _, attributes in page.tags)
    # title, heading, metadata name and value, caption, prompt, warning, verdict, label, settings
    assert page.text.count(HOSTILE) >= 9
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
    assert not [tag for tag, _ in page.tags if tag in {"svg", "img"}]


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


def test_unscored_runs_say_so_and_show_no_numbers(finished: Path) -> None:
    nothing = dict.fromkeys(("likeness", "leakage", "base_likeness", "base_leakage", "best"))
    add_score(finished, **nothing, checkpoints=[], attributes={}, verdict=["Not scored: because."])
    page = make(finished)
    assert "Not scored: because." in page.text
    assert " %" not in page.text.split("Previews by step")[0]


def test_a_broken_score_is_said(finished: Path) -> None:
    (finished / "score.json").write_text("{")
    with pytest.raises(UserError, match="renma judge"):
        make(finished)


def test_broken_and_foreign_pictures_are_not_shown(finished: Path) -> None:
    (finished / "samples/20.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 8)).save(finished.parent / "private.png")
    row = {"kind": "sample", "step": 20, "path": "../private.png", "prompt": "p", "index": 5}
    add_events(finished, row)
    before = len(RunRecord.open(finished).all("sample"))
    assert before == 3
    page = make(finished)
    assert "is not a picture that can be read" in page.text
    # 1 preview, 2 training pictures
    assert sum(tag == "img" for tag, _ in page.tags) == 3


def test_previews_are_thinned_to_first_and_last(finished: Path) -> None:
    row = {"kind": "sample", "path": "samples/20.png", "prompt": "p", "index": 0}
    add_events(finished, *({**row, "step": step} for step in range(100, 200)))
    steps, (only,) = report._previews(RunRecord.open(finished))
    assert (len(steps), steps[0], steps[-1]) == (report.MOST_STEPS, 10, 199)
    assert len(only.pictures) == len(steps)


def test_a_resumed_run_counts_each_step_once(finished: Path) -> None:
    add_events(finished, {"kind": "step", "step": 20, "loss": None, "lr": {"unet": 1e-3}})
    loss, rates = report._charts(RunRecord.open(finished))
    assert loss.lines[0].path.count(",") == 19
    assert rates.lines[0].path.count(",") == 20


def test_the_home_folder_is_not_told(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(finished.parent))
    monkeypatch.setenv("USERPROFILE", str(finished.parent))
    text = (finished / "run.toml").read_text()
    (finished / "run.toml").write_text(text.replace('"pictures"', f"'{finished / 'gone'}'"))
    add_events(finished, {"kind": "warned", "text": f"look at {finished}/x"})
    numbers = {"x": np.zeros(1, np.float32)}
    save_file(numbers, finished / "lora/girl.safetensors", {"ss_folder": f"{finished}/y"})
    page = make(finished)
    assert str(finished.parent) not in page.text
    assert "look at ~/run/x" in page.text
    assert "~/run/gone" in page.text.replace("\\", "/")


def test_settings_that_differ(tmp_path: Path) -> None:
    assert differences(Run()) == []
    (tmp_path / "run.toml").write_text(
        "[optimizer]\nname = 'prodigy'\n[schedule]\nname = 'cosine_with_restarts'\nnum_cycles = 3\n"
        "[data]\nkeep_tokens = 2\n"
        "[[data.datasets]]\nkeep_tokens = 2\nbatch_size = 2\n[[data.datasets.subsets]]\nimage_dir = 'a'\nkeep_tokens = 3\n"
    )
    run = load_run(tmp_path / "run.toml")
    assert isinstance(run.schedule, CosineWithRestarts)
    found = {d.key: (d.value, d.default) for d in differences(run)}
    assert found == {
        "data.keep_tokens": ("2", "0"),
        "data.datasets[0].batch_size": ("2", "1"),
        "data.datasets[0].subsets[0].keep_tokens": ("3", "0"),
        "data.datasets[0].subsets[0].image_dir": ("a", "none"),
        "optimizer.name": ("prodigy", "adamw"),
        "schedule.name": ("cosine_with_restarts", "constant"),
        "schedule.num_cycles": ("3", ""),
    }
    assert all(d.help for d in differences(run))


def test_the_command_writes_the_page(finished: Path, lines: Any) -> None:
    report.run(ReportOptions(folder=finished), lines)
    assert (finished / "report.html").stat().st_size < 200_000
    assert str(finished / "report.html") in lines.lines[0]


def test_reports_need_no_torch() -> None:
    code = "import sys, renma.judge.report, renma.drawing.sheet; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
