"""Options after a script's name, read as sd-scripts' own parser reads them, errors in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from renma.compat.options import Option, options
from renma.core.errors import UserError, did_you_mean

_NUMBER = re.compile(r"-\d+$|-\d*\.\d+$|-\d+(\.\d*)?[eE][-+]?\d+$")
_WORDS = {"int": "whole number", "float": "number", "int_or_float": "number or percentage"}


def read(words: Sequence[str], sdxl: bool, where: str = "") -> dict[str, Any]:
    """Returns the options that a command line gives: names to typed values.

    ``--name value``, ``--name=value``, lists after one name, and names cut short as long as they
    fit one option only.

    Args:
        words: everything after the script's name.
        sdxl: whether the script is sdxl_train_network.py, which has three options more.
        where: what to name in messages.

    Raises:
        UserError: an unknown or ambiguous option, a missing value or one of the wrong type.
    """
    given: dict[str, Any] = {}
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not _is_option(word):
            raise UserError(
                f"there is no place for '{word}'",
                where=where or None,
                remedy="Options start with --; put texts with blanks into quotes.",
            )
        name, sign, value = word.partition("=")
        option = find(name.lstrip("-"), sdxl, where)
        values = [value] if sign else []
        if not sign and option.type != "flag":
            while place < len(words) and not _is_option(words[place]):
                values.append(words[place])
                place += 1
                if not option.many:
                    break
        given[option.name] = _value(option, values, bool(sign))
    return given


def find(name: str, sdxl: bool, where: str = "") -> Option:
    """Returns the option of a name, which may be cut short as long as it fits one only.

    Raises:
        UserError: none fits, or several do.
    """
    known = {n: o for n, o in options().items() if sdxl or not o.sdxl}
    name = name.strip()
    if name in known:
        return known[name]
    fitting = [n for n in known if name and n.startswith(name)]
    if len(fitting) == 1:
        return known[fitting[0]]
    if fitting:
        raise UserError(
            f"'--{name}' could be {', '.join(f'--{n}' for n in fitting[:6])}",
            where=where or None,
            remedy="Write the whole name.",
        )
    if name in options():
        remedy = "Only sdxl_train_network has it."
    else:
        remedy = did_you_mean(name, known) or "docs/kohya.md lists every option."
    raise UserError(f"sd-scripts has no option '--{name}'", where=where or None, remedy=remedy)


def typed(option: Option, value: Any) -> Any:
    """Returns a value that a file holds (TOML, JSON) as the option wants it.

    Raises:
        UserError: it is of another type.
    """
    if option.type == "flag":
        if isinstance(value, bool):
            return value
        raise _wrong(option, value, "is neither true nor false")
    if option.many:
        many = value if isinstance(value, list | tuple) else [value]
        return [_one(option, each) for each in many]
    if isinstance(value, list | tuple):
        if option.name in ("resolution", "face_crop_aug_range"):  # texts such as "512,768"
            return ",".join(str(each) for each in value)
        raise _wrong(option, value, "is a list; one value is wanted")
    return _one(option, value)


def flat(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys of a file whose tables are headings only: one level is taken away."""
    found: dict[str, Any] = {}
    for key, value in tables.items():
        found |= value if isinstance(value, Mapping) else {key: value}
    return found


def _is_option(word: str) -> bool:
    name = word.partition("=")[0]
    return name.startswith("-") and len(name) > 1 and not _NUMBER.match(name) and " " not in name


def _value(option: Option, values: list[str], with_sign: bool) -> Any:
    if option.type == "flag":
        if with_sign:
            raise _wrong(option, values[0], "cannot be given: it is a switch without a value")
        return True
    if not values and not option.many:
        raise UserError("needs a value", where=f"--{option.name}")
    found = [_one(option, value) for value in values]
    return found if option.many else found[0]


def _one(option: Option, value: Any) -> Any:
    if option.type in _WORDS:
        number = _number(option, value)
        if number is None:
            raise _wrong(option, value, f"is no {_WORDS[option.type]}")
        return number
    text = str(value) if isinstance(value, str | int | float) else None
    if text is None or isinstance(value, bool):
        raise _wrong(option, value, "is no text")
    if option.choices and text not in option.choices:
        near = did_you_mean(text, option.choices)
        raise _wrong(option, value, f"is not one of {', '.join(option.choices)}", near)
    return text


def _number(option: Option, value: Any) -> int | float | None:
    """Returns the number of a text or number; None where it is none of the option's kind."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and option.type == "int":
        return None
    text = str(value).strip()
    try:
        if option.type == "int":
            return int(text)
        if option.type == "int_or_float":
            return _steps(text)
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _steps(text: str) -> int | float:
    """Reads steps (``100``), a share (``0.1``) or a percentage (``10%``).

    Raises:
        ValueError: it is none of them.
    """
    if text.endswith("%"):
        share = float(text[:-1]) / 100
    elif re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    else:
        share = float(text)
    if not 0 <= share < 1:
        raise ValueError("a share lies between 0 and 1")
    return share


def _wrong(option: Option, value: Any, why: str, remedy: str = "") -> UserError:
    return UserError(f"{value!r} {why}", where=f"--{option.name}", remedy=remedy)
