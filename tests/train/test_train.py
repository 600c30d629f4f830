"""`renma train` on mame: files, exact resume, equal seeds, signals, mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from renma.config import load_run
from renma.config.tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.formats import safetensors
from renma.train import task
from renma.train.plan import prepare


def train(project: Path, out: str, *values: str, resume: bool = False) -> Path:
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out, resume=resume)
    task.run(options, Silent())
    return project / out


def final(folder: Path) -> bytes:
    return (folder / "lora" / "lora.safetensors").read_bytes()


def kinds(folder: Path) -> list[str]:
    return [row["kind"] for row in read_events(folder / "events.jsonl")]


def test_folder_holds_everything(project: Path):
    out = train(project, "a", "sample.prompts=['aa12 --s 2 --d 1']", "sample.every_steps=3")
    assert sorted(p.name for p in (out / "lora").iterdir()) == [
        "lora-step00000002.safetensors", "lora-step00000004.safetensors", "lora.safetensors",
    ]  # fmt: skip
    assert sorted(p.name for p in (out / "samples").iterdir()) == [
        "step-00000003-00.png",
        "step-00000006-00.png",
    ]
    assert kinds(out).count("step") == 6
    assert kinds(out)[-1] == "finished"
    assert (out / "run.toml").exists()
    assert any((out / "state").iterdir())
    assert not list(out.rglob("*.part"))


def test_adapters_have_moved_and_the_base_has_not(project: Path):
    tensors = safetensors.read_tensors(train(project, "a") / "lora" / "lora.safetensors")
    moved = [n for n, t in tensors.items() if n.endswith("lora_up.weight") and t.any()]
    ups = [n for n in tensors if n.endswith("lora_up.weight")]
    assert len(ups) == 138
    assert len(moved) > 0.95 * len(ups)


def test_same_seed_gives_the_same_bytes_and_another_does_not(project: Path):
    one, two, other = train(project, "a"), train(project, "b"), train(project, "c", "train.seed=7")
    assert final(one) == final(two)
    assert final(one) != final(other)


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
    command = [
        sys.executable,
        "-m",
        "renma",
        "train",
        str(project / "run.toml"),
        "--set",
        "train.max_steps=12",
        "--out",
        str(project / "b"),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    wait_for_step(project / "b", 5, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (project / "b" / "lora" / "lora.safetensors").exists()
    subprocess.run([*command, "--resume"], check=True, env=os.environ, capture_output=True)
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


def test_second_run_into_a_folder_is_refused(project: Path):
    train(project, "a")
    with pytest.raises(UserError, match="already holds a run.*--resume"):
        train(project, "a")


def test_accumulated_batches_equal_a_large_one(project: Path):
    """Two batches of one, averaged, give the gradient of their batch of two."""
    from renma.config import load_run
    from renma.engine.latents import Latents
    from renma.engine.model import load_family
    from renma.engine.network import Network
    from renma.train.feed import Feed
    from renma.train.loop import Trainer
    from renma.train.plan import prepare

    run = load_run(project / "run.toml", ["train.max_steps=2", "data.num_repeats=1"])
    prepared = prepare(run, project)
    family = load_family(run.model, device="cpu")
    latents = Latents.of(family)
    feed = Feed(run, prepared, latents)
    latents.prepare(feed.all_wanted(), lambda done, total: None)
    network = Network.fresh(family, run.adapter, 0, ("unet", "text_encoder"))
    network.attach()
    trainer = Trainer(run, prepared, family, network, feed, None)
    number = next(n for n in range(20) if len(feed.batch(n).captions) == 2)
    whole = feed.batch(number)

    def gradient(parts) -> list[torch.Tensor]:
        total = sum(len(part.captions) for part in parts)
        for part in parts:
            (trainer._loss(part, trainer._draws(part)) / total).backward()
        found = [p.grad.clone() for p in trainer.trained]
        trainer.optimizer.zero_grad()
        return found

    halves = [whole.rows(i, i + 1) for i in range(2)]
    for a, b in zip(gradient([whole]), gradient(halves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_gradient_checkpointing_changes_nothing_but_memory(project: Path):
    plain = safetensors.read_tensors(train(project, "a") / "lora" / "lora.safetensors")
    twice = safetensors.read_tensors(
        train(project, "b", "train.gradient_checkpointing=true") / "lora" / "lora.safetensors"
    )
    for name, tensor in plain.items():
        torch.testing.assert_close(twice[name], tensor, rtol=1e-3, atol=1e-4)


def test_tensorboard_shows_loss_and_rates_under_kohyas_names(project: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = train(project, "a", "train.tensorboard=true", "train.max_steps=3")
    board = EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    losses = [r["loss"] for r in read_events(out / "events.jsonl") if r["kind"] == "step"]
    assert [s.value for s in board.Scalars("loss/current")] == pytest.approx(losses, rel=1e-6)
    assert {"lr/unet", "lr/text_encoder", "loss/average"} <= set(board.Tags()["scalars"])


def test_bf16_trains(project: Path):
    out = train(project, "a", "train.precision=bf16", "output.precision=bf16")
    tensors = safetensors.read_tensors(out / "lora" / "lora.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.bfloat16}
    losses = [r["loss"] for r in read_events(out / "events.jsonl") if r["kind"] == "step"]
    fp32 = train(project, "b")
    exact = [r["loss"] for r in read_events(fp32 / "events.jsonl") if r["kind"] == "step"]
    assert losses == pytest.approx(exact, rel=0.05)


def test_regularisation_pictures_weigh_what_is_asked(project: Path):
    """With weight 0 they add nothing: the loss of a batch of them is 0."""
    out = train(
        project, "a", "objective.prior_loss_weight=0", "data.batch_size=1", "train.max_steps=12"
    )
    losses = [r["loss"] for r in read_events(out / "events.jsonl") if r["kind"] == "step"]
    assert losses.count(0) == 6
    assert sum(loss > 0 for loss in losses) == 6


def test_unet_only_leaves_the_text_encoder_out_of_the_file(project: Path):
    out = train(project, "a", "train.text_encoder=false")
    names = safetensors.read_tensors(out / "lora" / "lora.safetensors")
    assert names
    assert all(name.startswith("lora_unet_") for name in names)


def test_nan_steps_are_skipped_named_and_end_the_run(project: Path):
    with pytest.raises(UserError, match=r"3 steps in a row were not finite.*png"):
        train(
            project,
            "a",
            "optimizer.learning_rate=1e30",
            "train.max_bad_steps=3",
            "train.max_steps=20",
        )
    assert not (project / "a" / "lora" / "lora.safetensors").exists()


def test_metadata_is_complete_and_tells_no_places(project: Path):
    out = train(project, "a", "output.trigger=aa12")
    metadata = safetensors.read_header(out / "lora" / "lora.safetensors")[1]
    assert metadata["ss_network_module"] == "networks.lora"
    assert metadata["ss_base_model_version"] == "sd_v1"
    assert metadata["ss_network_dim"] == "2"
    assert metadata["ss_num_train_images"] == "6"
    assert metadata["ss_num_reg_images"] == "6"
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert metadata["modelspec.trigger_phrase"] == "aa12"
    assert json.loads(metadata["ss_tag_frequency"])["2_aa12 person"]["aa12"] == 3
    assert "rank = 2" in metadata["renma_run"]
    assert str(project) not in str(metadata)
    small = train(project, "b", "output.metadata=minimal")
    names = safetensors.read_header(small / "lora" / "lora.safetensors")[1]
    assert "ss_tag_frequency" not in names
    assert "renma_run" not in names
    assert names["ss_network_dim"] == "2"


def test_metadata_keys_are_kohyas(project: Path):
    facts = Path(__file__).parents[3] / "shared" / "spec" / "kohya_header.json"
    if not facts.exists():
        pytest.skip("the header of a real kohya file is not beside this checkout")
    theirs = set(json.loads(facts.read_text())["metadata"])
    out = train(project, "a", "train.max_steps=1")
    ours = set(safetensors.read_header(out / "lora" / "lora.safetensors")[1])
    own = {key for key in ours - theirs if not key.startswith("renma_")}
    assert own <= {"ss_new_vae_hash", "ss_datasets"}


def test_metadata_tells_the_resolved_options_of_every_folder(project: Path):
    settings = project / "settings.toml"
    settings.write_text(
        "[[datasets]]\nresolution = 64\nshuffle_caption = true\nkeep_tokens = 1\nbatch_size = 2\n"
        "[[datasets.subsets]]\nimage_dir = 'train/2_aa12 person'\ncaption_extension = '.txt'\n"
        "flip_aug = true\nnum_repeats = 2\n"
        "[[datasets]]\nresolution = [32, 64]\n"
        "[[datasets.subsets]]\nimage_dir = 'reg/1_person'\ncaption_extension = '.txt'\n"
    )
    values = (
        "train.max_steps=3",
        "train.tensorboard=false",
        "schedule.name=linear",
        "schedule.warmup_steps=0.7",
    )
    task.run(TrainOptions(dataset_config=settings, set=values, out=project / "o"), Silent())
    found = safetensors.read_header(project / "o" / "lora" / "lora.safetensors")[1]
    assert (found["ss_shuffle_caption"], found["ss_keep_tokens"], found["ss_flip_aug"]) == (
        "True",
        "1",
        "True",
    )
    assert found["ss_lr_warmup_steps"] == "2"
    assert found["ss_num_epochs"] == found["ss_epoch"] == "1"
    one, two = json.loads(found["ss_datasets"])
    assert (one["resolution"], two["resolution"]) == ([64, 64], [32, 64])
    assert one["bucket_info"]["buckets"] == {"0": {"resolution": [64, 64], "count": 6}}
    assert two["bucket_info"]["buckets"] == {"0": {"resolution": [32, 64], "count": 2}}
    assert one["subsets"][0]["img_count"] == 3
    assert two["subsets"][0]["shuffle_caption"] is False


def test_set_reaches_every_level_of_the_data(project: Path):
    settings = project / "settings.toml"
    settings.write_text(
        "[[datasets]]\nresolution = 64\nbatch_size = 3\n"
        "[[datasets.subsets]]\nimage_dir = 'train/2_aa12 person'\ncaption_extension = '.txt'\nnum_repeats = 2\n"
    )
    values = ("data.batch_size=1", "data.num_repeats=5")
    options = TrainOptions(
        dataset_config=settings,
        set=(*values, "train.max_steps=1", "train.tensorboard=false"),
        out=project / "o",
    )
    task.run(options, Silent())
    plan = next(r for r in read_events(project / "o" / "events.jsonl") if r["kind"] == "started")[
        "plan"
    ]
    assert (plan["showings_per_epoch"], plan["batches_per_epoch"]) == (15, 15)


def test_complete_run_means_the_same_again(project: Path):
    """The run.toml that a run leaves behind, trained elsewhere, gives the same bytes."""
    one = train(project, "a")
    options = TrainOptions(run=one / "run.toml", out=project / "b")
    task.run(options, Silent())
    assert final(project / "b") == final(one)


def test_own_run_toml_is_kept_beside_the_complete_one(project: Path):
    before = (project / "run.toml").read_text()
    task.run(TrainOptions(run=project / "run.toml", out=project), Silent())
    assert (project / "run.given.toml").read_text() == before
    assert (project / "run.toml").read_text() != before


def test_a_failed_start_blocks_nothing(project: Path):
    train(project, "a")
    with pytest.raises(UserError):
        train(project, "b", "model.path=nowhere")
    assert final(train(project, "b")) == final(project / "a")


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


def test_what_does_not_fit_fp16_is_not_lost(project: Path):
    """The last file cannot be written; the state can, and fp32 holds the numbers."""
    big = ("optimizer.learning_rate=3e5", "train.max_steps=1")
    with pytest.raises(UserError, match=r"not saved: .*output.precision = 'fp32'"):
        train(project, "a", *big)
    train(project, "a", *big, "output.precision=fp32", resume=True)
    assert (project / "a" / "lora" / "lora.safetensors").exists()


def test_failing_previews_and_states_do_not_end_a_run(project: Path):
    out = project / "a"
    out.mkdir()
    (out / "samples").write_text("in the way")
    train(project, "a", "sample.prompts=['aa12 --s 1']", "sample.every_steps=2")
    warned = [r["text"] for r in read_events(out / "events.jsonl") if r["kind"] == "warned"]
    assert sum("samples" in text for text in warned) == 3
    assert (out / "lora" / "lora.safetensors").exists()


@pytest.mark.parametrize(
    ("line", "told"), [("a --s 0", "1"), ("a --w 100", "96"), ("a --w 0", "64"), ("a --l 0", "1")]
)
def test_previews_that_cannot_be_drawn_as_written_are_told_before_the_start(
    project: Path, line: str, told: str
):
    given = [f"sample.prompts=['{line}']", "sample.every_steps=2"]
    plan = prepare(load_run(project / "run.toml", given), project).plan
    (said,) = [text for text in plan.warnings if line in text]
    assert told in said


@pytest.mark.parametrize("line", ["a --s many", "a --ss eular", "a --x 3"])
def test_impossible_previews_are_refused_before_the_start(project: Path, line: str):
    with pytest.raises(UserError, match=r"sample.prompts: 'a --"):
        train(project, "a", f"sample.prompts=['{line}']", "sample.every_steps=2")


def test_epochs_inside_a_long_step_are_not_missed(project: Path):
    """Steps of 5 batches run over the ends of epochs; each third epoch still leaves a file."""
    out = train(
        project,
        "a",
        "train.max_epochs=9",
        "train.gradient_accumulation_steps=5",
        "train.save_every_epochs=3",
        "train.save_every_steps=0",
    )
    names = sorted(p.name for p in (out / "lora").iterdir())
    assert [n for n in names if n != "lora.safetensors"] == [
        "lora-000003.safetensors",
        "lora-000006.safetensors",
    ]


def test_prodigy_with_two_rates_is_refused(project: Path):
    with pytest.raises(UserError, match="all parts need the same learning rate"):
        train(project, "a", "optimizer.name=prodigy", "optimizer.text_encoder_lr=0.5")
