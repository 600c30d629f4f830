"""Rules about [adapter]: scale, rank, and options without effect."""

from __future__ import annotations

from collections.abc import Iterator

from renma.config.adapter import IA3, DyLora, LoKr, Lora, LoraFA, _Ranked, stored_alpha
from renma.config.blocks import cut_lists
from renma.config.layer_table import is_sdxl
from renma.core.counted import idle
from renma.train import start_plan
from renma.train.given import given
from renma.train.rules._base import Facts, Rule, Said

_STRONG, _WEAK = 4, 1 / 16
_DROPPED = 0.7


def _scales(facts: Facts) -> list[float]:
    """Returns alpha / rank of every layer that has them."""
    return [
        stored_alpha(own) / own.rank
        for _, own, _ in facts.chosen
        if isinstance(own, _Ranked) and not (isinstance(own, LoKr) and own.full_matrix)
    ]


def _strong(facts: Facts) -> Iterator[Said]:
    strongest = max(_scales(facts), default=0.0)
    if strongest > _STRONG:
        yield Said(
            f"adapter: alpha / rank = {strongest:g} is a strong scale",
            "An alpha between half the rank and the rank is usual.",
            "adapter.alpha",
        )


def _weak(facts: Facts) -> Iterator[Said]:
    run = facts.run
    if run.optimizer.traits.finds_rate or run.start.ranks_from_file:
        return
    weakest = min(_scales(facts), default=1.0)
    if weakest < _WEAK and not getattr(run.adapter, "rank_stabilized", False):
        yield Said(
            f"adapter: alpha / rank = {weakest:.3g} is a weak scale: what is learnt counts that "
            "little",
            "Raise alpha to half the rank, or the learning rate by as much.",
            "adapter.alpha",
        )


def _rank_beyond_layers(facts: Facts) -> Iterator[Said]:
    low = [(slot, own) for slot, own, _ in facts.chosen if isinstance(own, Lora | LoraFA | DyLora)]
    beyond = [own for slot, own in low if own.rank > min(slot.outputs, slot.columns)]
    if len(beyond) > len(low) / 4:
        yield Said(
            f"adapter.rank = {max(own.rank for own in beyond)} is more than {len(beyond)} of "
            f"{len(low)} layers have",
            "Lower it, or train them whole with adapter.algo = 'full'.",
            "adapter.rank",
        )


def _mostly_dropped(facts: Facts) -> Iterator[Said]:
    for name in ("dropout", "rank_dropout", "module_dropout"):
        share = getattr(facts.run.adapter, name, 0.0)
        if share > _DROPPED:
            yield Said(
                f"adapter.{name} = {share:g} leaves out most of what is trained in every step",
                "0.1 to 0.3 is usual.",
                f"adapter.{name}",
            )


def _idle_parts(facts: Facts) -> Iterator[Said]:
    adapter = facts.run.adapter
    whole = isinstance(adapter, LoKr) and adapter.full_matrix
    dead = given(adapter) & {"rank", "alpha"}
    if whole and dead:
        yield Said(f"adapter.{idle(sorted(dead))}: full_matrix is true")
    if whole:
        for name in ("rank_dropout", "decompose_both", "rank_stabilized"):
            if getattr(adapter, name):
                yield Said(f"adapter.{name} has no effect: full_matrix is true")
    if "dora_norm_gradient" in given(adapter) and adapter.model_dump()["dora"] == "off":
        yield Said("adapter.dora_norm_gradient has no effect: dora is off")
    if isinstance(adapter, Lora):
        yield from _timestep_ranks(adapter, facts)


def _timestep_ranks(adapter: Lora, facts: Facts) -> Iterator[Said]:
    if adapter.timestep_rank_power != 1 and adapter.min_timestep_rank is None:
        yield Said("adapter.timestep_rank_power has no effect: min_timestep_rank is not set")
    least = adapter.min_timestep_rank or 0
    if least >= max((getattr(own, "rank", 0) for _, own, _ in facts.chosen), default=0) > 0:
        yield Said(f"adapter.min_timestep_rank = {least} has no effect: no layer has more ranks")


def _idle_convolutions(facts: Facts) -> Iterator[Said]:
    adapter = facts.run.adapter
    if any(slot.conv3x3 for slot, _, _ in facts.chosen) or adapter.targets.preset_file:
        return
    dead = given(adapter) & {"conv_rank", "conv_alpha", "tucker"}
    dead |= {f"blocks.{n}" for n in given(adapter.blocks) & {"conv_ranks", "conv_alphas"}}
    for name in sorted(dead):
        yield Said(
            f"adapter.{name} has no effect: no 3x3 convolution is trained (targets.preset)",
            "Set adapter.targets.preset = 'conv', or leave it out.",
            f"adapter.{name}",
        )


def _idle_layers(facts: Facts) -> Iterator[Said]:
    adapter, targets = facts.run.adapter, facts.run.adapter.targets
    if given(adapter.blocks) and "unet" not in facts.parts:
        yield Said("adapter.blocks has no effect: the U-Net is not trained")
    if "preset" in given(targets) and targets.preset_file:
        yield Said("adapter.targets.preset has no effect: preset_file decides")
    if "on_input" in given(targets) and not isinstance(adapter, IA3):
        yield Said("adapter.targets.on_input has no effect: only (IA)3 scales inputs")
    parts = {"unet_lr_ratio": "unet", "text_encoder_lr_ratio": "text_encoder"}
    for name, part in parts.items():
        if name in given(adapter) and part not in facts.parts:
            yield Said(f"adapter.{name} has no effect: the {part} is not trained")
    sdxl = is_sdxl([slot for slot, _, _ in facts.chosen])
    yield from map(Said, cut_lists(adapter.blocks, sdxl))


def _overruled(facts: Facts) -> Iterator[Said]:
    yield from map(Said, start_plan.overruled(facts.run))


RULES = (
    Rule(
        "strong-scale",
        "warning",
        "alpha / rank above 4.",
        "The update is multiplied by it: the same learning rate then does that much more.",
        _strong,
    ),
    Rule(
        "weak-scale",
        "warning",
        "alpha / rank below 1/16, such as alpha 1 at rank 128.",
        "The update is multiplied by it: a rate that suits a scale of 1 hardly learns anything.",
        _weak,
    ),
    Rule(
        "rank-beyond-layers",
        "warning",
        "A rank larger than the layers.",
        "A matrix has no more ranks than its smaller side: more only cost memory.",
        _rank_beyond_layers,
    ),
    Rule(
        "mostly-dropped",
        "warning",
        "Dropout above 0.7.",
        "It is meant against overfitting; this much keeps anything from being learnt.",
        _mostly_dropped,
    ),
    Rule(
        "adapter-idle",
        "warning",
        "Options of an algorithm that another option switches off.",
        "They change nothing.",
        _idle_parts,
    ),
    Rule(
        "convolutions-idle",
        "warning",
        "Options for 3x3 convolutions that are not trained.",
        "Only the presets 'conv' and 'full' and a preset file train them.",
        _idle_convolutions,
    ),
    Rule(
        "layers-idle",
        "warning",
        "Options for layers or parts that are not trained, and lists longer than the model.",
        "They change nothing.",
        _idle_layers,
    ),
    Rule(
        "file-decides",
        "warning",
        "Options of [adapter] beside start.ranks_from_file.",
        "Layers, ranks and alphas then come from the file.",
        _overruled,
    ),
)
