"""The axes of a grid: a name and labelled values, each of which changes one thing of a cell.

A new axis is one more row of the table at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from renma.config.prompts import Prompt
from renma.config.sample import Sampler
from renma.core.errors import UserError, did_you_mean
from renma.formats.infotext import WEB_NAMES
from renma.judge.grid import values
from renma.judge.grid.draft import Draft
from renma.judge.grid.entry import Entry

Change = Callable[[Draft], Draft]
_LONG = 60
"""Letters of a label that a list of numbers may have."""


@dataclass(frozen=True)
class Value:
    """One place on an axis."""

    label: str
    change: Change
    kind: str = ""
    """Such as ``with trigger``, of a prompt."""


@dataclass(frozen=True)
class Axis:
    """What differs along one direction of a grid.

    Attributes:
        name: as it is written.
        values: at least one.
        order: axes with less change a cell first, so that words are replaced in a new prompt.
    """

    name: str
    values: tuple[Value, ...]
    order: int = 1


@dataclass(frozen=True)
class Setting:
    """What values of an axis are read with.

    Attributes:
        checkpoints: returns the LoRAs that texts such as ``all`` or ``step 100`` mean.
        prompt: reads a line.
        defaults: texts that an axis named without values has.
    """

    checkpoints: Callable[[Sequence[str], str], list[Entry | None]]
    prompt: Callable[[str], Prompt]
    defaults: Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Kind:
    """How an axis is read: numbers with limits, or texts."""

    make: Callable[[Any], Value]
    number: type[int] | type[float] | None = None
    least: float = 0
    most: float = 0


def read(text: str, option: str, setting: Setting) -> Axis:
    """Returns the axis of ``AXIS=V,V,...``.

    Args:
        text: as it was written; an axis alone has values of its own, where it has some.
        option: ``--x``, for messages.
        setting: what its values are read with.

    Raises:
        UserError: no such axis, or a value that it does not have.
    """
    name, sign, tail = text.partition("=")
    name, where = name.strip().lower().replace("_", "-"), f"{option} {text}"
    if name not in NAMES:
        raise UserError(
            f"there is no axis '{name}'",
            where=where,
            remedy=did_you_mean(name, NAMES) or f"Axes: {', '.join(NAMES)}.",
        )
    texts = values.split(tail, where) if sign else list(setting.defaults(name))
    if not texts:
        raise UserError(
            "names no value", where=where, remedy=f"Such as {option} {name}={_EXAMPLES[name]}."
        )
    if name == "checkpoint":
        return checkpoint(setting.checkpoints(texts, where))
    if name == "prompt":
        return prompt([(setting.prompt(one), one, "") for one in texts])
    if name == "replace":
        return words(texts, where)
    if name == "sampler":
        texts = [_sampler(one, where) for one in texts]
    return _of_kind(name, texts, where)


def checkpoint(entries: Sequence[Entry | None]) -> Axis:
    """Returns an axis of LoRA files; None is the base model."""
    return Axis("checkpoint", tuple(_checkpoint(entry) for entry in dict.fromkeys(entries)))


def _checkpoint(entry: Entry | None) -> Value:
    def change(draft: Draft) -> Draft:
        return replace(draft, entry=entry, home=entry.home if entry else draft.home)

    return Value(entry.label if entry else "base model", change)


def weight(numbers: Sequence[float]) -> Axis:
    """Returns an axis of LoRA weights, U-Net and text encoder alike; 0 is the base model."""
    return Axis("weight", tuple(_weight(number) for number in numbers))


def prompt(lines: Sequence[tuple[Prompt, str, str]]) -> Axis:
    """Returns an axis of prompts.

    Args:
        lines: prompt, label, and what kind of prompt it is.
    """
    found = tuple(
        Value(label, lambda draft, p=one: replace(draft, prompt=p), kind)
        for one, label, kind in lines
    )
    return Axis("prompt", found, order=0)


def words(texts: Sequence[str], where: str) -> Axis:
    """Returns an axis of words that stand in for the first of them.

    Raises:
        UserError: the first one is empty.
    """
    first = texts[0]
    if not first:
        raise UserError("looks for an empty word", where=where)
    found = tuple(
        Value(one, lambda draft, w=one: replace(draft, words=(*draft.words, (first, w))))
        for one in dict.fromkeys(texts)
    )
    return Axis("replace", found, order=1)


def _of_kind(name: str, texts: Sequence[str], where: str) -> Axis:
    kind = _KINDS[name]
    found: Sequence[Any] = list(dict.fromkeys(texts))
    if kind.number is int:
        found = values.whole_numbers(texts, where)
    elif kind.number is float:
        found = values.numbers(texts, where)
    if kind.number is not None:
        for value in found:
            if not kind.least <= value <= kind.most:
                raise UserError(
                    f"{value:g} is outside of {kind.least:g} to {kind.most:g}", where=where
                )
    return Axis(name, tuple(kind.make(value) for value in found))


def _sampler(text: str, where: str) -> str:
    """Returns a sampler by its name here or in a web UI.

    Raises:
        UserError: there is none.
    """
    web = {theirs.lower(): ours for ours, theirs in WEB_NAMES.items()}
    name = web.get(text.lower(), text.lower().replace(" ", "_"))
    known = get_args(Sampler)
    if name not in known:
        remedy = did_you_mean(name, known) or f"Known: {', '.join(known)}."
        raise UserError(f"'{text}' is not a sampler", where=where, remedy=remedy)
    return name


def _weight(number: float) -> Value:
    label = f"weight {number:g}" if number else "base model"
    return Value(label, lambda draft: replace(draft, unet=number, text_encoder=number))


def _unet(number: float) -> Value:
    return Value(f"U-Net {number:g}", lambda draft: replace(draft, unet=number))


def _text_encoder(number: float) -> Value:
    return Value(f"text encoder {number:g}", lambda draft: replace(draft, text_encoder=number))


def _block(text: str) -> Value:
    label = text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
    return Value(label, lambda draft: replace(draft, blocks=text))


def _rank(number: int) -> Value:
    return Value(f"rank {number}", lambda draft: replace(draft, rank=number))


def _setting(label: str, name: str) -> Callable[[Any], Value]:
    return lambda value: Value(label.format(value), lambda draft: draft.set(name, value))


_KINDS = {
    "weight": Kind(_weight, float, -10, 10),
    "unet-weight": Kind(_unet, float, -10, 10),
    "text-encoder-weight": Kind(_text_encoder, float, -10, 10),
    "block": Kind(_block),
    "seed": Kind(_setting("seed {}", "seed"), int, 0, 2**63 - 1),
    "cfg": Kind(_setting("cfg {:g}", "scale"), float, 1, 1000),
    "sampler": Kind(_setting("{}", "sampler")),
    "steps": Kind(_setting("{} steps", "steps"), int, 1, 1000),
    "rank": Kind(_rank, int, 1, 4096),
}
_EXAMPLES = {
    "checkpoint": "all", "weight": "0-1(+0.25)", "unet-weight": "0,0.5,1",
    "text-encoder-weight": "0,0.5,1", "block": "ALL,INALL,MIDD,OUTALL,IN04-IN08",
    "prompt": "'\"aa12, smile\",\"aa12, frown\"'", "replace": "smile,frown,wink", "seed": "1-4",
    "cfg": "2,4,7", "sampler": "ddim,euler_a", "steps": "10,20,30", "rank": "1,4,16",
}  # fmt: skip
NAMES = tuple(_EXAMPLES)
"""Every axis."""


def check(axes: Sequence[Axis]) -> None:
    """Refuses axes that undo one another.

    Raises:
        UserError: one stands twice, or one sets what another one sets.
    """
    names = [axis.name for axis in axes if axis.name]
    for name in names:
        if names.count(name) > 1 and name != "replace":
            raise UserError(f"the axis '{name}' stands twice", where="--x, --y, --z")
    both = {"unet-weight", "text-encoder-weight"} & set(names)
    if "weight" in names and both:
        raise UserError(
            f"'weight' sets what '{sorted(both)[0]}' sets",
            where="--x, --y, --z",
            remedy="Use unet-weight and text-encoder-weight.",
        )
