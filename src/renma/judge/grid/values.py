"""What people write behind an axis: lists with quotes, and ranges of numbers.

``a, "b, c", d`` are three values. ``1-5`` counts, ``0-1 (+0.25)`` goes by steps, ``1-10 [5]`` is
five numbers at equal distances; both ends belong to a range. Web UIs' X/Y/Z plots read the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from renma.core.errors import UserError

MOST = 1000
"""Values of one range."""
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_RANGE = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*({_NUMBER})\s*\)|\[\s*(\d+)\s*\])?")
_REMEDY = "Numbers between commas, or ranges such as 1-5, 0-1(+0.25) or 1-10[5]."


def split(text: str, where: str) -> list[str]:
    """Returns the values of a list; empty ones only where they are quoted.

    Args:
        text: values between commas, in double or single quotes where they hold some; a quote
            inside of quotes is written twice.
        where: for messages.

    Raises:
        UserError: a double quote that is never closed, or signs behind one that is.
    """
    found, rest = list[str](), text.lstrip()
    while rest:
        quote = rest[0]
        if quote in "\"'" and (
            match := re.match(rf"{quote}((?:[^{quote}]|{quote}{quote})*)", rest)
        ):
            value, tail = match[1].replace(quote * 2, quote), rest[match.end() :]
            behind = tail[1:].lstrip()
            if tail and (not behind or behind[0] == ","):
                found.append(value)
                rest = behind[1:].lstrip()
                continue
            if quote == '"':
                what = "has signs behind a closing quote" if tail else "has a quote without its end"
                raise UserError(what, where=where, remedy='Such as "a, b",c.')
        value, _, rest = rest.partition(",")
        rest = rest.lstrip()
        if value.strip():
            found.append(value.strip())
    return found


def numbers(texts: Iterable[str], where: str) -> list[float]:
    """Returns numbers, ranges written out, each once.

    Raises:
        UserError: a value that is neither a number nor a range.
    """
    return [float(value) for value in _decimals(texts, where)]


def whole_numbers(texts: Iterable[str], where: str) -> list[int]:
    """Returns whole numbers, ranges written out, each once; points of ``1-10[4]`` are rounded.

    Raises:
        UserError: a value that is neither a whole number nor a range of them.
    """
    found = list[int]()
    for text in texts:
        values = _decimals([text], where)
        if "[" in text:
            values = [value.to_integral_value() for value in values]
        if odd := next((value for value in values if value != value.to_integral_value()), None):
            raise UserError(f"{odd:f} is no whole number", where=where)
        found += [int(value) for value in values]
    return list(dict.fromkeys(found))


def _decimals(texts: Iterable[str], where: str) -> list[Decimal]:
    # decimal numbers: 0.1 added three times is 0.3
    found = list[Decimal]()
    for text in texts:
        try:
            values = [Decimal(text)]
        except InvalidOperation:
            values = _range(text, where)
        if not all(value.is_finite() for value in values):
            raise UserError(f"'{text}' is no number", where=where, remedy=_REMEDY)
        found += values
    return list(dict.fromkeys(found))


def _range(text: str, where: str) -> list[Decimal]:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise UserError(f"'{text}' is no number", where=where, remedy=_REMEDY)
    first, last = Decimal(match[1]), Decimal(match[2])
    if match[4]:
        count = int(match[4])
        if not 1 <= count <= MOST:
            raise UserError(f"'{text}' asks for {count:,} values", where=where)
        steps = max(1, count - 1)
        return [first + (last - first) * i / steps for i in range(count)]
    step = Decimal(match[3]) if match[3] else Decimal(1 if last >= first else -1)
    if not step or (last - first) / step < 0:
        raise UserError(
            f"'{text}' never gets from {first} to {last}",
            where=where,
            remedy="The number in brackets is what is added each time.",
        )
    count = int((last - first) / step) + 1
    if count > MOST:
        raise UserError(
            f"'{text}' is {count:,} values, more than {MOST:,}", where=where, remedy=_REMEDY
        )
    return [first + step * i for i in range(count)]
