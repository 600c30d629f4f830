"""Options that contradict each other, or that have no effect as the run stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from renma.config import Run
from renma.config._base import Section
from renma.config.adapter import IA3, LoKr, Lora, _Ranked, stored_alpha
from renma.config.blocks import cut_lists
from renma.config.layer_table import Choice, is_sdxl
from renma.config.optimizer import Prodigy
from renma.data.folder import ScannedSet


def oddities(run: Run, sets: Sequence[ScannedSet], steps: int) -> tuple[str, ...]:
    """Returns one line for each oddity; none of them stops the run."""
    named = bool(run.data.datasets)
    rooms = (_rates(run, steps), _saving(run, steps), _captions(sets, named), _buckets(sets))
    return tuple(text for room in (*rooms, _prior(run, sets)) for text in room)


def adapter_oddities(run: Run, chosen: Sequence[Choice]) -> tuple[str, ...]:
    """Returns one line for each adapter option that is strange or has no effect.

    Args:
        run: the run.
        chosen: its trained layers.
    """
    sdxl = is_sdxl([slot for slot, _, _ in chosen])
    cut = cut_lists(run.adapter.blocks, sdxl)
    return (*_scales(run, chosen), *_convolutions(run, chosen), *_layers(run), *cut)


def given(section: Section) -> set[str]:
    """Returns the options that somebody chose: set, and not to what they are anyway.

    The run.toml in a run's folder has every option written out.
    """
    fields = type(section).model_fields
    return {
        name
        for name in section.model_fields_set
        if getattr(section, name) != fields[name].get_default(call_default_factory=True)
    }


def _scales(run: Run, chosen: Sequence[Choice]) -> Iterator[str]:
    strongest = max(
        (
            stored_alpha(own) / own.rank
            for _, own, _ in chosen
            if isinstance(own, _Ranked) and not (isinstance(own, LoKr) and own.full_matrix)
        ),
        default=0.0,
    )
    if strongest > 4:
        yield f"adapter: alpha / rank = {strongest:g} is a strong scale."
    adapter = run.adapter
    dead = given(adapter) & {"rank", "alpha"}
    if isinstance(adapter, LoKr) and adapter.full_matrix and dead:
        yield f"adapter.{', '.join(sorted(dead))} have no effect: full_matrix is true."
    if isinstance(adapter, LoKr) and adapter.full_matrix:
        dead = ("rank_dropout", "decompose_both", "rank_stabilized")
        for name in (n for n in dead if getattr(adapter, n)):
            yield f"adapter.{name} has no effect: full_matrix is true."
    if isinstance(adapter, Lora):
        if adapter.timestep_rank_power != 1 and adapter.min_timestep_rank is None:
            yield "adapter.timestep_rank_power has no effect: min_timestep_rank is not set."
        least = adapter.min_timestep_rank or 0
        if least >= max((getattr(own, "rank", 0) for _, own, _ in chosen), default=0) > 0:
            yield f"adapter.min_timestep_rank = {least} has no effect: no layer has more ranks."
    if "dora_norm_gradient" in given(adapter) and adapter.model_dump()["dora"] == "off":
        yield "adapter.dora_norm_gradient has no effect: dora is off."


def _convolutions(run: Run, chosen: Sequence[Choice]) -> Iterator[str]:
    adapter = run.adapter
    if any(slot.conv3x3 for slot, _, _ in chosen) or adapter.targets.preset_file:
        return
    dead = given(adapter) & {"conv_rank", "conv_alpha", "tucker"}
    dead |= {f"blocks.{n}" for n in given(adapter.blocks) & {"conv_ranks", "conv_alphas"}}
    for name in sorted(dead):
        yield f"adapter.{name} has no effect: no 3x3 convolution is trained (targets.preset)."


def _layers(run: Run) -> Iterator[str]:
    adapter, targets = run.adapter, run.adapter.targets
    if given(adapter.blocks) and "unet" not in _trained(run):
        yield "adapter.blocks has no effect: the U-Net is not trained."
    if "preset" in given(targets) and targets.preset_file:
        yield "adapter.targets.preset has no effect: preset_file decides."
    if "on_input" in given(targets) and not isinstance(adapter, IA3):
        yield "adapter.targets.on_input has no effect: only (IA)3 scales inputs."
    parts = {"unet_lr_ratio": "unet", "text_encoder_lr_ratio": "text_encoder"}
    for name, part in parts.items():
        if name in given(adapter) and part not in _trained(run):
            yield f"adapter.{name} has no effect: the {part} is not trained."


def _trained(run: Run) -> set[str]:
    wanted = {"unet": run.train.unet, "text_encoder": run.train.text_encoder}
    return {part for part, on in wanted.items() if on and run.optimizer.rate(part) > 0}


def _rates(run: Run, steps: int) -> Iterator[str]:
    train, optimizer = run.train, run.optimizer
    if optimizer.text_encoder_lr is not None and not train.text_encoder:
        yield "optimizer.text_encoder_lr has no effect: train.text_encoder is false."
    if optimizer.unet_lr is not None and not train.unet:
        yield "optimizer.unet_lr has no effect: train.unet is false."
    if isinstance(optimizer, Prodigy) and max(map(optimizer.rate, ("unet", "text_encoder"))) < 0.1:
        yield "optimizer: prodigy finds the step size itself; a learning rate near 1 is meant."
    warmup = getattr(run.schedule, "warmup", None)
    if warmup and warmup(steps) >= steps:
        yield f"schedule.warmup_steps: the warm-up takes all of the {steps} steps."


def _saving(run: Run, steps: int) -> Iterator[str]:
    train, sample = run.train, run.sample
    if train.max_epochs is not None and "max_steps" in train.model_fields_set:
        yield f"train.max_steps has no effect: max_epochs decides ({steps} steps)."
    if train.save_every_steps > steps:
        yield f"train.save_every_steps = {train.save_every_steps} never comes in {steps} steps."
    prompts = bool(sample.prompts or sample.prompts_file)
    often = sample.every_steps or sample.every_epochs or sample.at_first
    if prompts and not often:
        yield "sample.prompts have no effect: sample.every_steps and every_epochs are 0."
    if often and not prompts:
        yield "sample.every_steps or every_epochs has no effect: there are no sample.prompts."
    if sample.every_steps and sample.every_epochs:
        yield "sample.every_steps has no effect: every_epochs wins."


def _captions(sets: Sequence[ScannedSet], named: bool) -> Iterator[str]:
    for scanned in sets:
        for subset in scanned.dataset.subsets:
            tags_move = (
                subset.shuffle_caption
                or subset.caption_tag_dropout_rate
                or subset.token_warmup_step
            )
            if subset.keep_tokens and not tags_move:
                yield f"keep_tokens has no effect in {subset.image_dir}: captions are not shuffled."
            captioned = [i.captioned for i in scanned.items if i.subset == subset]
            # a class that the folder's own name tells is nobody's option
            chosen = subset.class_tokens and not subset.image_dir.endswith(
                f"_{subset.class_tokens}"
            )
            if named and chosen and captioned and all(captioned):
                yield (
                    f"class_tokens '{subset.class_tokens}' have no effect in {subset.image_dir}: "
                    "every picture has a caption."
                )


def _buckets(sets: Sequence[ScannedSet]) -> Iterator[str]:
    for scanned in sets:
        dataset = scanned.dataset
        given = dataset.model_fields_set & {
            "min_bucket_reso",
            "max_bucket_reso",
            "bucket_no_upscale",
        }
        changed = [name for name in given if getattr(dataset, name) != _default(name)]
        limits = [name for name in changed if name != "bucket_no_upscale"]
        if limits and dataset.enable_bucket and dataset.bucket_no_upscale:
            yield f"{', '.join(sorted(limits))} have no effect: bucket_no_upscale is true."
        if changed and not dataset.enable_bucket:
            yield f"{', '.join(sorted(changed))} have no effect: enable_bucket is false."


def _default(name: str) -> object:
    from renma.config.data import DatasetOptions

    return DatasetOptions.model_fields[name].default


def _prior(run: Run, sets: Sequence[ScannedSet]) -> Iterator[str]:
    has_reg = any(item.subset.is_reg for scanned in sets for item in scanned.items)
    if run.objective.prior_loss_weight != 1 and not has_reg:
        yield "objective.prior_loss_weight has no effect: there are no regularisation pictures."
