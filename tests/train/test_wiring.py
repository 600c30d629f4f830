"""What one part of a run hands to another: each of these wires has been found cut without a sound."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.families import _twins
from renma.formats import safetensors
from renma.train import previews, task, validation
from renma.train.feed import Feed
from renma.train.loop import Trainer
from renma.train.plan import prepare
from renma.train.source import load

Tensors = Mapping[str, torch.Tensor]
SAMPLE = "sample.prompts=['aa12 --w 64 --h 64 --s 1']"
AVERAGED = (
    "optimizer.name=adamwschedulefree", "schedule.name=constant", "train.max_steps=4",
    "train.text_encoder=false", "output.precision=fp32", "sample.every_steps=2", SAMPLE,
)  # fmt: skip


def trained(project: Path, name: str, *values: str) -> Path:
    task.run(TrainOptions(run=project / "run.toml", set=values, out=project / name), Silent())
    return project / name


def lora(out: Path, name: str = "lora") -> dict[str, torch.Tensor]:
    return dict(safetensors.read_tensors(out / "lora" / f"{name}.safetensors"))


def metadata(out: Path) -> Mapping[str, str]:
    return safetensors.read_header(out / "lora" / "lora.safetensors")[1]


def same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[Trainer]:
    """The trainers made in a test."""
    found: list[Trainer] = []
    make = Trainer.__init__

    def noted(self: Trainer, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        found.append(self)

    monkeypatch.setattr(Trainer, "__init__", noted)
    return found


def look(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: t.detach().clone() for name, t in trainer.network.tensors().items()}


def test_a_schedule_free_run_saves_the_averaged_weights(project: Path, trainers: list[Trainer]):
    """arXiv 2405.15682: y = (1 - beta1) z + beta1 x is stepped, x is what to use."""
    saved = lora(trained(project, "a", *AVERAGED[:-2]))
    (trainer,) = trainers
    stepped = look(trainer)
    with torch.no_grad():
        for group in trainer.optimizer.param_groups:
            share = group["betas"][0]
            for y in group["params"]:
                if "z" in trainer.optimizer.state[y]:
                    z = trainer.optimizer.state[y]["z"]
                    y.copy_((y - (1 - share) * z) / share)
    used = look(trainer)
    apart = max((used[name] - stepped[name]).abs().max() for name in used)
    assert apart > 1e-5, "otherwise this test could not fail"
    for name, tensor in saved.items():
        torch.testing.assert_close(tensor, used[name], atol=1e-7, rtol=1e-5)


def test_previews_and_measurements_use_the_weights_that_are_saved(
    project: Path, trainers: list[Trainer], monkeypatch: pytest.MonkeyPatch
):
    drawn: dict[int, Tensors] = {}
    measured: dict[int, Tensors] = {}
    measure = validation.held_out_loss

    def draw_nothing(*_: object, **__: object) -> Iterator[dict[int, Image.Image]]:
        drawn[trainers[0].counters.step] = look(trainers[0])
        yield from ()

    def noted(*args: Any) -> torch.Tensor:
        measured[trainers[0].counters.step] = look(trainers[0])
        return measure(*args)

    monkeypatch.setattr(previews, "draw_batches", draw_nothing)
    monkeypatch.setattr(validation, "held_out_loss", noted)
    out = trained(
        project, "a", *AVERAGED, "data.validation_split=0.3", "train.validate_every_steps=2"
    )
    for step, file in ((2, "lora-step00000002"), (4, "lora")):
        assert same(drawn[step], lora(out, file))
        assert same(measured[step], lora(out, file))
    assert not same(drawn[4], look(trainers[0])), "otherwise this test could not fail"


@pytest.mark.parametrize("said_by", ["the option", "the model", "nobody"])
def test_previews_and_metadata_have_the_schedule_that_was_trained(
    project: Path, monkeypatch: pytest.MonkeyPatch, said_by: str
):
    """arXiv 2305.08891: with zero terminal SNR nothing of the picture is left at the end."""
    model = _twins.write_folder("sd2-v", project / "model")
    (config,) = model.rglob("scheduler_config.json")
    own = json.loads(config.read_text())
    config.write_text(json.dumps(own | {"rescale_betas_zero_snr": said_by == "the model"}))
    used: list[Any] = []

    def draw_nothing(*_: object, **options: Any) -> Iterator[dict[int, Image.Image]]:
        used.append(options["schedule_config"])
        yield from ()

    monkeypatch.setattr(previews, "draw_batches", draw_nothing)
    option = ["objective.zero_terminal_snr=true"] if said_by == "the option" else []
    given = ("train.max_steps=1", "sample.every_steps=1", "train.text_encoder=false", SAMPLE)
    out = trained(project, "a", f"model.path={model}", *given, *option)
    (schedule,) = used
    sampler: Any = DDIMScheduler.from_config(schedule)
    left = float(sampler.alphas_cumprod[-1])
    wanted = said_by != "nobody"
    assert (left < 1e-6) == wanted
    assert schedule["prediction_type"] == "v_prediction"
    assert metadata(out)["ss_zero_terminal_snr"] == str(wanted)


def test_cached_texts_belong_to_their_clip_skip(project: Path, monkeypatch: pytest.MonkeyPatch):
    """E7: two runs share a cache; the second must not learn with the states of the first."""
    monkeypatch.setenv("RENMA_CACHE", str(project / "cache"))
    given = ("train.text_encoder=false", "data.shuffle_caption=false", "train.max_steps=2")
    last, again, other = (
        lora(trained(project, name, *given, f"model.clip_skip={skip}"))
        for name, skip in (("a", 1), ("b", 1), ("c", 2))
    )
    assert same(last, again)
    assert not same(last, other)


def fingerprint(project: Path, *values: str) -> tuple[str, set[str]]:
    """Returns a run's fingerprint and the files that it holds out."""
    source = load(project / "run.toml", None, values)
    prepared = prepare(source.run, source.base)
    never: Any = None
    held = {item.path.name for s in prepared.scan.sets for item in s.held_out}
    return Feed(source.run, prepared, never).fingerprint(), held


def test_the_fingerprint_notices_a_held_out_picture(project: Path):
    """Its losses would not compare; which pictures are trained stays as it is."""
    split = "data.validation_split=0.3"
    before, held = fingerprint(project, split)
    (name,) = held
    path = next((project / "train").rglob(name))
    path.with_suffix(".txt").write_text("another caption")
    recaptioned, still = fingerprint(project, split)
    assert (recaptioned != before, still) == (True, held)
    for shade in range(60):
        Image.new("RGB", (64, 64), (shade, 4 * shade, 9)).save(path)
        repainted, still = fingerprint(project, split)
        if still == held:  # the draw hangs on the bytes
            assert repainted != recaptioned
            return
    pytest.fail("no other picture is held out")


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (0, 2)])
def test_no_more_batches_are_measured_than_allowed(
    project: Path, monkeypatch: pytest.MonkeyPatch, most: int, expected: int
):
    sizes: list[int] = []
    measure = validation.held_out_loss

    def noted(*args: Any) -> torch.Tensor:
        sizes.append(len(measure(*args)))
        return measure(*args)

    monkeypatch.setattr(validation, "held_out_loss", noted)
    out = trained(
        project, "a", "data.validation_split=0.6", "data.batch_size=1", "train.max_steps=1",
        "train.text_encoder=false", f"train.max_validation_batches={most}",
    )  # fmt: skip
    times = [row for row in read_events(out / "events.jsonl") if row["kind"] == "validated"]
    assert len(times) == 2
    assert sizes == [1] * 2 * expected
    assert metadata(out)["ss_num_validation_images"] == "2"
    assert metadata(out)["ss_zero_terminal_snr"] == "False"
