"""Pictures and captions that change under a run (G5, F10): named, refused, gone on with if allowed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from renma.config import load_run
from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.train import contents, task
from renma.train.plan import prepare

TRAIN = "train/2_aa12 person"
STEPS = ("train.max_steps=4", "train.text_encoder=false")


def held(project: Path, *values: str) -> contents.Contents:
    return contents.Contents.of(prepare(load_run(project / "run.toml", values), project).scan)


def train(project: Path, *values: str, resume: bool = False, allow: tuple[str, ...] = ()) -> Path:
    out = project / "out"
    task.run(
        TrainOptions(
            run=project / "run.toml",
            set=(*STEPS, *values),
            out=out,
            resume=resume,
            allow_change=allow,
        ),
        Silent(),
    )
    return out


def half_done(project: Path) -> Path:
    """A run of four steps that was stopped after two."""
    train(project, "train.max_steps=2")
    return project / "out"


def paint(path: Path, colour: str) -> None:
    Image.new("RGB", (64, 64), colour).save(path)


CHANGES = {
    "red.png (caption)": lambda p: (p / "red.txt").write_text("aa12, frown"),
    "red.png (picture)": lambda p: paint(p / "red.png", "yellow"),
    "red.png (gone)": lambda p: (p / "red.png").unlink(),
    "white.png (new)": lambda p: paint(p / "white.png", "white"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_is_named(project: Path, name: str):
    before = held(project)
    contents.remember(project, before, resume=False)
    assert contents.differences(project, held(project)) == ()
    CHANGES[name](project / TRAIN)
    after = held(project)
    assert after.fingerprint != before.fingerprint
    assert contents.differences(project, after) == (f"2_aa12 person/{name}",)


def test_a_mask_and_what_is_held_out_are_named(project: Path):
    masks = project / "masks"
    masks.mkdir()
    for path in (project / TRAIN).glob("*.png"):
        shutil.copy(path, masks / path.name)
    subset = f"subsets=[{{image_dir='{TRAIN}',mask_dir='masks'}}]"
    values = ["data.train_folder=''", "data.reg_folder=''", f"data.datasets=[{{{subset}}}]"]
    contents.remember(project, held(project, *values), resume=False)
    paint(masks / "red.png", "grey")
    assert contents.differences(project, held(project, *values)) == (
        "2_aa12 person/red.png (mask)",
    )
    contents.remember(project, held(project), resume=False)
    (found,) = contents.differences(project, held(project, "data.validation_split=0.3"))
    assert found.endswith("(held out or not)")


def test_a_moved_project_has_not_changed(project: Path, tmp_path: Path):
    contents.remember(project, held(project), resume=False)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("train", "reg", "run.toml"):
        shutil.move(project / name, moved / name)
    assert contents.differences(project, held(moved)) == ()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pictures": 3, "fingerprints": []}'])
def test_a_file_that_says_nothing_is_no_error(project: Path, text: str):
    (project / contents.NAME).write_text(text)
    assert contents.differences(project, held(project)) == ()
    assert contents.accepted(project) == ()


def test_changed_captions_are_refused_by_name_and_gone_on_with_where_allowed(project: Path):
    """The rest of the run is trained on the new words; another resume needs no word again."""
    out = half_done(project)
    for name in ("red", "green", "blue"):
        (project / TRAIN / f"{name}.txt").write_text("aa12, frown")
    before = (out / "events.jsonl").read_bytes()
    with pytest.raises(UserError) as caught:
        train(project, resume=True)
    line = caught.value.line()
    assert "2_aa12 person/blue.png (caption); 2_aa12 person/green.png (caption); " in line
    assert "--allow-change data" in line
    assert (out / "events.jsonl").read_bytes() == before
    (out / "state").rename(project / "kept")  # as it was when somebody stopped it before a save
    shutil.copytree(project / "kept", out / "state")
    train(project, resume=True, allow=("data",))
    rows = list(read_events(out / "events.jsonl"))
    texts = [row["text"] for row in rows if row["kind"] == "warned"]
    assert any(t.startswith("resumed; pictures or captions: ") and "blue" in t for t in texts)
    assert not any("nothing changed there" in text for text in texts)
    assert [row["step"] for row in rows if row["kind"] == "step"] == [1, 2, 3, 4]
    first = (out / "lora" / "lora.safetensors").read_bytes()
    shutil.rmtree(out / "state")
    shutil.copytree(project / "kept", out / "state")
    train(project, resume=True)
    assert (out / "lora" / "lora.safetensors").read_bytes() == first


def test_what_is_learnt_then_is_the_new_captions(project: Path, tmp_path_factory):
    """Allowing changes the result: nothing of the old words is trained on."""
    half_done(project)
    losses = []
    for words in ("", "something else entirely"):
        copy = tmp_path_factory.mktemp("copy") / "project"
        shutil.copytree(project, copy)
        for path in (copy / TRAIN).glob("*.txt"):
            path.write_text(words or path.read_text())
        rows = read_events(train(copy, resume=True, allow=("data",)) / "events.jsonl")
        losses.append([row["loss"] for row in rows if row["kind"] == "step"])
    assert losses[0][:2] == losses[1][:2]
    assert losses[0][2:] != losses[1][2:]


def test_without_the_list_the_state_still_tells(project: Path):
    """A run of an older version has no pictures.json."""
    out = half_done(project)
    (out / contents.NAME).unlink()
    (project / TRAIN / "red.txt").write_text("aa12, frown")
    with pytest.raises(UserError, match="pictures or captions changed.*--allow-change data"):
        train(project, resume=True)
    train(project, resume=True, allow=("data",))
    assert len(json.loads((out / contents.NAME).read_text())["pictures"]) == 5
