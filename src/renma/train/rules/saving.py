"""Rules about what a run writes: checkpoints, previews, validation, room on the disk."""

from __future__ import annotations

from collections.abc import Iterator

from renma.core.counted import counted
from renma.train.given import given
from renma.train.retention import shortage
from renma.train.rules._base import Facts, Rule, Said

_GIB = 2**30
_MUCH = 10 * _GIB
_MANY_FILES = 100
_LONG = 1000
_WORDS = frozenset(
    {"title", "author", "description", "license", "tags", "usage_hint", "comment"}
)  # the trigger word is looked for in captions and previews too
_KEPT_WORDS = {"none": frozenset[str](), "minimal": frozenset({"title"})}
"""What the file still says of them."""
_DRAWING = {"rescale", "sampler", "scale", "steps", "weights"}
"""Options of [sample] that only say how a prompt is drawn."""


def _two_lengths(facts: Facts) -> Iterator[Said]:
    train = facts.run.train
    if train.max_epochs is not None and "max_steps" in given(train):
        yield Said(
            f"train.max_steps has no effect: max_epochs decides ({counted(facts.steps, 'step')})",
            "Keep one of them.",
            "train.max_steps",
        )


def _never_saved(facts: Facts) -> Iterator[Said]:
    train = facts.run.train
    if train.save_every_steps > facts.steps:
        yield Said(
            f"train.save_every_steps = {train.save_every_steps} never comes in "
            f"{counted(facts.steps, 'step')}",
            "Lower it; the final file is written anyway.",
            "train.save_every_steps",
        )
    if train.save_every_epochs and len(facts.saves.files) == 1 and not train.save_every_steps:
        yield Said(
            f"train.save_every_epochs = {train.save_every_epochs} never comes in "
            f"{counted(facts.steps, 'step')}",
            "Lower it; the final file is written anyway.",
            "train.save_every_epochs",
        )


def _nothing_to_keep(facts: Facts) -> Iterator[Said]:
    train = facts.run.train
    if train.keep_checkpoints and not (train.save_every_steps or train.save_every_epochs):
        yield Said(
            f"train.keep_checkpoints = {train.keep_checkpoints} has no effect: only the final LoRA "
            "is written",
            "Set train.save_every_steps or save_every_epochs, or leave it out.",
            "train.keep_checkpoints",
        )


def _words_for_nobody(facts: Facts) -> Iterator[Said]:
    output = facts.run.output
    left = _KEPT_WORDS.get(output.metadata)
    dead = [] if left is None else sorted(given(output) & _WORDS - left)
    if dead:
        yield Said(
            f"output.{', '.join(dead)} {'have' if len(dead) > 1 else 'has'} no effect: "
            f"metadata = '{output.metadata}' leaves {'them' if len(dead) > 1 else 'it'} out",
            "Set output.metadata = 'full', or leave out the words.",
            f"output.{dead[0]}",
        )


def _only_the_last(facts: Facts) -> Iterator[Said]:
    train = facts.run.train
    if facts.steps >= _LONG and not (train.save_every_steps or train.save_every_epochs):
        yield Said(
            "only the final LoRA is written",
            f"train.save_every_steps = {max(1, facts.steps // 8 // 50 * 50)} keeps earlier ones, "
            "of which one is often better.",
            "train.save_every_steps",
        )


def _saved_too_often(facts: Facts) -> Iterator[Said]:
    saves = facts.saves
    size = saves.kept * saves.file_bytes
    if saves.kept > _MANY_FILES or size > _MUCH:
        yield Said(
            f"{saves.kept} LoRA files are kept, {size / _GIB:.1f} GiB in all",
            "Set train.keep_checkpoints, or save less often.",
            "train.keep_checkpoints",
        )


def _no_room(facts: Facts) -> Iterator[Said]:
    if text := shortage(facts.base, facts.saves.room):
        yield Said(text)


def _previews(facts: Facts) -> Iterator[Said]:
    sample = facts.run.sample
    prompts = bool(sample.prompts or sample.prompts_file)
    often = sample.every_steps or sample.every_epochs or sample.at_first
    if prompts and not often:
        yield Said(
            "sample.prompts have no effect: sample.every_steps and every_epochs are 0",
            "Set one of them.",
            "sample.prompts",
        )
    if often and not prompts:
        yield Said(
            "sample.every_steps or every_epochs has no effect: there are no sample.prompts",
            "Write some, or a sample.prompts_file.",
            "sample.every_steps",
        )
    dead = sorted(given(sample) & _DRAWING)
    if dead and not prompts:
        yield Said(
            f"sample.{', '.join(dead)} {'have' if len(dead) > 1 else 'has'} no effect: there are "
            "no sample.prompts",
            "Write some, or a sample.prompts_file.",
            f"sample.{dead[0]}",
        )
    if sample.every_steps and sample.every_epochs:
        yield Said(
            "sample.every_steps has no effect: every_epochs wins",
            "Keep one of them.",
            "sample.every_steps",
        )
    if prompts and sample.every_steps > facts.steps and not sample.every_epochs:
        yield Said(
            f"sample.every_steps = {sample.every_steps} never comes in "
            f"{counted(facts.steps, 'step')}",
            "Lower it.",
            "sample.every_steps",
        )


def _trigger_not_drawn(facts: Facts) -> Iterator[Said]:
    trigger = facts.run.output.trigger.strip().lower()
    drawn = facts.saves.preview_steps and facts.prompts
    if trigger and drawn and not any(trigger in p.text.lower() for p in facts.prompts):
        yield Said(
            f"no preview prompt has the trigger word '{trigger}'",
            "Add one that does.",
            "sample.prompts",
        )


def _nothing_held_out(facts: Facts) -> Iterator[Said]:
    if any(scanned.held_out for scanned in facts.scan.sets):
        return
    names = {"validate_every_steps", "validate_every_epochs", "max_validation_batches"}
    dead = sorted(given(facts.run.train) & names)
    if dead:
        yield Said(
            f"train.{', '.join(dead)} {'have' if len(dead) > 1 else 'has'} no effect: no picture "
            "is held out",
            "Set data.validation_split = 0.1.",
            f"train.{dead[0]}",
        )


def _never_measured(facts: Facts) -> Iterator[Said]:
    every = facts.run.train.validate_every_steps
    if every > facts.steps and any(scanned.held_out for scanned in facts.scan.sets):
        yield Said(
            f"train.validate_every_steps = {every} never comes in {counted(facts.steps, 'step')}",
            "Lower it; what is held out is measured at the start and at the end anyway.",
            "train.validate_every_steps",
        )


def _mostly_held_out(facts: Facts) -> Iterator[Said]:
    trained = len({item.digest for item in facts.trained})
    apart = len({item.digest for scanned in facts.scan.sets for item in scanned.held_out})
    if apart > trained:
        split = max(scanned.dataset.validation_split for scanned in facts.scan.sets)
        yield Said(
            f"validation_split = {split:g} holds {apart} of {counted(apart + trained, 'picture')} "
            f"out: {trained} to be trained",
            "It is the share that is only measured; 0.1 to 0.2 is usual.",
            "data.validation_split",
        )


RULES = (
    Rule(
        "two-lengths",
        "warning",
        "max_steps beside max_epochs.",
        "Only one of them can say how long the run is.",
        _two_lengths,
    ),
    Rule(
        "never-saved",
        "warning",
        "A checkpoint interval longer than the run.",
        "No checkpoint is written before the end.",
        _never_saved,
    ),
    Rule(
        "nothing-to-keep",
        "warning",
        "keep_checkpoints without checkpoints.",
        "The final file always stays.",
        _nothing_to_keep,
    ),
    Rule(
        "words-left-out",
        "warning",
        "Title, author and the like beside metadata = 'none' or 'minimal'.",
        "They are metadata, and only 'full' writes all of them.",
        _words_for_nobody,
    ),
    Rule(
        "only-the-last",
        "note",
        "A long run without checkpoints.",
        "The best LoRA is often not the last: it may have learnt too much by then.",
        _only_the_last,
    ),
    Rule(
        "saved-too-often",
        "warning",
        "More than 100 LoRA files, or more than 10 GiB of them.",
        "Nobody compares that many.",
        _saved_too_often,
    ),
    Rule(
        "no-room",
        "warning",
        "A disk with less room than checkpoints and states take.",
        "A checkpoint that cannot be written is lost; training goes on without it.",
        _no_room,
    ),
    Rule(
        "previews-idle",
        "warning",
        "Previews without prompts, without an interval, or with two.",
        "Nothing is drawn, or not when it seems.",
        _previews,
    ),
    Rule(
        "trigger-not-drawn",
        "note",
        "Preview prompts without the trigger word.",
        "They show whether the rest suffers, but not whether the subject is learnt.",
        _trigger_not_drawn,
    ),
    Rule(
        "never-measured",
        "warning",
        "A validation interval longer than the run.",
        "The loss of held-out pictures is not measured in between.",
        _never_measured,
    ),
    Rule(
        "mostly-held-out",
        "warning",
        "More pictures held out than trained.",
        "What is held out teaches nothing.",
        _mostly_held_out,
    ),
    Rule(
        "nothing-held-out",
        "warning",
        "Validation without held-out pictures.",
        "The loss of pictures that are trained says nothing about others.",
        _nothing_held_out,
    ),
)
