"""Rules about the concepts of [erase]: what cannot be learnt, and what is not what it seems."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from renma.config.erase import ErasePrompt
from renma.core.counted import counted
from renma.train.erase_settings import grain_of
from renma.train.rules._base import Facts, Rule, Said, some

_WORD = re.compile(r"[^\W\d_]+")
_PIECES = 4
"""Tokens of a single word from which it is hardly known."""
_SMALL, _LARGE = 0.6, 1.6
"""Sides relative to the model's own at which it draws badly."""


def _concepts(facts: Facts) -> Sequence[tuple[str, ErasePrompt]]:
    """Returns the concepts with what they are called in messages."""
    found = facts.run.erase.prompts
    return [(f"concept {n} ('{one.target}')", one) for n, one in enumerate(found, 1)]


def _empty_target(facts: Facts) -> Iterator[Said]:
    for name, one in _concepts(facts):
        if not one.target.strip():
            yield Said(f"{name} has an empty target", "Name the words that it is about.")


def _no_change(facts: Facts) -> Iterator[Said]:
    for name, one in _concepts(facts):
        same = one.like == one.target
        if one.away == one.unconditional and one.guidance_scale:
            yield Said(
                f"{name}: positive and unconditional are the same text '{one.away}', so there is "
                "nothing between them to take away or add",
                "Write the concept alone into 'positive'.",
            )
        elif not one.guidance_scale and same:
            yield Said(
                f"{name}: neutral is the target itself and guidance_scale = 0: the goal is what is "
                "there already",
                "Write another text into 'neutral', or raise guidance_scale.",
            )


def _sizes(facts: Facts) -> Iterator[Said]:
    factor, native = facts.model.latent_factor, facts.model.native_size
    for name, one in _concepts(facts):
        side = one.side(native)
        if side % factor or side < 2 * factor:
            near = max(2 * factor, round(side / factor) * factor)
            yield Said(
                f"{name}: resolution = {side} cannot be drawn",
                f"Use a multiple of {factor}, such as {near}.",
            )
        if one.dynamic_resolution and side < 2 * grain_of(native):
            yield Said(
                f"{name}: dynamic_resolution has nothing to draw from below {side} pixels",
                f"Use a resolution of {2 * grain_of(native)} or more, or leave it out.",
            )


def _far_from_native(facts: Facts) -> Iterator[Said]:
    native = facts.model.native_size
    far = {
        one.side(native)
        for _, one in _concepts(facts)
        if not _SMALL <= one.side(native) / native <= _LARGE
    }
    if far and not facts.is_toy:
        yield Said(
            f"concepts are drawn at {some([str(side) for side in sorted(far)])} pixels, far from "
            f"the {native} that this model was made for",
            "Leave 'resolution' out.",
        )


def _no_guidance(facts: Facts) -> Iterator[Said]:
    for name, one in _concepts(facts):
        if not one.guidance_scale:
            dead = "action" if one.action == "enhance" else ""
            dead = "positive" if one.positive is not None else dead
            yield Said(
                f"{name}: guidance_scale = 0 only makes the target look like '{one.like}'"
                + (f"; '{dead}' has no effect" if dead else ""),
                "1 is usual.",
            )


def _same_neutral(facts: Facts) -> Iterator[Said]:
    for name, one in _concepts(facts):
        if one.like == one.target and one.guidance_scale and one.action == "erase":
            yield Said(
                f"{name}: neutral is the target itself, so the goal moves away from it without "
                "going anywhere",
                "Write into 'neutral' what is to be drawn instead, such as the same text without "
                "the concept.",
            )
        elif one.like != one.target and one.action == "enhance" and one.like == one.unconditional:
            yield Said(
                f"{name}: it is made stronger starting from '{one.like}', not from the target",
                "Write the target into 'neutral' to keep the rest of the picture.",
            )


def _too_long(facts: Facts) -> Iterator[Said]:
    texts = dict.fromkeys(text for _, one in _concepts(facts) for text in one.texts)
    cut = [text for text in texts if not facts.tokens.fits(text)]
    if cut:
        yield Said(
            f"{counted(len(cut), 'text')} longer than the {facts.tokens.room} tokens that are "
            f"read, such as '{cut[0][:40]}...'",
            "Shorten it, or raise model.max_tokens.",
            "model.max_tokens",
        )


def _unknown_words(facts: Facts) -> Iterator[Said]:
    texts = [text for _, one in _concepts(facts) for text in (one.target, one.away)]
    words = dict.fromkeys(word for text in texts for word in _WORD.findall(text))
    split = [word for word in words if len(facts.tokens.words(word)) >= _PIECES]
    if split:
        named = some([f"'{word}'" for word in split])
        yield Said(
            f"the text encoder reads {named} in many pieces, as it does with words that it has "
            "hardly met",
            "See with `renma sample` that the model draws it: what it does not know cannot be "
            "erased.",
        )


def _doubles(facts: Facts) -> Iterator[Said]:
    found = facts.run.erase.prompts
    if len(set(found)) < len(found):
        yield Said("a concept stands twice, and is taken twice as often", "Keep one of them.")


def _two_goals(facts: Facts) -> Iterator[Said]:
    goals: dict[str, set[object]] = {}
    for _, one in _concepts(facts):
        same = (one.like, one.away, one.unconditional, one.action, one.guidance_scale)
        goals.setdefault(one.target, set()).add(same)
    for target, different in goals.items():
        if len(different) > 1:
            yield Said(
                f"'{target}' is the target of {len(different)} concepts with different goals: what "
                "is learnt is their mean",
                "Keep one of them.",
            )


def _crops(facts: Facts) -> Iterator[Said]:
    if facts.model.family != "sdxl" and any(one.dynamic_crops for _, one in _concepts(facts)):
        yield Said(
            "dynamic_crops has no effect: only SDXL is told about crops",
            "Leave it out.",
        )


RULES = (
    Rule(
        "erase-empty-target",
        "error",
        "A concept without words.",
        "The empty text stands for every picture.",
        _empty_target,
    ),
    Rule(
        "erase-no-change",
        "error",
        "A concept whose goal is no change.",
        "Nothing would be learnt.",
        _no_change,
    ),
    Rule(
        "erase-sizes",
        "error",
        "A resolution that the model cannot draw.",
        "Latents are whole numbers of places.",
        _sizes,
    ),
    Rule(
        "erase-far-from-native",
        "warning",
        "Concepts drawn far from the model's own size.",
        "What is learnt from broken pictures does not hold for others.",
        _far_from_native,
    ),
    Rule(
        "erase-no-guidance",
        "note",
        "A concept with guidance_scale = 0.",
        "Nothing is taken away then: one text only gets the picture of another.",
        _no_guidance,
    ),
    Rule(
        "erase-neutral",
        "warning",
        "A neutral text that does not suit the action.",
        "It is what the rest of the picture is to look like.",
        _same_neutral,
    ),
    Rule(
        "erase-too-long",
        "warning",
        "Texts of concepts longer than what is read.",
        "What is cut off is not there for the model.",
        _too_long,
    ),
    Rule(
        "erase-unknown-words",
        "note",
        "Concepts in words that the model hardly knows.",
        "A word that falls into many pieces was rare where the text encoder learnt.",
        _unknown_words,
    ),
    Rule(
        "erase-doubles",
        "warning",
        "The same concept twice.",
        "Concepts are picked by chance, each as likely as the others.",
        _doubles,
    ),
    Rule(
        "erase-two-goals",
        "warning",
        "One target with several goals.",
        "A prediction cannot follow two goals at once.",
        _two_goals,
    ),
    Rule(
        "erase-crops",
        "warning",
        "dynamic_crops on a model that is not told about crops.",
        "It changes nothing.",
        _crops,
    ),
)
