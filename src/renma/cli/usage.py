"""Mistakes in how a command line is written: one line, with the form that was meant."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cyclopts import CycloptsError, UnknownOptionError, UnusedCliTokensError

from renma.config._task import Task

_MOST = 3
"""Options of run.toml that are named where a word could mean several."""


def explained(error: CycloptsError, words: Sequence[str], tasks: Sequence[Task]) -> str:
    """Returns what is wrong with a command line, and how to write it.

    Args:
        error: what was found.
        words: everything after ``renma``.
        tasks: the commands there are.
    """
    error.verbose = False
    what, remedy = " ".join(str(error).split()), ""
    task = _task(words, tasks)
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        what = f"There is no place for '{error.unused_tokens[0]}'."
        remedy = _without_blanks(words) if _has_set(task) else ""
    elif isinstance(error, UnknownOptionError) and _has_set(task):
        remedy = _with_set(error.token.keyword or "", words)
    command = " ".join(["renma", *(error.command_chain or ())])
    return f"{what} {remedy or f'`{command} --help` shows what there is.'}"


def _task(words: Sequence[str], tasks: Sequence[Task]) -> Task | None:
    """Returns the command that a line begins with."""
    return next((t for t in tasks if list(words[: len(t.name.split())]) == t.name.split()), None)


def _has_set(task: Task | None) -> bool:
    return task is not None and "set" in task.options.model_fields


def _without_blanks(words: Sequence[str]) -> str:
    """Says how ``--set key = value`` is written, if that was tried; else nothing."""
    for place, word in enumerate(words):
        name, sign, value = (*words[place + 1 : place + 4], "", "", "")[:3]
        if word != "--set":
            continue
        if sign == "=":
            given = f"{name}={value}"
        elif sign.startswith("=") or name.endswith("="):
            given = f"{name}{sign}"
        elif "=" not in name and sign and not sign.startswith("-"):
            given = f"{name}={sign}"
        else:
            continue
        return f"Write it as one word: --set {shlex.quote(given)}"
    return ""


def _with_set(option: str, words: Sequence[str]) -> str:
    """Says how an option of run.toml is given on the command line; nothing if it is none."""
    from renma.cli.option_search import search

    name = option.partition("=")[0]
    paths = list(dict.fromkeys(found.path for found in search(name)))
    if not name.startswith("--") or not 0 < len(paths) <= _MOST:
        return ""
    given = [f"--set {path}={shlex.quote(_value(name, words))}" for path in paths]
    return f"It is an option of run.toml: {' or '.join(given)}"


def _value(name: str, words: Sequence[str]) -> str:
    """Returns what stands behind an option, after ``=`` or as the next word; a switch is true."""
    for place, word in enumerate(words):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name:
            following = words[place + 1 : place + 2]
            return following[0] if following and not following[0].startswith("--") else "true"
    return "..."
