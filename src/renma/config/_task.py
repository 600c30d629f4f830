"""One thing renma can do: a row of the task table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module

from renma.config._base import Section


@dataclass(frozen=True)
class Task:
    """One thing renma can do.

    Attributes:
        name: the command; two words are a command inside a group.
        room: the module whose ``run(options, report)`` does it.
        options_class: the class of what it can be told, as ``module:Class``; read when needed, so
            that listing forty commands builds no option classes.
        summary: one line of help.
        example: a command line that works.
    """

    name: str
    room: str
    options_class: str
    summary: str
    example: str

    @cached_property
    def options(self) -> type[Section]:
        """What it can be told."""
        module, _, name = self.options_class.partition(":")
        return getattr(import_module(module), name)
