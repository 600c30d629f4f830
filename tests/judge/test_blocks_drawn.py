"""``renma blocks`` with the embedded model: what is drawn is what the block weights mean. F2, F7."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from renma.cli.app import main
from renma.config.blocks_task import BlocksOptions
from renma.core.events import Silent
from renma.drawing.painter import Cells
from renma.judge.blocks import examine, open_subject
from renma.judge.blocks.effect import Effects
from testbed.lora_files import POINT, TEXT, Layer, lora, write

PROMPT = "person, smile --w 64 --h 64 --n blurry"


def strong(key: str) -> Layer:
    """Returns a layer whose update is seen after two steps."""
    layer = lora(key, 4, 4.0, 1)
    return {**layer, "lora_up.weight": layer["lora_up.weight"] * 20}


def effects(file: Path, cells: Path) -> Effects:
    options = BlocksOptions(
        lora=file, model="mame", prompt=PROMPT, seeds=2, steps=2, device="cpu", out=cells / "p.html"
    )
    painter = Cells(cells, Silent(), device="cpu")
    return examine(options, open_subject(options), painter, Silent())[1]


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_layers_of_one_block_are_the_whole_lora(tmp_path: Path) -> None:
    """Alone it is the whole LoRA to the bit, and switched off it is the base model."""
    write(tmp_path / "a.safetensors", {POINT: strong(POINT)})
    found = effects(tmp_path / "a.safetensors", tmp_path)
    (block,) = [effect for effect in found.blocks if effect.row.drawn]
    assert block.row.name == "M00"
    assert block.off is not None
    assert block.only is not None
    assert same(block.only.pictures, found.whole.pictures)
    assert same(block.off.pictures, found.base)
    assert not same(found.base, found.whole.pictures)
    assert block.only.from_base.percent == found.whole.from_base.percent > 0


def test_each_of_two_blocks_is_a_file_of_its_own(tmp_path: Path) -> None:
    """Switching one off draws what a file without its layers draws."""
    layers = {POINT: strong(POINT), TEXT: strong(TEXT)}
    write(tmp_path / "both.safetensors", layers)
    both = effects(tmp_path / "both.safetensors", tmp_path)
    rows = {effect.row.name: effect for effect in both.blocks if effect.row.drawn}
    assert list(rows) == ["BASE", "M00"]
    for label, key in (("BASE", TEXT), ("M00", POINT)):
        write(tmp_path / f"{label}.safetensors", {key: layers[key]})
        alone = effects(tmp_path / f"{label}.safetensors", tmp_path)
        (other,) = set(rows) - {label}
        for drawn in (rows[label].only, rows[other].off):
            assert drawn is not None
            for one, expected in zip(drawn.pictures, alone.whole.pictures, strict=True):
                assert np.abs(one.astype(int) - expected.astype(int)).max() <= 1, label
    assert not same(rows["BASE"].only.pictures, rows["M00"].only.pictures)  # pyright: ignore


def test_the_command_draws_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "a.safetensors", {POINT: strong(POINT)})
    words = ["blocks", "a.safetensors", "--model", "mame", "--prompt", PROMPT, "--seeds", "1"]
    words += ["--steps", "1", "--device", "cpu", "--json"]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert Path("a-blocks.html").is_file()
    assert Path("a-blocks.png").is_file()
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.png")}
    assert len(cells) == 4

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr("renma.drawing.painter.draw", refuse)
    assert main([*words, "--threshold", "5"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["whole"]["from_base"]["mean"] == first["whole"]["from_base"]["mean"]
    assert {path: path.stat().st_mtime_ns for path in cells} == cells
