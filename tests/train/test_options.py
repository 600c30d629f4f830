"""Options of a run reach what they are for: precision, layers, threads, memory, recomputation."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from renma.config.model import ModelConfig
from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.engine.model import load_family
from renma.families._stable import StableDiffusion
from renma.train import task
from renma.train.loop import Trainer


def train(project: Path, out: str, *values: str) -> list[dict]:
    """Trains and returns the events."""
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out)
    task.run(options, Silent())
    return list(read_events(project / out / "events.jsonl"))


def losses(rows: list[dict]) -> list[float]:
    return [row["loss"] for row in rows if row["kind"] == "step"]


@pytest.fixture
def at_steps(monkeypatch) -> Callable[[Callable[[Trainer], None]], None]:
    """Calls a function with the trainer before each step of the runs that follow."""

    def start(look: Callable[[Trainer], None]) -> None:
        step = Trainer.step

        def watched(self: Trainer):
            look(self)
            return step(self)

        monkeypatch.setattr(Trainer, "step", watched)

    return start


WITH_EFFECT = (
    "model.clip_skip=2", "train.precision=bf16", "data.flip_aug=true",
    "data.caption_dropout_rate=1", "data.caption_tag_dropout_rate=0.9",
    "objective.noise_offset=0.1", "objective.min_snr_gamma=5", "objective.prior_loss_weight=0.5",
    "optimizer.weight_decay=100", "adapter.alpha=1",
)  # fmt: skip


def test_options_have_an_effect_and_a_sane_one(lopsided: Path):
    """Other losses than without it, but of the same size."""
    steps = "train.max_steps=2"
    plain = losses(train(lopsided, "a", steps))
    for number, value in enumerate(WITH_EFFECT):
        changed = losses(train(lopsided, f"b{number}", steps, value))
        assert changed != plain, value
        assert all(loss < 2 * before for loss, before in zip(changed, plain, strict=True)), value


def test_bf16_computes_in_bf16_and_trains_in_fp32(project: Path, at_steps):
    seen = []
    at_steps(
        lambda one: seen.append(
            {
                "model": {p.dtype for m in one.family.parts().values() for p in m.parameters()},
                "network": {p.dtype for p in one.trained},
            }
        )
    )
    steps = "train.max_steps=4"
    rough = losses(train(project, "a", steps, "train.precision=bf16"))
    assert seen[-1] == {"model": {torch.bfloat16}, "network": {torch.float32}}
    exact = losses(train(project, "b", steps))
    assert seen[-1] == {"model": {torch.float32}, "network": {torch.float32}}
    assert all(a != b for a, b in zip(rough, exact, strict=True))
    assert rough == pytest.approx(exact, rel=0.05)


def test_clip_skip_takes_the_layer_counted_from_the_end(mame):
    """Skip 2 is the last but one layer's output through the final norm, computed by hand."""
    skipping = load_family(ModelConfig(clip_skip=2), device="cpu")
    prompt = ["aa12, smile"]
    states = skipping.encode_text(prompt).states
    encoder = mame.parts()["text_encoder"]
    inner = getattr(encoder, "text_model", encoder)
    seen = []
    handle = inner.encoder.layers[-2].register_forward_hook(lambda m, i, o: seen.append(o))
    last = mame.encode_text(prompt).states
    handle.remove()
    layer = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    expected = inner.final_layer_norm(layer)
    torch.testing.assert_close(states, expected)
    assert not torch.allclose(states, last, atol=1e-3)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_run_uses_the_threads_it_is_told_to(project: Path, at_steps, threads: int):
    seen = []
    at_steps(lambda one: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rows = train(project, "a", f"train.threads={threads}", "train.max_steps=1")
    finally:
        torch.set_num_threads(before)
    assert seen == [threads]
    assert next(r["threads"] for r in rows if r["kind"] == "started") == threads


PREVIEW = ("sample.prompts=['aa12 --s 1']", "sample.at_first=true")


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ((), {"text_encoder"}),
        (("train.text_encoder=false", "data.shuffle_caption=false"), set()),
        (("train.text_encoder=false", "data.shuffle_caption=true"), {"text_encoder"}),
        (("train.text_encoder=false", "data.shuffle_caption=false", *PREVIEW), {"vae"}),
        (PREVIEW, {"text_encoder", "vae"}),
    ],
    ids=["trained", "frozen", "frozen+shuffled", "frozen+previews", "trained+previews"],
)
def test_parts_that_have_done_their_work_leave_memory(
    project: Path, at_steps, monkeypatch, values, kept: set[str]
):
    """And with warm caches they are not even read."""
    known: dict[str, weakref.ref] = {}
    monkeypatch.setenv("RENMA_CACHE", str(project / "cache"))  # nothing is known from other tests
    really = StableDiffusion.load

    def watched(family: StableDiffusion, part: str) -> None:
        really(family, part)
        known.update({name: weakref.ref(part) for name, part in family.parts().items()})

    monkeypatch.setattr(StableDiffusion, "load", watched)
    alive = []

    def look(one: Trainer) -> None:
        gc.collect()
        alive.append(set(one.family.parts()))
        assert all((part() is not None) == (name in alive[-1]) for name, part in known.items())

    at_steps(look)
    train(project, "a", "train.max_steps=1", *values)
    assert alive[0] == {"unet", *kept}
    assert {"vae", "text_encoder"} <= set(known)  # both were there for what had to be encoded
    if not kept and values:
        known.clear()
        train(project, "b", "train.max_steps=1", *values)
        assert alive[1] == {"unet"}
        assert set(known) == {"unet"}


# inside CLIP's layers: transformers checkpoints a layer's forward, its hooks stay outside
RECOMPUTED = ("BasicTransformerBlock", "ResnetBlock2D", "CLIPMLP")


@pytest.mark.parametrize("previews", [(), PREVIEW], ids=["plain", "after a preview"])
def test_gradient_checkpointing_computes_blocks_twice(project: Path, at_steps, previews):
    """Forwards of blocks during steps; a preview switches recomputing off and on again."""
    calls: Counter[str] = Counter()
    hooked = []

    def look(one: Trainer) -> None:
        if one in hooked:
            return
        hooked.append(one)
        for part in one.family.parts().values():
            for module in part.modules():
                if type(module).__name__ in RECOMPUTED:
                    name = type(module).__name__
                    module.register_forward_pre_hook(lambda *_, n=name: calls.update([n]))

    at_steps(look)
    values = ("train.max_steps=2", *previews)
    train(project, "a", *values)
    once = Counter(calls)
    assert all(once[name] > 0 for name in RECOMPUTED)
    calls.clear()
    train(project, "b", *values, "train.gradient_checkpointing=true")
    assert calls["BasicTransformerBlock"] == 2 * once["BasicTransformerBlock"]
    assert calls["CLIPMLP"] == 2 * once["CLIPMLP"]
    # diffusers computes the first block of the middle once
    assert calls["ResnetBlock2D"] > 1.8 * once["ResnetBlock2D"]


def _checked(project: Path, *values: str):
    from renma.config import load_run
    from renma.train.plan import prepare

    return prepare(load_run(project / "run.toml", values), project)


def test_prodigy_refuses_rates_of_blocks_and_factors(project: Path):
    prodigy = ("optimizer={name='prodigy'}",)
    _checked(project, *prodigy)
    with pytest.raises(UserError, match="adapter.lr_ratio: prodigy estimates one"):
        _checked(project, *prodigy, "adapter.lr_ratio=16")
    with pytest.raises(UserError, match="adapter.blocks: prodigy estimates one"):
        _checked(project, *prodigy, "adapter.blocks.mid_rates=0.5")


def test_missing_start_files_are_named_before_anything_is_loaded(project: Path):
    with pytest.raises(UserError, match=r"gone\.safetensors: there is no such file"):
        _checked(project, "start.weights='gone.safetensors'")
    with pytest.raises(UserError, match=r"gone\.safetensors: there is no such file"):
        _checked(project, "start.base_weights=['gone.safetensors']")


def test_another_algorithm_for_one_time(project: Path):
    """The file's own rank and alpha belong to its own algorithm: both are named, nothing else."""
    with pytest.raises(UserError, match=r"means nothing to 'ia3'\. Remove it, and alpha too\.$"):
        _checked(project, "adapter.rank=3", "adapter.algo=ia3")
    assert _checked(project, "adapter={algo='ia3'}").plan.parameters > 0


@pytest.mark.parametrize(("power", "middle"), [(1.0, 0.5), (2.0, 0.25)])
def test_fewer_ranks_learn_the_noisier_it_is(project: Path, power: float, middle: float):
    """T-LoRA: all ranks at timestep 0, the least at the end of the schedule."""
    from types import SimpleNamespace

    from renma.config import load_run

    values = [f"adapter={{rank=4,min_timestep_rank=1,timestep_rank_power={power}}}"]
    run = load_run(project / "run.toml", values)
    trainer = SimpleNamespace(run=run, schedule=SimpleNamespace(timesteps=1000))
    share = Trainer._visible(trainer, torch.tensor([0, 500, 1000]))
    assert share.tolist() == pytest.approx([1.0, middle, 0.0])


def test_lora_plus_holds_for_every_pair_of_factors(mame):
    """The factor that starts at zero is the fast one (adapters of LyCORIS too)."""
    from renma.config.adapter import DyLora, GLora, LoHa, LoKr, Lora
    from renma.engine.network import Network

    for make in (Lora, DyLora, LoHa, LoKr, GLora):
        config = make(rank=2, lr_ratio=8, text_encoder_lr_ratio=3)
        network = Network.fresh(mame, config, 0, ("unet", "text_encoder"))
        for part, ratio in (("unet", 8), ("text_encoder", 3)):
            fast, slow = network.groups(config, part)
            assert (fast.factor, slow.factor) == (ratio, 1.0)
            assert not any(p.any() for p in fast.parameters)
            assert all(p.any() for p in slow.parameters)


def test_options_of_adapters_without_effect_are_named(project: Path):
    def warned(value: str) -> str:
        return " ".join(_checked(project, value).plan.warnings)

    assert "timestep_rank_power has no effect" in warned("adapter={timestep_rank_power=2}")
    assert "min_timestep_rank = 9 has no effect" in warned("adapter={min_timestep_rank=9}")
    assert "min_timestep_rank" not in warned("adapter={min_timestep_rank=2}")
    whole = "adapter={algo='lokr',full_matrix=true,rank_dropout=0.1,decompose_both=true}"
    assert "rank_dropout has no effect: full_matrix" in warned(whole)


def test_the_run_toml_of_a_folder_is_not_called_odd(project: Path):
    """It has every option written out, which nobody chose."""
    from renma.config import dump, load_run
    from renma.train.folder import with_places
    from renma.train.plan import prepare

    first = _checked(project)
    run = load_run(project / "run.toml")
    datasets = tuple(scanned.dataset for scanned in first.scan.sets)

    (project / "complete.toml").write_text(dump(with_places(run, project, datasets)))
    again = prepare(load_run(project / "complete.toml"), project)
    assert again.plan.warnings == first.plan.warnings
