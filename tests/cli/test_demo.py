"""``renma demo``: what it leaves for the report besides training and judging. Rows B1, G4."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from renma.cli import demo, main
from renma.config._base import Section
from renma.config.run_tasks import DemoOptions
from renma.judge.folder import RunRecord
from renma.judge.report.lint import lint
from testbed.heard import Heard

STARTED = '{"kind": "started"}\n'


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tasks that a demo does; of those, only the pictures are really made."""
    names: list[str] = []
    real = demo._task

    def task(module: str, options: Section, report: Heard) -> None:
        names.append(module)
        if module == "renma.use.init":
            real(module, options, report)
        elif module == "renma.cli.train":
            (options.out / "events.jsonl").write_text(STARTED)  # pyright: ignore
        elif module == "renma.judge.score":
            row = {"verdict": ["Use it."], "best": "lora/a.safetensors"}
            (options.folder / "score.json").write_text(json.dumps(row))  # pyright: ignore

    monkeypatch.setattr(demo, "_task", task)
    return names


def test_lint_is_run_and_the_report_finds_its_answer(
    tmp_path: Path, done: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, heard = tmp_path / "demo", Heard()
    demo.run(DemoOptions(out=folder), heard)
    assert done[0] == "renma.use.init"
    assert done[-1] == "renma.judge.report"
    assert "14 pictures, 14 of them read now; nothing was found" in heard.lines
    kept = (folder / "lint.json").read_text()
    options = ["--resolution", "128", "--executor", "serial", "--json"]
    assert main(["prepare", "lint", str(folder / "train"), *options]) == 0
    assert capsys.readouterr().out == kept
    section = lint(RunRecord.open(folder), [])
    assert [(one.file, one.pictures, one.checks) for one in section.found] == [
        ("lint.json", 14, ())
    ]
