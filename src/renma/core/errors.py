"""What a person did wrong, said in one line: what, where, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

DONE, DEFECT, USER_MISTAKE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit codes: finished, a defect of ours, the user's mistake, Ctrl-C saved, SIGTERM saved."""


class UserError(Exception):
    """A mistake the user can mend; shown as one line, exit code 2, never with a stack trace.

    Args:
        what: what is wrong, in the user's words.
        where: file, line or option it concerns.
        remedy: what to do about it.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(self.line())

    def line(self) -> str:
        """Returns the whole message on one line."""
        head = f"{self.where}: {self.what}" if self.where is not None else self.what
        stop = "" if head.rstrip().endswith((".", "!", "?")) else "."
        tail = f" {self.remedy}" if self.remedy else ""
        return " ".join(f"{head}{stop}{tail}".split())


class MissingError(UserError):
    """What was asked for by name is not there."""


class Interrupted(Exception):
    """A run stopped by a signal after its state was saved; carries the exit code."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns ``Did you mean 'x'?`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""
