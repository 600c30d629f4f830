"""The page on blocks is real: its commands run, its options and pictures exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from renma.cli import app
from renma.config.blocks_task import BlocksOptions
from testbed.lora_files import POINT, lora, write

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "blocks.md").read_text(encoding="utf-8")
TOML = """
[data]
train_folder = "pictures"
[sample]
steps = 1
[judge]
trigger_prompts = ["aa12 --w 64 --h 64"]
[output]
name = "aa12"
"""


def commands(language: str) -> list[list[str]]:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert all(line[0] == "renma" for line in lines)
    return [line[1:] for line in lines]


def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows F2 and F7: on a LoRA of one layer, with one step."""
    monkeypatch.chdir(tmp_path)
    run = Path("mine/runs/001")
    (run / "lora").mkdir(parents=True)
    (run / "run.toml").write_text(TOML)
    write(run / "lora" / "aa12.safetensors", {POINT: lora(POINT, 2, 2.0, 1)})
    for words in commands("sh"):
        small = ["--width", "64", "--height", "64"] if words[0] == "sample" else []
        assert app.main([*words, *small]) == 0, words
    assert (run / "blocks.html").is_file()
    assert (run / "blocks.png").is_file()


def test_commands_for_large_models_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    room = SimpleNamespace(run=lambda options, report: asked.append(options))
    monkeypatch.setattr(app, "_room", lambda task: room)
    for words in commands("sh no-run"):
        assert app.main(words) == 0, words
    assert asked
    assert all(isinstance(options, BlocksOptions) for options in asked)


def test_options_and_pictures_exist() -> None:
    known = {
        "--" + (field.alias or name).replace("_", "-")
        for name, field in BlocksOptions.model_fields.items()
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", PAGE))
    assert named - known <= {"--blocks", "--n"}  # of `renma sample`, and of prompts
    assert {"--presets", "--seeds", "--threshold", "--json"} <= named
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (DOCS / link).exists(), link
