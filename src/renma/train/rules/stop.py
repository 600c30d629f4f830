"""Rules about judging while training."""

from __future__ import annotations

from collections.abc import Iterator

from renma.core.counted import counted, idle
from renma.train.given import given
from renma.train.rules._base import Facts, Rule, Said

_DEAR = 0.5
"""Share of the training's own time from which judging is worth a word."""


def _idle(facts: Facts) -> Iterator[Said]:
    dead = sorted(given(facts.run.stop) - {"every_checkpoints"})
    if dead and not facts.run.stop.every_checkpoints:
        yield Said(
            f"stop.{idle(dead)}: stop.every_checkpoints is 0",
            "Set stop.every_checkpoints = 1, or leave it out.",
            f"stop.{dead[0]}",
        )


def _never_judged(facts: Facts) -> Iterator[Said]:
    every, train = facts.run.stop.every_checkpoints, facts.run.train
    if not every or facts.judgings.steps:
        return
    if train.save_every_steps or train.save_every_epochs:
        files = counted(len({step for _, step in facts.saves.files}) - 1, "checkpoint")
        start = facts.run.stop.from_step
        why = f"the run writes {files} before its end" + (f", from_step = {start}" if start else "")
        remedy = "Lower it, or save more often."
    else:
        why = "only the final LoRA is written"
        remedy = f"Set train.save_every_steps = {max(1, facts.steps // 10)}, or leave it out."
    yield Said(f"stop.every_checkpoints = {every} has no effect: {why}", remedy, _EVERY)


def _never_stops(facts: Facts) -> Iterator[Said]:
    # the last judging is of the finished LoRA: it ends nothing any more
    count, patience = len(facts.judgings.steps), facts.run.stop.patience
    if count and count - 2 < patience:
        yield Said(
            f"stop.patience = {patience} never ends a run with {counted(count, 'judging')}",
            "Save and judge more often, or lower it; the best checkpoint is kept anyway.",
            "stop.patience",
        )


def _nothing_to_judge_by(facts: Facts) -> Iterator[Said]:
    if facts.judgings.steps and not facts.judgings.pictures:
        yield Said(
            "stop.every_checkpoints finds nothing to judge by: there is neither a trigger word nor "
            "judge.trigger_prompts",
            "Write output.trigger, or prompts into [judge] trigger_prompts.",
            _EVERY,
        )


def _dear(facts: Facts) -> Iterator[Said]:
    found = facts.judgings
    if found.share > _DEAR:
        yield Said(
            f"judging while training takes about {found.share:.0%} of the time that training "
            f"takes: {counted(len(found.steps), 'time')} {counted(found.pictures, 'picture')}",
            "Raise stop.every_checkpoints, or lower judge.pictures or sample.steps.",
            _EVERY,
        )


def _best_removed(facts: Facts) -> Iterator[Said]:
    if facts.judgings.steps and facts.run.train.keep_checkpoints and not facts.run.stop.keep_best:
        yield Said(
            f"the best checkpoint may be removed: train.keep_checkpoints = "
            f"{facts.run.train.keep_checkpoints} keeps the newest, and stop.keep_best is false",
            "Set stop.keep_best = true.",
            "stop.keep_best",
        )


_EVERY = "stop.every_checkpoints"
RULES = (
    Rule(
        "stop-idle",
        "warning",
        "Options of [stop] without every_checkpoints.",
        "Nothing is judged while the run trains, and nothing ends it before its last step.",
        _idle,
    ),
    Rule(
        "never-judged",
        "warning",
        "Judging while training without checkpoints to judge.",
        "The finished LoRA alone has nothing to be compared with.",
        _never_judged,
    ),
    Rule(
        "never-stops",
        "warning",
        "A patience longer than all judgings of the run.",
        "The first judging can only set the mark, and the last is of the finished LoRA.",
        _never_stops,
    ),
    Rule(
        "nothing-to-judge-by",
        "warning",
        "Judging while training without prompts.",
        "A checkpoint is judged by pictures that are drawn with it.",
        _nothing_to_judge_by,
    ),
    Rule(
        "dear-judging",
        "warning",
        "Judging that takes more than half the time of training.",
        "Every judging draws pictures, and training waits for it.",
        _dear,
    ),
    Rule(
        "best-not-kept",
        "warning",
        "keep_checkpoints beside stop.keep_best = false.",
        "Only the newest checkpoints stay, and the best is often older.",
        _best_removed,
    ),
)
