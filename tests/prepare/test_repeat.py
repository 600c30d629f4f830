"""Recorded steps are done again from the originals, as the very commands they were (B1-B8)."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from renma.cli import main
from renma.config.prepare.repeat import RepeatOptions
from renma.config.prepare.tasks import PREPARE_TASKS
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.prepare.repeat import BESIDE, chain, command, run

TASKS = {task.name: task for task in PREPARE_TASKS}


class Lines:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data: object) -> None:
        if kind == "warned":
            self.lines.append(str(data["text"]))

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures, cut by a list, then resized, then with copies; typed in their parent."""
    (tmp_path / "in").mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{index}.png")
    (tmp_path / "in" / "0.txt").write_text("a cat")
    lines = [f"{index},0,0,0.8,0.8" for index in range(3)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    for words in (
        "crop in -o cut --boxes list.csv --min-size 16 --executor serial",
        "resize cut -o small --size 32x24 --mode pad --color #102030 --linear --executor serial",
        "augment small -o more --rotate 8 --count 2 --seed 5 --executor serial",
    ):
        assert main(["prepare", *words.split()]) == 0
    return tmp_path


def _again(**given: Any) -> list[str]:
    report = Lines()
    run(RepeatOptions.model_validate(given), report)
    return report.lines


def _bytes(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in {".png", ".txt"}}


def test_the_whole_chain_anew_is_the_same_byte_by_byte(folder: Path, monkeypatch):
    """From another working folder: the record holds whole paths."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = {name: _bytes(folder / name) for name in ("in", "cut", "small", "more")}
    lines = _again(made=folder / "more", out=folder / "new")
    assert "all 9 pictures are the same as before, byte by byte" in lines
    assert _bytes(folder / "new") == before["more"]
    assert _bytes(folder / "new-1-crop") == before["cut"]
    assert _bytes(folder / "new-2-resize") == before["small"]
    assert {name: _bytes(folder / name) for name in before} == before


def test_in_place_only_what_changed_is_made_again(folder: Path):
    lines = _again(made=folder / "more")
    assert [
        line for line in lines if "worked on now" in line and " 0 worked on now" not in line
    ] == []
    (folder / "in" / "1.png").write_bytes((folder / "in" / "2.png").read_bytes())
    (folder / "small" / "0.png").unlink()
    lines = _again(made=folder / "more")
    assert sum("1 worked on now" in line for line in lines) == 3
    assert (folder / "more" / "1.png").read_bytes() == (folder / "more" / "2.png").read_bytes()


def test_shown_commands_can_be_typed_and_mean_the_same(folder: Path, capsys):
    before = _bytes(folder / "more")
    heads = [
        json.loads((folder / n / ".renma" / "step.json").read_text())
        for n in ("cut", "small", "more")
    ]
    capsys.readouterr()
    assert main(["prepare", "repeat", str(folder / "more"), "--show"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [shlex.split(line)[:3] for line in shown] == [
        ["renma", "prepare", verb] for verb in ("crop", "resize", "augment")
    ]
    assert "--color '#102030'" in shown[1]
    assert "--size 32x24" in shown[1]
    assert "--fit" not in shown[1]
    assert len(shown[2]) < 300  # what is the default is left out
    for name in ("cut", "small", "more"):
        (folder / name).rename(folder / f"old-{name}")
    for line in shown:
        assert main(shlex.split(line)[1:]) == 0
    assert _bytes(folder / "more") == before
    again = [
        json.loads((folder / n / ".renma" / "step.json").read_text())
        for n in ("cut", "small", "more")
    ]
    assert again == heads


EXAMPLES: dict[str, dict[str, Any]] = {
    "prepare crop": {"body": ["bust", "keep"], "cut_arms": True, "aspect": "bucket", "resolution": "768x512", "model": "m.onnx"},
    "prepare resize": {"size": "12x34", "mode": "pad", "color": "red", "only_shrink": True, "quality": 80, "format": "webp"},
    "prepare augment": {"flip": True, "crops": 3, "crop_size": "64", "hue": 7.5},
    "prepare background": {"color": "transparent", "threshold": 0.25, "backend": "flat"},
    "prepare erase": {"box": ["75%,92%,25%,8%", "1,2,3,4"], "grow": 4},
    "prepare face": {"margin": 1.5, "border": "pad", "color": "#010203"},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_any_step_is_written_as_a_command_that_is_read_back(name: str, monkeypatch):
    """Options -> words -> the command line's own reading -> the same options."""
    if name not in TASKS:
        pytest.skip(f"{name} is not in the table of tasks yet")
    task = TASKS[name]
    given = {"folder": Path("my pictures"), "out": Path("o'ut"), **EXAMPLES[name]}
    wanted = task.options.model_validate(given)
    heard: list[Any] = []
    module = type("Room", (), {"run": staticmethod(lambda options, report: heard.append(options))})
    monkeypatch.setitem(__import__("sys").modules, task.room, module)
    assert main(shlex.split(command(task, wanted))[1:]) == 0
    assert heard == [wanted]


def test_moved_originals_and_other_pictures(folder: Path):
    (folder / "in").rename(folder / "moved")
    with pytest.raises(UserError, match="there is no such folder"):
        _again(made=folder / "more")
    lines = _again(made=folder / "more", originals=folder / "moved")
    assert all("worked on now" not in line or " 0 worked" in line for line in lines)
    (folder / "others").mkdir()
    for name in ("0.png", "1.png", "2.png"):
        Image.new("RGB", (100, 80), "red").save(folder / "others" / name)
    lines = _again(made=folder / "more", out=folder / "red", originals=folder / "others")
    assert not any("same as before" in line for line in lines)
    assert len(_bytes(folder / "red")) == 9


def test_every_folder_beside_can_be_given_again():
    named = {n for task in PREPARE_TASKS for n in getattr(task.options, "beside", ())}
    assert named == set(BESIDE) <= set(RepeatOptions.model_fields)


def test_a_record_alone_does_not_say_where_to_write(folder: Path):
    """A folder of somebody else may name any place; ours is used where it is known to be ours."""
    words = "background in -o white --backend flat --save-masks masks --executor serial"
    for index in range(3):  # something on one colour
        picture = Image.new("RGB", (100, 80), "white")
        picture.paste((200, 0, 40 * index), (30, 20, 70, 60))
        picture.save(folder / "in" / f"{index}.png")
    assert main(["prepare", *words.split()]) == 0
    masks = _bytes(folder / "masks")
    (folder / "in" / "0.png").write_bytes((folder / "in" / "1.png").read_bytes())
    _again(made=folder / "white")
    assert _bytes(folder / "masks")["1.png"] == masks["1.png"]
    with pytest.raises(UserError, match="with --save-masks FOLDER"):
        _again(made=folder / "white", out=folder / "new")
    assert not (folder / "new").exists()
    _again(made=folder / "white", out=folder / "new", save_masks=folder / "new-masks")
    assert _bytes(folder / "new-masks") == _bytes(folder / "masks")
    head = folder / "white" / ".renma" / "step.json"
    whole = json.loads(head.read_text())
    (folder / "empty").mkdir()
    whole["options"]["save_masks"] = str(folder / "empty")
    head.write_text(json.dumps(whole))
    with pytest.raises(UserError, match="says to write into .*empty too"):
        _again(made=folder / "white")
    assert list((folder / "empty").iterdir()) == []
    assert "--save-masks" in _again(made=folder / "white", show=True)[-1]
    with pytest.raises(UserError, match="--overlay: 0 steps"):
        _again(made=folder / "white", overlay=folder / "o")


def test_differences_are_named(folder: Path):
    pixels = np.zeros((80, 100, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "in" / "2.png")
    lines = _again(made=folder / "cut", out=folder / "new")
    assert "2 of 3 pictures are the same as before; not: 2.png" in lines


def test_mistakes_are_one_line(folder: Path):
    for made, said in (
        (folder / "in", "was made by no step"),
        (folder / "none", "there is no such folder"),
    ):
        with pytest.raises(UserError, match=said):
            chain(made)
    with pytest.raises(UserError, match="-o is the folder itself"):
        RepeatOptions(made=folder / "cut", out=folder / "cut")
    head = folder / "cut" / ".renma" / "step.json"
    whole = json.loads(head.read_text())
    for change, said in (
        ({"verb": "crob"}, "this version does not have. Did you mean 'prepare crop'"),
        (
            {"options": {**whole["options"], "novel": 1}},
            "cannot be followed by this version: novel",
        ),
        ({"folder": str(folder / "more")}, "lead in a circle"),
    ):
        head.write_text(json.dumps({**whole, **change}))
        with pytest.raises(UserError, match=said):
            chain(folder / "more")
    head.write_text(json.dumps({**whole, "version": "0.0.1"}))
    report = Lines()
    run(RepeatOptions(made=folder / "cut"), report)
    assert any("was made by renma 0.0.1" in line for line in report.lines)
    head.write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        run(RepeatOptions(made=folder / "cut"), Silent())


def test_deleted_folders_between_are_made_again(folder: Path):
    """Their steps stand in the records of those made from them."""
    before = {name: _bytes(folder / name) for name in ("cut", "small", "more")}
    for name in ("cut", "small"):
        shutil.rmtree(folder / name)
    shown = _again(made=folder / "more", show=True)
    assert [line.split()[2] for line in shown] == ["crop", "resize", "augment"]
    assert not (folder / "cut").exists()
    _again(made=folder / "more")
    assert {name: _bytes(folder / name) for name in before} == before
    shutil.rmtree(folder / "cut")
    shutil.rmtree(folder / "small")
    _again(made=folder / "more", out=folder / "new", originals=folder / "in")
    assert _bytes(folder / "new") == before["more"]
    assert not (folder / "cut").exists()


def test_a_step_is_never_left_out(folder: Path):
    """A record of an earlier version does not know the steps before; a wrong guess is no remedy."""
    head = folder / "small" / ".renma" / "step.json"
    head.write_text(json.dumps({**json.loads(head.read_text()), "before": None}))
    shutil.rmtree(folder / "cut")
    for given in ({}, {"originals": folder / "in", "out": folder / "new"}):
        with pytest.raises(UserError, match="cut, which is gone"):
            _again(made=folder / "small", **given)
    assert not (folder / "new").exists()
    _again(made=folder / "more", out=folder / "new")  # this one's own record knows all of them
    assert (folder / "new-1-crop").exists()
    head.write_text(json.dumps({**json.loads(head.read_text()), "before": [{"verb": "crop"}]}))
    with pytest.raises(UserError, match="record of the steps before it is damaged"):
        chain(folder / "small")
