"""One thing renma can do: a row of the task table."""

from __future__ import annotations

from dataclasses import dataclass

from renma.config._base import Section


@dataclass(frozen=True)
class Task:
    """One thing renma can do.

    Attributes:
        name: the command; two words are a command inside a group.
        room: the module whose ``run(options, report)`` does it.
        options: what it can be told.
        summary: one line of help.
        example: a command line that works.
    """

    name: str
    room: str
    options: type[Section]
    summary: str
    example: str
