"""What a resumed run may change (G5): listed old and new, refused, allowed by name, impossible."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from renma.config import Run, load_run
from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.train import changes, task
from renma.train.folder import near

WHERE = Path("run.toml")


def run(**sections) -> Run:
    return Run.model_validate(sections)


def told(before: Run, now: Run, *allow: str) -> tuple[str, ...]:
    return changes.check_changes(before, now, allow, WHERE)


REFUSED = {
    "optimizer.learning_rate": ({"optimizer": {"learning_rate": 1e-3}}, "0.0001 -> 0.001"),
    "schedule.name": ({"schedule": {"name": "cosine"}}, "'constant' -> 'cosine'"),
    "data.batch_size": ({"data": {"batch_size": 4}}, "1 -> 4"),
    "data.resolution": ({"data": {"resolution": 256}}, "[512, 512] -> [256, 256]"),
    "data.shuffle_caption": ({"data": {"shuffle_caption": True}}, "False -> True"),
    "adapter.alpha": ({"adapter": {"alpha": 3}}, "-> 3"),
    "adapter.dropout": ({"adapter": {"dropout": 0.1}}, "0.0 -> 0.1"),
    "train.seed": ({"train": {"seed": 7}}, "42 -> 7"),
    "train.precision": ({"train": {"precision": "bf16"}}, "-> 'bf16'"),
    "train.gradient_accumulation_steps": (
        {"train": {"gradient_accumulation_steps": 2}}, "1 -> 2",
    ),
    "train.threads": ({"train": {"threads": 3}}, "0 -> 3"),
    "objective.noise_offset": ({"objective": {"noise_offset": 0.1}}, "0.0 -> 0.1"),
    "model.clip_skip": ({"model": {"clip_skip": 2}}, "1 -> 2"),
}  # fmt: skip


@pytest.mark.parametrize("key", REFUSED)
def test_what_decides_the_training_is_refused_until_it_is_allowed(key: str):
    raw, text = REFUSED[key]
    now = run(**raw)
    with pytest.raises(UserError) as caught:
        told(run(), now)
    line = caught.value.line()
    assert f"{key}: " in line
    assert text in line
    assert f"--allow-change {key}" in line
    assert "\n" not in line
    for name in (key, key.split(".")[0]):  # by its own name, or all of its section
        listed = told(run(), now, name)
        assert any(row.startswith(f"{key}: ") and text in row for row in listed)


@pytest.mark.parametrize(
    "raw",
    [
        {"adapter": {"rank": 3}},
        {"adapter": {"algo": "loha"}},
        {"adapter": {"targets": {"preset": "conv"}}},
        {"optimizer": {"name": "prodigy", "learning_rate": 1e-4}},
        {"train": {"text_encoder": False}},
        {"start": {"weights": "a.safetensors"}},
    ],
    ids=str,
)
def test_what_the_saved_numbers_are_made_for_cannot_be_allowed(raw):
    section = next(iter(raw))
    with pytest.raises(UserError, match="was trained so far does not fit.*start.weights"):
        told(run(), run(**raw), section)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"train": {"max_steps": 2000}}, "train.max_steps: 1600 -> 2000"),
        ({"train": {"save_every_steps": 5}}, "train.save_every_steps: 0 -> 5"),
        ({"train": {"keep_checkpoints": 3}}, "train.keep_checkpoints: 0 -> 3"),
        ({"sample": {"every_steps": 5}}, "sample.every_steps: 0 -> 5"),
        ({"output": {"precision": "fp32"}}, "output.precision: 'fp16' -> 'fp32'"),
        ({"judge": {"pictures": 2}}, "judge.pictures: 8 -> 2"),
    ],
    ids=str,
)
def test_what_does_not_touch_the_training_is_free_and_listed(raw, line: str):
    assert told(run(), run(**raw)) == (line,)


def test_nothing_changed_nothing_told():
    assert told(run(), run()) == ()


def test_moved_folders_are_free_and_listed():
    """Their content is compared byte by byte when the state is loaded."""

    def of(place: str) -> Run:
        data = {"datasets": [{"subsets": [{"image_dir": f"{place}/train"}]}]}
        return run(data=data, model={"path": f"{place}/model"})

    assert told(of("/a"), of("/b")) == (
        "data.datasets.0.subsets.0.image_dir: '/a/train' -> '/b/train'",
        "model.path: '/a/model' -> '/b/model'",
    )


def test_another_length_under_a_schedule_is_explained():
    before = run(schedule={"name": "cosine"})
    now = run(schedule={"name": "cosine"}, train={"max_steps": 2000})
    assert "learning rate" in told(before, now)[1]
    assert len(told(run(), run(train={"max_steps": 2000}))) == 1


@pytest.mark.parametrize("name", ["optimizer.learnig_rate", "trian", "", "adapter."])
def test_a_name_that_is_none_is_refused(name: str):
    with pytest.raises(UserError, match="neither an option nor a section"):
        told(run(), run(), name)


def test_an_allowance_without_effect_is_told():
    assert told(run(), run(), "optimizer.learning_rate") == (
        "--allow-change optimizer.learning_rate: nothing changed there",
    )


@pytest.mark.parametrize("row", [changes.FREE, changes.FIXED])
def test_every_name_in_the_lists_is_an_option(row: tuple[str, ...]):
    """An option that was renamed must not silently lose its place."""
    known = set(changes.flat(run().model_dump()))
    for name in row:
        assert any(key.startswith(name) if name.endswith(".") else key == name for key in known)


def train(file: Path, out: Path, *values: str, resume: bool = False, allow=()) -> Path:
    task.run(
        TrainOptions(run=file, set=values, out=out, resume=resume, allow_change=allow), Silent()
    )
    return out


def test_an_allowed_change_is_told_in_the_events_and_has_effect(project: Path):
    toml, out = project / "run.toml", project / "a"
    train(toml, out, "train.max_steps=2")
    values = ("train.max_steps=3", "optimizer.learning_rate=5e-4")
    with pytest.raises(UserError, match=r"optimizer.learning_rate: 0.001 -> 0.0005"):
        train(toml, out, *values, resume=True)
    train(toml, out, *values, resume=True, allow=("optimizer.learning_rate",))
    rows = list(read_events(out / "events.jsonl"))
    assert [row["lr"]["unet"] for row in rows if row["kind"] == "step"] == [1e-3, 1e-3, 5e-4]
    warned = [row["text"] for row in rows if row["kind"] == "warned"]
    assert any("optimizer.learning_rate: 0.001 -> 0.0005" in text for text in warned)
    # and from now on it is the run's own
    train(toml, out, *values, "train.max_steps=4", resume=True)
    assert load_run(out / "run.toml").optimizer.learning_rate == 5e-4


def test_a_project_that_was_moved_goes_on_to_the_same_bytes(project: Path, tmp_path: Path):
    """Pictures, run and all: the run.toml in the run's folder sees them from where it lies."""
    straight = train(project / "run.toml", project / "straight", "train.max_steps=4")
    here = project / "runs" / "001"
    train(project / "run.toml", here, "train.max_steps=2")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("train", "reg", "runs", "run.toml"):
        shutil.move(project / name, moved / name)
    out = moved / "runs" / "001"
    assert str(project) not in (out / "run.toml").read_text()
    task.run(TrainOptions(out=out, resume=True, set=("train.max_steps=4",)), Silent())
    name = "lora/lora.safetensors"
    assert (out / name).read_bytes() == (straight / name).read_bytes()


def test_a_run_moved_alone_goes_on_with_its_first_run_toml(
    project: Path, tmp_path_factory: pytest.TempPathFactory
):
    out = train(project / "run.toml", project / "runs" / "001", "train.max_steps=2")
    alone = tmp_path_factory.mktemp("elsewhere") / "runs" / "001"
    alone.parent.mkdir()
    shutil.move(out, alone)
    with pytest.raises(UserError, match=r"image_dir.*there is no such folder"):
        task.run(TrainOptions(out=alone, resume=True, set=("train.max_steps=3",)), Silent())
    train(project / "run.toml", alone, "train.max_steps=3", resume=True)
    assert (alone / "lora" / "lora.safetensors").exists()


def test_places_far_away_stay_absolute(project: Path, tmp_path_factory: pytest.TempPathFactory):
    far = tmp_path_factory.mktemp("far")
    near_by = project / "train"
    subsets = [{"image_dir": str(near_by)}, {"image_dir": str(far)}]
    seen = near(run(data={"datasets": [{"subsets": subsets}]}), project / "out")
    dirs = [subset.image_dir for subset in seen.data.datasets[0].subsets]
    assert dirs == ["../train", str(far)]
    inside = near(run(model={"path": str(near_by)}), project / "runs" / "001")
    assert inside.model.path == "../../train"
    gone = near(run(model={"path": str(project / "gone")}), project / "out")
    assert Path(gone.model.path).is_absolute()


def test_allowing_changes_of_a_new_run_is_refused(project: Path):
    options = TrainOptions(run=project / "run.toml", out=project / "o", allow_change=("data",))
    with pytest.raises(UserError, match="--allow-change: is for a run that goes on"):
        task.run(options, Silent())
