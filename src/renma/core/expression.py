"""Regular expressions that people write, with a bound on the time that they take.

Python's own matcher goes on for years over ``(a+)+$`` and a few dozen letters, and holds the whole
process meanwhile. Here one expression has some seconds for all its texts together; other threads
work on. Syntax and messages are those of Python's ``re``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TypeVar

import regex

from renma.core.errors import UserError

T = TypeVar("T")
PATIENCE = 2.0
"""Seconds that one expression may take, besides a millisecond for every text."""
_EACH = 0.001


class EndlessError(UserError):
    """An expression that takes too long."""


class Expression:
    """One expression, ready to be used.

    Args:
        text: the expression.
        where: what is named when it takes too long.
        ignore_case: capitals and small letters are alike.
        patience: seconds for all texts together.

    Raises:
        re.error: it is none.
    """

    def __init__(
        self, text: str, where: str, *, ignore_case: bool = False, patience: float = PATIENCE
    ) -> None:
        self._known = re.compile(text)  # its messages are those that people know
        try:
            self._pattern = regex.compile(text, regex.IGNORECASE if ignore_case else 0)
        except regex.error as error:
            raise re.error(str(error), text) from None
        self._text, self._where, self._left = text, where, patience

    def check(self, new: str) -> None:
        """Makes sure that a text can take the place of what is found.

        Raises:
            re.error: it names a group that is none.
        """
        # groups of the same numbers and names, around nothing: the expression itself may take long
        names = {number: name for name, number in self._known.groupindex.items()}
        groups = (f"(?P<{names[n]}>)" if n in names else "()" for n in self._groups())
        try:
            re.sub("".join(groups), new, "")
        except IndexError as error:
            raise re.error(str(error), new) from None

    def found_in(self, text: str) -> bool:
        """Says whether it fits anywhere in a text.

        Raises:
            EndlessError: it takes too long.
        """
        match = self._timed(lambda left: self._pattern.search(text, timeout=left, concurrent=True))
        return match is not None

    def replaced(self, new: str, text: str) -> str:
        """Returns a text with another in place of everything that is found.

        Raises:
            EndlessError: it takes too long.
        """
        return self._timed(lambda left: self._pattern.sub(new, text, timeout=left, concurrent=True))

    def _groups(self) -> range:
        return range(1, self._known.groups + 1)

    def _timed(self, work: Callable[[float], T]) -> T:
        begun = time.perf_counter()
        try:
            return work(max(_EACH, self._left))
        except TimeoutError:
            raise EndlessError(
                f"the regular expression {self._text[:80]!r} takes too long",
                where=self._where,
                remedy="Repetitions inside repetitions, such as (a+)+, try everything: write a+.",
            ) from None
        finally:
            self._left -= time.perf_counter() - begun - _EACH
