"""The plan: arithmetic, oddities, agreement with what then happens; no torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from renma.cli.app import main
from renma.config import load_run
from renma.core.errors import UserError
from renma.train.plan import prepare


def plan(project: Path, *values: str):
    return prepare(load_run(project / "run.toml", values), project).plan


def test_arithmetic(project: Path):
    """3 pictures x 2 repeats and as many regularisation showings, in batches of 2 by bucket."""
    found = plan(project)
    assert (found.pictures, found.reg_pictures) == (3, 2)
    assert found.showings_per_epoch == 12
    assert found.buckets == {"64x64": 3, "96x32": 2} or sum(found.buckets.values()) == 5
    assert found.steps == 6
    assert found.epochs == pytest.approx(6 / found.batches_per_epoch, abs=0.01)


def test_epochs_decide_the_steps(project: Path):
    one = plan(project, "train.max_epochs=1")
    assert one.steps == one.batches_per_epoch
    assert plan(
        project, "train.max_epochs=3", "train.gradient_accumulation_steps=2"
    ).steps == pytest.approx(3 * one.batches_per_epoch / 2, abs=1)


def test_plan_says_what_training_then_does(project: Path):
    from renma.config.run_tasks import TrainOptions
    from renma.core.events import Silent, read_events
    from renma.train import task

    task.run(TrainOptions(run=project / "run.toml", out=project / "o"), Silent())
    rows = {row["kind"]: row for row in read_events(project / "o" / "events.jsonl")}
    planned = plan(project)
    assert rows["started"]["trainable_parameters"] == planned.parameters
    size = (project / "o" / "lora" / "lora.safetensors").stat().st_size
    assert planned.file_bytes <= size < planned.file_bytes + 200_000


ODD = {
    "optimizer.text_encoder_lr=1e-5 train.text_encoder=false": "text_encoder_lr has no effect",
    "optimizer.name=prodigy optimizer.learning_rate=1e-4": "learning rate near 1",
    "train.save_every_steps=500": "never comes",
    "sample.prompts=['a']": "sample.prompts have no effect",
    "sample.every_steps=2": "there are no sample.prompts",
    "data.shuffle_caption=false": "keep_tokens has no effect",
    "data.enable_bucket=false": "enable_bucket is false",
    "data.reg_folder='' objective.prior_loss_weight=0.5": "prior_loss_weight has no effect",
    "train.max_epochs=2 train.max_steps=9": "train.max_steps has no effect",
    "adapter.alpha=64": "strong scale",
    "data.bucket_no_upscale=true": "bucket_no_upscale is true",
}  # fmt: skip


@pytest.mark.parametrize("values", ODD)
def test_options_without_effect_are_named(project: Path, values: str):
    found = plan(project, *values.split())
    assert any(ODD[values] in text for text in found.warnings), found.warnings
    assert not any(
        ODD[values] in text for text in plan(project, "train.max_epochs=2").warnings
    ) or ("max_steps" in values)


def test_nothing_to_train_is_refused(project: Path):
    with pytest.raises(UserError, match="nothing would be trained"):
        plan(project, "train.unet=false", "optimizer.text_encoder_lr=0")


def test_json(project: Path, capsys):
    assert main(["check", str(project / "run.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 6


@pytest.mark.timed
@pytest.mark.parametrize("command", ["check", "train"])
def test_answers_at_once_without_torch(project: Path, command: str, cost_of):
    """Well under a second wherever the libraries' own import takes a tenth."""
    mistake = ", '--set', 'train.max_stps=3'" if command == "train" else ""
    code = (
        "import sys; from renma.cli.app import main;"
        f"assert main([{command!r}, {str(project / 'run.toml')!r}{mistake}]) == {2 if mistake else 0};"
        "assert 'torch' not in sys.modules"
    )
    assert cost_of(code) < 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: (p / "run.toml").write_text("[train]\nmax_step = 3\n"), r"run.toml:2: unknown key 'train.max_step'. Did you mean"),
        (lambda p: (p / "run.toml").write_text('[data]\ntrain_folder = "trian"\n'), "there is no such folder"),
        (lambda p: (p / "run.toml").write_text('[data]\ntrain_folder = "train/2_aa12 person"\n'), "Give its parent instead"),
        (lambda p: (p / "train/2_aa12 person/red.txt").write_text(""), "red.txt: the caption file is empty"),
        (lambda p: (p / "train/2_aa12 person/red.png").write_bytes(b"\x89PNG\r\n\x1a\n"), "red.png"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["check", "train"])
def test_beginners_mistakes_get_one_line_and_code_2(
    project: Path, capsys, command, change, message
):
    import re

    change(project)
    assert main([command, str(project / "run.toml")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
