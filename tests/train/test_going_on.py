"""`renma train --resume` on mame: stopped, killed, damaged, finished and changed runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from renma.cli import main
from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.formats import safetensors
from renma.train import task
from testbed.runs import final, kinds, train


@pytest.mark.parametrize("optimizer", ["adamw", "adamw8bit", "prodigy"])
def test_resume_is_bit_identical(project: Path, optimizer: str):
    values = (
        f"optimizer.name={optimizer}",
        "schedule.name=cosine",
        "train.gradient_accumulation_steps=2",
    )
    straight = train(project, "a", *values)
    whole = train(project, "b", *values)
    # take the run back to its middle: the state of step 4 and nothing after it
    (whole / "lora" / "lora.safetensors").unlink()
    newest = sorted((whole / "state").iterdir())[-1]
    newest.unlink()
    assert [p.name for p in (whole / "state").iterdir()] == ["step-00000004.safetensors"]
    train(project, "b", *values, resume=True)
    assert final(whole) == final(straight)


def test_killed_at_a_random_step_and_resumed_gives_the_same_bytes(project: Path):
    straight = train(project, "a", "train.max_steps=12")
    command = [sys.executable, "-m", "renma", "train", str(project / "run.toml")]
    command += ["--set", "train.max_steps=12", "--out", str(project / "b")]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    wait_for_step(project / "b", 5, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (project / "b" / "lora" / "lora.safetensors").exists()
    assert main([*command[3:], "--resume"]) == 0
    assert final(project / "b") == final(straight)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_resumes(project: Path, number: signal.Signals, code: int):
    values = ["--set", "train.max_steps=60", "--set", "train.save_every_steps=0"]
    command = [
        sys.executable,
        "-m",
        "renma",
        "train",
        str(project / "run.toml"),
        *values,
        "--out",
        str(project / "b"),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ, text=True
    )
    wait_for_step(project / "b", 3, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "--resume" in output
    state = sorted((project / "b" / "state").iterdir())[-1]
    assert int(safetensors.read_header(state)[1]["step"]) >= 3


def wait_for_step(folder: Path, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        events = folder / "events.jsonl"
        if events.exists() and any(
            r["kind"] == "step" and r["step"] >= step for r in read_events(events)
        ):
            return
        time.sleep(0.02)
    raise AssertionError(
        f"step {step} never came: {process.poll()} {process.stdout and process.stdout.read()}"
    )


def test_damaged_newest_state_falls_back_with_a_word(project: Path):
    straight = train(project, "a")
    out = train(project, "b")
    (out / "lora" / "lora.safetensors").unlink()
    newest = sorted((out / "state").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-7])
    train(project, "b", resume=True)
    warned = [r["text"] for r in read_events(out / "events.jsonl") if r["kind"] == "warned"]
    assert any("Going back to step 4" in text for text in warned)
    assert final(out) == final(straight)


def test_resume_refuses_other_options_by_name(project: Path):
    train(project, "a")
    with pytest.raises(UserError, match=r"adapter.rank: 2 -> 3"):
        train(project, "a", "adapter.rank=3", resume=True)


def test_resume_refuses_changed_pictures(project: Path):
    out = train(project, "a")
    sorted((out / "state").iterdir())[-1].unlink()
    (project / "train" / "2_aa12 person" / "red.txt").write_text("aa12, frown")
    with pytest.raises(UserError, match="pictures or captions changed"):
        train(project, "a", resume=True)


def test_longer_run_continues(project: Path):
    out = train(project, "a")
    train(project, "a", "train.max_steps=9", resume=True)
    steps = [r["step"] for r in read_events(out / "events.jsonl") if r["kind"] == "step"]
    assert steps == list(range(1, 10))


def test_finished_run_has_nothing_to_do(project: Path):
    out = train(project, "a")
    before = final(out)
    train(project, "a", resume=True)
    assert final(out) == before
    assert kinds(out).count("step") == 6


def test_out_alone_resumes(project: Path):
    out = train(project, "a")
    task.run(TrainOptions(out=out, resume=True, set=("train.max_steps=8",)), Silent())
    assert kinds(out).count("step") == 8


def test_fewer_steps_than_done_are_refused_and_a_lost_file_comes_back(project: Path):
    out = train(project, "a")
    before = final(out)
    with pytest.raises(UserError, match=r"6 steps are done already, more than train.max_steps = 4"):
        train(project, "a", "train.max_steps=4", resume=True)
    (out / "lora" / "lora.safetensors").unlink()
    train(project, "a", resume=True)
    assert final(out) == before


def test_another_base_model_is_noticed_on_resume(project: Path, tmp_path: Path):
    import shutil

    from safetensors.torch import load_file, save_file

    from renma import assets

    model = shutil.copytree(assets.MAME, tmp_path / "model")
    out = train(project, "a", f"model.path={model}")
    sorted((out / "state").iterdir())[-1].unlink()
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v * 0.9 for k, v in load_file(weights).items()}, weights)
    with pytest.raises(UserError, match="the base model's unet changed"):
        train(project, "a", f"model.path={model}", resume=True)
