"""Grids: the right change in the right cell, the same noise everywhere, the base beside it (F1)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from renma.config.grid_task import GridOptions
from renma.core.errors import UserError
from renma.drawing.painter import Cells
from renma.judge import grid
from renma.judge.grid.differ import difference, white_level
from renma.judge.grid.plan import MOST_CHECKPOINTS, planned
from testbed.painted import Plain


def draw(folder: Path, lines: Any, painter: Plain | None = None, **given: Any) -> Plain:
    """Draws a grid in plain colours."""
    options = GridOptions(**{"sources": (folder,), **given})
    painter = painter or Plain(folder / "plain")
    grid.draw_grid(planned(options, lines), painter, lines)
    return painter


def about(path: Path) -> dict[str, Any]:
    with Image.open(path) as picture:
        return json.loads(picture.info["renma"])


def test_standard_grid_of_a_run(finished, lines):
    """Every checkpoint at every weight and the base model, with and without the trigger."""
    fake = draw(finished, lines, weights=(0.7, 0.3))
    assert len({one.prompt.seed for one in fake.asked}) == 1
    assert {(one.prompt.scale, one.prompt.steps) for one in fake.asked} == {(4.0, 3)}
    # 3 prompts, 2 checkpoints, 2 weights, and the base model once a prompt
    assert len(fake.asked) == len({one.digest() for one in fake.asked}) == 15
    weights = [(lora.unet, lora.text_encoder) for one in fake.asked for lora in one.loras]
    assert sorted(set(weights)) == [(0.3, 0.3), (0.7, 0.7)]
    told = about(finished / "grid.png")
    assert told["x"] == ["base model", "weight 0.3", "weight 0.7"]
    assert told["y"] == ["step 10", "last (step 20)"]
    assert told["prompts"] == [
        {"kind": "with trigger", "text": "aa12, smile"},
        {"kind": "without trigger", "text": "person, smile"},
        {"kind": "with trigger", "text": "aa12, wink"},
    ]


def test_sheets_are_z_rows_y_columns_x(finished, lines, monkeypatch):
    def colour(one):
        return (one.prompt.seed, int(one.prompt.scale), one.prompt.steps)

    fake = Plain(finished / "plain", colour)
    shown: list[Any] = []
    monkeypatch.setattr(
        "renma.judge.grid.sheets.sheet",
        lambda rows, **_: (
            shown.append([[p.getpixel((0, 0)) for p in row] for row in rows]) or rows[0][0]
        ),
    )
    draw(finished, lines, fake, x="seed=1,2,3", y="cfg=10,20", z="steps=5,6", prompt="a")
    assert shown == [[[(s, c, p) for s in (1, 2, 3)] for c in (10, 20)] for p in (5, 6)]


def test_many_checkpoints_are_thinned_and_it_is_said(finished, lines):
    for epoch in range(1, 20):
        numbers = load_file(finished / "lora/girl.safetensors")
        numbers = {name: value + epoch for name, value in numbers.items()}
        save_file(numbers, finished / f"lora/girl-{epoch:06d}.safetensors")
    fake = draw(finished, lines, weights=(1.0,), prompts=("a",))
    shown = dict.fromkeys(lora.name for one in fake.asked for lora in one.loras)
    assert len(shown) == MOST_CHECKPOINTS
    assert "girl" in shown
    assert any("6 of 21 checkpoints" in line for line in lines.lines)


def test_prompts_given_and_signs_without_shape(finished, lines):
    out = finished / "mine.png"
    fake = draw(finished, lines, prompts=("aa12, 笑顔", "cat"), out=out)
    assert {one.prompt.text for one in fake.asked} == {"aa12, 笑顔", "cat"}
    assert about(out)["prompts"][0] == {"kind": "with trigger", "text": "aa12, 笑顔"}
    assert not (finished / "grid.png").exists()
    assert any("笑顔" in line for line in lines.lines)


def test_nothing_to_draw_is_said_before_the_model_is_loaded(finished, lines):
    text = (finished / "run.toml").read_text()
    (finished / "run.toml").write_text(text.replace("_prompts", "_prompts = []\n#"))
    with pytest.raises(UserError, match="no prompt"):
        grid.run(GridOptions(sources=(finished,)), lines)


def test_preview_prompts_stand_in_for_judge_prompts(finished, lines):
    text = (finished / "run.toml").read_text().replace("_prompts", "_prompts = []\n#")
    text = text.replace("[sample]", '[sample]\nprompts = ["aa12, cat --s 9 --n dog"]')
    (finished / "run.toml").write_text(text)
    fake = draw(finished, lines)
    assert {one.prompt.text for one in fake.asked} == {"aa12, cat"}


def test_differences_are_measured_against_the_chosen_cell(finished, lines):
    """The mean is numpy's, of plain colours: seed 10 is 10 levels brighter than seed 0."""
    fake = Plain(finished / "plain", lambda one: (one.prompt.seed,) * 3 if one.loras else (7,) * 3)
    given = {"x": "seed=0,10", "y": "weight=0.5,1", "prompt": "a"}
    draw(finished, lines, fake, difference="column", **given)
    assert about(finished / "grid.png")["means"] == [[[0, 3.922], [0, 3.922]]]
    draw(finished, lines, fake, difference="row", **given)
    assert about(finished / "grid.png")["means"] == [[[0, 0], [0, 0]]]
    draw(finished, lines, fake, difference="base", **given)
    seen = about(finished / "grid.png")["means"]
    assert seen == [[[round(700 / 255, 3), round(300 / 255, 3)]] * 2]
    with pytest.raises(UserError, match="only one sheet"):
        draw(finished, lines, fake, difference="sheet", **given)


def test_a_difference_is_white_where_it_is_largest():
    noise = np.random.default_rng(0)
    one, other = (noise.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(2))
    found = difference(Image.fromarray(one), Image.fromarray(other))
    apart = np.abs(one.astype(float) - other).mean(2)
    assert found.mean == pytest.approx(100 * apart.mean() / 255)
    white = white_level([found])
    assert white == pytest.approx(np.percentile(apart, 99.5))
    picture = found.picture(white)
    assert picture is not None
    shades = np.asarray(picture)[..., 0].astype(float)
    np.testing.assert_allclose(shades, np.minimum(apart / white, 1) * 255, atol=0.51)
    other_size = difference(Image.fromarray(one), Image.new("RGB", (32, 64)))
    assert (other_size.mean, other_size.picture(1.0)) == (None, None)


def test_several_files_get_an_axis_and_a_folder_beside_the_output(finished, lines, tmp_path):
    files = []
    for name in ("one", "two"):
        file = tmp_path / f"{name}.safetensors"
        numbers = {"layer.lora_up.weight": np.full((2, 2), len(files), np.float32)}
        save_file(numbers, file, {"ss_sd_model_name": "mame"})
        files.append(file)
    out = tmp_path / "sheets" / "both.png"
    options = GridOptions(sources=tuple(files), x="weight=0.5,1", prompt="a", out=out)
    plan = planned(options, lines)
    assert plan.cells == tmp_path / "sheets" / "both-cells"
    assert [value.label for value in plan.y.values] == ["one", "two"]
    save_file({"a": np.zeros(1)}, files[1], {"ss_sd_model_name": "anything.safetensors"})
    with pytest.raises(UserError, match=r"'anything\.safetensors' only.*--model"):
        planned(options, lines)


def test_several_runs_are_told_apart(finished, lines, tmp_path):
    shutil.copytree(finished, tmp_path / "again")
    options = GridOptions(sources=(finished, tmp_path / "again"), out=tmp_path / "grid.png")
    plan = planned(options, lines)
    labels = [value.label for value in plan.y.values]
    assert labels == [
        "run: step 10", "run: last (step 20)", "again: step 10", "again: last (step 20)"
    ]  # fmt: skip


def test_nothing_of_the_users_is_written_over(finished, lines, tmp_path):
    for name in ("mine.png", "mine.html"):
        path = tmp_path / name
        path.write_bytes(b"mine")
        with pytest.raises(UserError, match="no grid of renma's"):
            grid.run(GridOptions(sources=(finished,), out=path), lines)
        assert path.read_bytes() == b"mine"


AGAIN = """
import sys
from pathlib import Path
from renma.config.grid_task import GridOptions
from renma.core.events import Silent
from renma.judge import grid
for out in sys.argv[2:]:
    grid.run(GridOptions(sources=(Path(sys.argv[1]),), out=Path(out), **GIVEN), Silent())
print("torch" in sys.modules, "PIL" in sys.modules)
"""
GIVEN = {
    "x": "weight=0,1", "y": "rank=1,4", "prompt": "aa12, smile", "width": 64, "height": 64,
    "steps": 1, "difference": "base",
}  # fmt: skip


def test_drawn_cells_are_kept_and_torch_stays_out(finished, lines, mame, tmp_path):
    """Pictures drawn once are not drawn again; what is missing is all that is drawn (F1)."""
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    noise, outputs = np.random.default_rng(0), (tmp_path / "a.png", tmp_path / "b.html")
    for path in (finished / "lora").glob("*.safetensors"):
        sides = {"down": (4, 128), "up": (128, 4)}
        rows = {f"{key}.lora_{n}.weight": noise.normal(size=s) for n, s in sides.items()}
        save_file({n: v.astype(np.float32) for n, v in rows.items()}, path)

    def first() -> list[tuple[int, int]]:
        lines.events.clear()
        plan = planned(GridOptions(sources=(finished,), out=outputs[0], **GIVEN), lines)
        grid.draw_grid(plan, Cells(plan.cells, lines, model=lambda: mame), lines)
        return [(d["done"], d["total"]) for kind, d in lines.events if kind == "sampling"]

    # the base model, rank 1 and rank 4
    assert first()[-1] == (3, 3)
    before = outputs[0].read_bytes()
    code = AGAIN.replace("GIVEN", repr(GIVEN))
    command = [sys.executable, "-c", code, str(finished), *map(str, outputs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "False True\n", done.stderr
    assert outputs[0].read_bytes() == before
    assert outputs[1].is_file()
    next((finished / "cells").glob("*.png")).unlink()
    assert first()[-1] == (1, 1)
    assert outputs[0].read_bytes() == before
