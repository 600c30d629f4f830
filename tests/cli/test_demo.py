"""``renma demo``: what it leaves for the report besides training and judging. Rows B1, G4."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from renma.cli import demo, main
from renma.config._base import Section
from renma.config.run_tasks import DemoOptions
from renma.judge.folder import RunRecord
from renma.judge.report.lint import lint
from testbed import browser
from testbed.heard import Heard

STARTED = '{"kind": "started"}\n'
REALLY_DONE = ("renma.use.init", "renma.judge.report")


class Done(NamedTuple):
    """A demo without training: its folder, the names of its tasks, what it said."""

    folder: Path
    tasks: list[str]
    heard: Heard


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One demo for all tests here; pictures, lint and the report are real."""
    made = Done(tmp_path_factory.mktemp("demo") / "demo", [], Heard())
    real = demo._task

    def task(module: str, options: Section, report: Heard) -> None:
        made.tasks.append(module)
        if module in REALLY_DONE:
            real(module, options, report)
        elif module == "renma.cli.train":
            (options.out / "events.jsonl").write_text(STARTED)  # pyright: ignore
        elif module == "renma.judge.score":
            row = {"verdict": ["Use it."], "best": "lora/a.safetensors"}
            (options.folder / "score.json").write_text(json.dumps(row))  # pyright: ignore

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_task", task)
        demo.run(DemoOptions(out=made.folder), made.heard)
    return made


def test_lint_is_run_and_the_report_finds_its_answer(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = done.folder
    assert done.tasks[0] == "renma.use.init"
    assert done.tasks[-1] == "renma.judge.report"
    assert "14 pictures, 14 of them read now; nothing was found" in done.heard.lines
    kept = (folder / "lint.json").read_text()
    options = ["--resolution", "128", "--executor", "serial", "--json"]
    assert main(["prepare", "lint", str(folder / "train"), *options]) == 0
    assert capsys.readouterr().out == kept
    section = lint(RunRecord.open(folder), [])
    assert [(one.file, one.pictures, one.checks) for one in section.found] == [
        ("lint.json", 14, ())
    ]


@pytest.mark.skipif(browser.program() is None, reason=browser.MISSING)
def test_the_report_opens_in_a_real_browser_with_pictures_in_it(done: Done, tmp_path: Path) -> None:
    """On a desk and on a phone: quiet, no wider than the window, and not blank."""
    with browser.started(tmp_path / "profile") as chromium:
        for width in (1280, 390):
            page = chromium.open(done.folder / "report.html", width)
            assert page.console == []
            assert page.value("[innerWidth, document.documentElement.scrollWidth]") == [width] * 2
            page.value("document.querySelector('#data').scrollIntoView()")
            shown = Image.open(io.BytesIO(page.picture())).convert("RGB")
            assert shown.size == (width, 900)
            assert len(shown.getcolors(shown.width * shown.height) or []) > 1000
