"""Grids: the right change in the right cell, the same noise everywhere, the base beside it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renma.config.adapter import Lora
from renma.config.run_tasks import GridOptions
from renma.core.errors import UserError
from renma.engine.network import Network
from renma.engine.sample import Shot, draw
from renma.formats import safetensors
from renma.judge import axes, grid
from renma.judge.folder import Checkpoint, RunRecord
from renma.judge.paint import Cell, EnginePainter


def test_axes_change_one_thing_each() -> None:
    start = Cell(Shot("p", seed=1))
    file = Checkpoint(Path("a.safetensors"), 3, "step 3")
    changed = [
        (axes.checkpoint([file]), "step 3", replace(start, checkpoint=file.path)),
        (axes.weight([0.5]), "weight 0.5", replace(start, unet=0.5, text_encoder=0.5)),
        (axes.prompt(["q"]), "q", replace(start, shot=replace(start.shot, prompt="q"))),
        (axes.seed([7]), "seed 7", replace(start, shot=replace(start.shot, seed=7))),
        (axes.scale([4.5]), "cfg 4.5", replace(start, shot=replace(start.shot, scale=4.5))),
    ]
    for axis, label, cell in changed:
        (value,) = axis.values
        assert value.label == label
        assert value.change(start) == cell
    assert axes.weight([0]).values[0].label == "base model"


def test_pages_are_z_rows_y_columns_x(painter: Any) -> None:
    fake = painter(lambda cell: (cell.shot.seed, int(cell.shot.scale), int(cell.shot.prompt)))
    pages = grid.draw(
        fake, Cell(Shot("0")), axes.seed([1, 2, 3]), axes.scale([10, 20]), axes.prompt(["5", "6"])
    )
    seen = [[[p.getpixel((0, 0)) for p in row] for row in page] for page in pages]
    assert seen == [[[(s, c, p) for s in (1, 2, 3)] for c in (10, 20)] for p in (5, 6)]


def test_standard_grid_of_a_run(finished: Path, painter: Any, lines: Any) -> None:
    fake = painter()
    grid.checkpoint_grid(RunRecord.open(finished), fake, lines, weights=[0.7, 0.3])
    assert {c.shot.seed for c in fake.asked} == {fake.asked[0].shot.seed}
    assert {(c.shot.scale, c.shot.steps) for c in fake.asked} == {(4.0, 3)}
    assert {c.unet for c in fake.asked} == {c.text_encoder for c in fake.asked} == {0.0, 0.3, 0.7}
    # 3 prompts, 2 checkpoints, 3 weights
    assert len(fake.asked) == len(set(fake.asked)) == 18
    with Image.open(finished / "grid.png") as picture:
        about = json.loads(picture.info["renma"])
    assert about["x"] == ["base model", "weight 0.3", "weight 0.7"]
    assert about["y"] == ["step 10", "last (step 20)"]
    assert about["prompts"] == [
        {"kind": "with trigger", "text": "aa12, smile"},
        {"kind": "without trigger", "text": "person, smile"},
        {"kind": "with trigger", "text": "aa12, wink"},
    ]


def test_many_checkpoints_are_thinned_and_it_is_said(
    finished: Path, painter: Any, lines: Any
) -> None:
    for epoch in range(1, 20):
        copy = finished / f"lora/girl-{epoch:06d}.safetensors"
        shutil.copy(finished / "lora/girl.safetensors", copy)
    fake = painter()
    grid.checkpoint_grid(RunRecord.open(finished), fake, lines)
    shown = dict.fromkeys(c.checkpoint.name for c in fake.asked)
    assert len(shown) == grid.MOST_CHECKPOINTS
    assert "girl.safetensors" in shown
    assert any("6 of 21 checkpoints" in line for line in lines.lines)


def test_prompts_given_and_signs_without_shape(
    finished: Path, painter: Any, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = painter()
    monkeypatch.setattr(grid, "open_painter", lambda folder, report: fake)
    out = finished / "mine.png"
    grid.run(GridOptions(folder=finished, prompts=("aa12, 笑顔", "cat"), out=out), lines)
    assert {c.shot.prompt for c in fake.asked} == {"aa12, 笑顔", "cat"}
    assert out.exists()
    assert not (finished / "grid.png").exists()
    assert any("笑顔" in line for line in lines.lines)


def test_nothing_to_draw_is_said_before_the_model_is_loaded(finished: Path, lines: Any) -> None:
    text = (finished / "run.toml").read_text()
    (finished / "run.toml").write_text(text.replace("_prompts", "_prompts = []\n#"))
    with pytest.raises(UserError, match="no prompt"):
        grid.run(GridOptions(folder=finished), lines)


def test_preview_prompts_stand_in_for_judge_prompts(
    finished: Path, painter: Any, lines: Any
) -> None:
    text = (finished / "run.toml").read_text().replace("_prompts", "_prompts = []\n#")
    text = text.replace("[sample]", '[sample]\nprompts = ["aa12, cat --s 9 --n dog"]')
    (finished / "run.toml").write_text(text)
    fake = painter()
    grid.checkpoint_grid(RunRecord.open(finished), fake, lines)
    assert {c.shot.prompt for c in fake.asked} == {"aa12, cat"}


def test_engine_paints_base_at_zero_and_leaves_no_trace(
    mame: Any, tmp_path: Path, lines: Any
) -> None:
    network = Network.fresh(mame, Lora(rank=1), seed=0, parts=("unet",))
    noise = torch.Generator().manual_seed(1)
    tensors = {
        name: torch.randn(t.shape, generator=noise) * 0.3 if ".lora_" in name else t
        for name, t in network.tensors().items()
    }
    file = tmp_path / "strong.safetensors"
    safetensors.save(file, tensors, {})
    shots = [Shot("person, smile", width=64, height=64, seed=s, steps=2) for s in (1, 2)]
    cells = [Cell(s, f, w, w) for s in shots for f, w in ((None, 1.0), (file, 0.0), (file, 1.0))]
    pixels = [np.asarray(p) for p in EnginePainter(mame, lines).paint(cells)]
    for shot, (base, zero, full) in zip(shots, (pixels[:3], pixels[3:]), strict=True):
        assert (base == zero).all()
        assert (base != full).any()
        alone = np.asarray(draw(mame, [shot])[0]).astype(int)
        # afterwards the model is the base again; another batch size may round differently
        assert abs(alone - base).max() <= 1
    done = [data["done"] for kind, data in lines.events if kind == "sampling"]
    assert done == [2, 4]
    assert {data["total"] for _, data in lines.events} == {4}
