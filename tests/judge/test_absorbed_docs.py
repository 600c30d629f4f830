"""What docs/captions.md says of `renma absorbed`: commands run, figures are those measured."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renma.cli import app
from testbed.lora_files import POINT, lora, write

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs/captions.md").read_text("utf-8").split("## What the LoRA absorbed")[1]
SECTION = SECTION.split("\n## ")[0]
TOML = """
[data]
train_folder = "pictures"
[sample]
steps = 1
[output]
name = "aa12"
trigger = "aa12"
"""


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh after-training\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


def test_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row G6: on a LoRA of one layer, with one step, on mame; the second time nothing is drawn."""
    monkeypatch.chdir(tmp_path)
    run = Path("mine/runs/001")
    (run / "lora").mkdir(parents=True)
    (run / "run.toml").write_text(TOML)
    write(run / "lora" / "aa12.safetensors", {POINT: lora(POINT, 2, 2.0, 1)})
    folder = run / "pictures" / "1_aa12 person"
    folder.mkdir(parents=True)
    for number in range(3):
        picture = np.full((64, 64, 3), 80 * number, np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("aa12, person")
    first, *_ = commands()
    assert len(commands()) > 1
    small = ["--pictures", "8", "--most", "0"]
    assert app.main([*first, "--tags", "blue background", *small]) == 0
    told = json.loads((run / "tags.json").read_text())
    assert told["trigger"] == "aa12"
    assert told["class_prompt"] == "person"
    assert len(told["absorbed"]) + len(told["unknown"]) == 1
    drawn = {path: path.stat().st_mtime_ns for path in (run / "cells").iterdir()}
    assert "sampling" in capsys.readouterr().out
    assert app.main([*first, "--tags", "blue background", *small, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert {path: path.stat().st_mtime_ns for path in (run / "cells").iterdir()} == drawn


def test_all_commands_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    asked = []
    room = SimpleNamespace(run=lambda options, report: asked.append(options))
    monkeypatch.setattr(app, "_room", lambda task: room)
    for words in commands():
        assert app.main(words) == 0, words
    assert len(asked) == len(commands())


def test_figures_are_those_that_were_measured() -> None:
    """Row G6: and what the trigger should have absorbed, it has."""
    measured = json.loads((ROOT / "benchmarks/results/absorbed.json").read_text("utf-8"))["tags"]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines()
             if line.startswith("| `")]  # fmt: skip
    assert {line[0].strip("`") for line in lines} == measured.keys()
    for tag, absorbed, answers, seen in lines:
        row = measured[tag.strip("`")]
        assert seen == f"{row['reader']['trigger']:.0%}".replace("%", " %")
        if isinstance(row["audit"], str):
            assert absorbed == row["audit"]
            continue
        for name, told in (("share", absorbed), ("answers", answers)):
            assert told == f"{row['audit'][name] * 100:.0f} %", tag
    for tag in ("pink hair", "tan skin", "glasses"):
        assert measured[tag]["audit"]["share"] > 0.6
    for tag in ("smile", "blue background"):
        assert measured[tag]["audit"]["share"] < 0.25
        assert measured[tag]["audit"]["answers"] > 0.5
