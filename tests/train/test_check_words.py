"""What the rules about words and cycles say, and what they leave alone (G2, C6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from renma.config import load_run
from renma.train.plan import Plan, prepare

TRAIN, REG = "train/2_aa12 person", "reg/1_person"
GOOD = ("train.max_steps=60", "output.trigger=aa12")


def planned(project: Path, *values: str) -> Plan:
    return prepare(load_run(project / "run.toml", [*GOOD, *values]), project).plan


def test_marks_in_regularisation_and_held_out_captions_count_too(project: Path):
    for path in (project / REG).glob("*.txt"):
        path.write_text("person, {a|b}")
    (said,) = [f for f in planned(project).findings if f.rule == "marks-as-text"]
    assert said.message.startswith("2 captions of ")
    assert "enable_wildcard is off" in said.message
    assert said.remedy == "Set data.enable_wildcard = true, or take them out."


def test_a_prefix_says_how_many_tags_to_keep(project: Path):
    values = ["data.caption_prefix='masterpiece, best quality,'"]
    (said,) = [f for f in planned(project, *values).findings if f.rule == "pushed-out-of-front"]
    assert "behind the 1 tag that keep_tokens keeps" in said.message
    assert "data.keep_tokens = 3" in said.remedy
    again = planned(project, *values, "data.keep_tokens=3").findings
    assert "pushed-out-of-front" not in {finding.rule for finding in again}


@pytest.mark.parametrize("held_out", [False, True])
def test_a_class_that_is_used_is_not_called_idle(project: Path, held_out: bool):
    """The only picture without caption may be one that is measured: its class is read all the same."""
    subset = f"datasets=[{{subsets=[{{image_dir='{TRAIN}',class_tokens='cat'}}]}}]"
    values = [f"data.{subset}", "data.train_folder=''", "data.reg_folder=''"]
    if held_out:
        values.append("data.validation_split=0.3")
    scan = prepare(load_run(project / "run.toml", values), project).scan
    names = {i.path.name for s in scan.sets for i in s.held_out}
    (project / TRAIN / (names.pop() if held_out else "red.png")).with_suffix(".txt").unlink()
    plan = planned(project, *values)
    assert "class-tokens-idle" not in {finding.rule for finding in plan.findings}
    assert any(
        "1 picture in" in t and "has no caption (.txt), 'cat' is used" in t for t in plan.warnings
    )


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ("name='cosine_with_restarts', num_cycles=31", True),
        ("name='cosine_with_restarts', num_cycles=30", False),
        ("name='cosine_with_restarts', num_cycles=30, warmup_steps=10", True),
        ("name='cosine_with_min_lr', num_cycles=500", True),
        ("name='cosine_with_min_lr', num_cycles=3", False),
    ],
)
def test_more_cycles_than_a_run_has_room_for(project: Path, schedule: str, told: bool):
    said = planned(project, f"schedule={{{schedule}}}").warnings
    assert any("leaves a cycle less than 2" in text for text in said) is told


def test_one_picture_is_no_pictures(project: Path):
    """Every line of the plan counts in good English."""
    for name in ("red", "green"):
        for ending in ("png", "txt"):
            (project / TRAIN / f"{name}.{ending}").unlink()
    (project / TRAIN).rename(project / "train/1_aa12 person")
    from renma.train.check import table

    values = ["data.reg_folder=''", "train.max_steps=1", "data.batch_size=1"]
    text = "\n".join(table(planned(project, *values)))
    assert "1 picture in 1 batch\n" in text
    assert "1 step (1 epoch), 1 picture shown, each training picture once" in text
    for wrong in ("1 pictures", "1 batches", "1 steps", "1 epochs", "1 times"):
        assert wrong not in text


@pytest.mark.parametrize("sample", ["character", "style"])
def test_what_init_makes_gets_no_warning(tmp_path: Path, sample: str):
    from renma.config.run_tasks import InitOptions
    from renma.core.events import Silent
    from renma.use import init

    init.run(InitOptions(folder=tmp_path / "new", sample=sample), Silent())
    plan = prepare(load_run(tmp_path / "new" / "run.toml"), tmp_path / "new").plan
    assert plan.warnings == ()


def test_a_batch_that_is_never_full_is_told_what_would_fill_it(project: Path):
    """A beginner's repeats stand in the name of a folder."""
    values = ["data.batch_size=40"]
    (said,) = [f for f in planned(project, *values).findings if f.rule == "batch-too-large"]
    most = int(said.message.split("shows ")[1].split()[0])
    assert said.remedy.startswith(f"Lower data.batch_size to {most}, ")
    assert "the number in front of the folder's name" in said.remedy
    again = planned(project, f"data.batch_size={most}").findings
    assert not any("is never reached" in finding.message for finding in again)
