"""Options that contradict each other, or that have no effect as the run stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from renma.config import Run
from renma.config.optimizer import Prodigy
from renma.data.folder import ScannedSet


def oddities(run: Run, sets: Sequence[ScannedSet], steps: int) -> tuple[str, ...]:
    """Returns one line for each oddity; none of them stops the run."""
    named = bool(run.data.datasets)
    rooms = (_rates(run, steps), _saving(run, steps), _captions(sets, named), _buckets(sets))
    return tuple(text for room in (*rooms, _prior(run, sets)) for text in room)


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
    if run.adapter.alpha > 4 * run.adapter.rank:
        yield f"adapter: alpha / rank = {run.adapter.alpha / run.adapter.rank:g} is a strong scale."


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
            tags_move = subset.shuffle_caption or subset.caption_tag_dropout_rate
            if subset.keep_tokens and not tags_move:
                yield f"keep_tokens has no effect in {subset.image_dir}: captions are not shuffled."
            captioned = [i.captioned for i in scanned.items if i.subset == subset]
            if named and subset.class_tokens and captioned and all(captioned):
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
