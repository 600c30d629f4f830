"""Which LoRA files ``checkpoint=all``, ``best``, ``step 100`` or a file's name mean (no torch)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from renma.core.errors import UserError
from renma.core.place import is_there
from renma.judge.grid import values
from renma.judge.grid.entry import Entry, Given

_NAMED = 12
"""Checkpoints named in a message."""
_STEPS = re.compile(r"(?:step\s*)?(\d[\d\s()\[\]+-]*)", re.IGNORECASE)


def chosen(
    texts: Sequence[str], given: Sequence[Given], where: str, file: Callable[[Path], Entry]
) -> list[Entry | None]:
    """Returns the LoRA files that texts mean, in their order; None is the base model.

    Args:
        texts: ``all``, ``last``, ``best``, ``base``, ``step 100``, ``100-500(+100)``, ``epoch 2``,
            or a file.
        given: what the command was given.
        where: for messages.
        file: returns the entry of a file that was not given.

    Raises:
        UserError: one means nothing.
    """
    found: list[Entry | None] = []
    for text in texts:
        found += _one(text, given, where, file)
    return list(dict.fromkeys(found))


def thinned(entries: Sequence[Entry], most: int) -> list[Entry]:
    """Returns at most ``most`` entries, evenly spaced, the last one among them."""
    if len(entries) <= most:
        return list(entries)
    last = len(entries) - 1
    places = {last - round(i * last / max(1, most - 1)) for i in range(most)}
    return [entries[i] for i in sorted(places)]


def _one(
    text: str, given: Sequence[Given], where: str, file: Callable[[Path], Entry]
) -> Sequence[Entry | None]:
    word = text.strip().lower()
    if word in ("base", "none"):
        return [None]
    if word == "all":
        return [entry for one in given for entry in one.entries]
    if word == "last":
        return [one.entries[-1] for one in given]
    if word == "best":
        return [_best(one, where) for one in given]
    known = [entry for one in given for entry in one.entries]
    if is_there(Path(text)) and Path(text).is_file():
        place = Path(text).resolve()
        own = next((entry for entry in known if entry.path.resolve() == place), None)
        return [own or file(Path(text))]
    if match := _STEPS.fullmatch(text.strip()):
        numbers = values.whole_numbers([match[1]], where)
        return [e for number in numbers for e in _at_step(number, known, where)]
    return _named(word, text, known, where)


def _at_step(step: int, known: Sequence[Entry], where: str) -> list[Entry]:
    found = [entry for entry in known if entry.step == step or _says(entry, f"step {step}")]
    if not found:
        raise UserError(f"there is no checkpoint of step {step}", where=where, remedy=_there(known))
    return found


def _named(word: str, text: str, known: Sequence[Entry], where: str) -> list[Entry]:
    names = {word, f"{word}.safetensors"}
    found = [e for e in known if e.path.name.lower() in names or _says(e, word)]
    if not found:
        what = "there is no such file" if "/" in text else f"'{text}' is no checkpoint"
        raise UserError(what, where=where, remedy=_there(known))
    return found


def _says(entry: Entry, word: str) -> bool:
    """Says whether a label such as ``run: epoch 2 (step 20)`` begins with some words."""
    label = entry.label.rpartition(": ")[2].lower()
    return label == word or label.startswith(f"{word} (")


def _there(known: Sequence[Entry]) -> str:
    labels = [entry.label for entry in known]
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return f"There are {', '.join(labels[:_NAMED])}{more}; all, last, best, base, or a file."


def _best(given: Given, where: str) -> Entry:
    """Returns the checkpoint that ``renma judge`` named.

    Raises:
        UserError: it named none.
    """
    if given.record is None:
        raise UserError(f"{given.name} is a file, not a run with a best checkpoint", where=where)
    path = given.record.path / "score.json"
    if not path.is_file():
        raise UserError(
            "was not judged yet",
            where=given.record.path,
            remedy=f"First: renma judge {given.record.path}",
        )
    try:
        named = json.loads(path.read_text(encoding="utf-8")).get("best")
    except (ValueError, OSError, AttributeError):
        raise UserError(
            "cannot be read", where=path, remedy="Make it anew with `renma judge`."
        ) from None
    place = (given.record.path / str(named or "")).resolve()
    best = next((entry for entry in given.entries if entry.path.resolve() == place), None)
    if best is None:
        raise UserError(
            f"names {named or 'no checkpoint'} as the best, which is not there",
            where=path,
            remedy="Make it anew with `renma judge`.",
        )
    return best
