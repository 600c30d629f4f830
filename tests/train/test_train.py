"""`renma train` on mame: what a run leaves behind, equal seeds, precision, mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from renma.config import load_run
from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.formats import safetensors
from renma.train import task
from renma.train.plan import prepare
from testbed.runs import final, kinds, train


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
    from renma.train.lessons import PictureLessons
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
    lessons = PictureLessons(run, family, network, feed, None)
    trainer = Trainer(run, prepared, family, network, lessons)
    number = next(n for n in range(20) if len(feed.batch(n).captions) == 2)
    whole = feed.batch(number)

    def gradient(parts) -> list[torch.Tensor]:
        total = sum(len(part.captions) for part in parts)
        for part in parts:
            (lessons.loss(part, lessons.draws(part)).sum() / total).backward()
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
