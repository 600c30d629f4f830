"""Mistakes in how a command line is written: one line, with the form that was meant."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from cyclopts import CycloptsError, UnknownOptionError, UnusedCliTokensError
from pydantic import ValidationError

from renma.config._task import Task
from renma.config.mistakes import SHORT_NAMES

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
        has_set = task is not None and "set" in task.options.model_fields
        remedy = _without_blanks(words) if has_set else ""
    elif isinstance(error.__cause__, ValidationError):
        what = _refused(error, error.__cause__)
    elif isinstance(error, UnknownOptionError) and task is not None:
        remedy = _with_set(error.token.keyword or "", words, task)
    command = " ".join(["renma", *(error.command_chain or ())])
    return f"{what} {remedy or f'`{command} --help` shows what there is.'}"


def _refused(error: CycloptsError, cause: ValidationError) -> str:
    """Returns which option a value is refused for and why, without what is for programmers."""
    first = cause.errors(include_url=False)[0]
    why = first["msg"].removeprefix("Value error, ")
    name = error.argument.name if error.argument is not None else "an option"
    return f'Invalid value "{first["input"]}" for {name}: {why[0].lower()}{why[1:]}.'


def _task(words: Sequence[str], tasks: Sequence[Task]) -> Task | None:
    """Returns the command that a line begins with."""
    return next((t for t in tasks if list(words[: len(t.name.split())]) == t.name.split()), None)


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


def _with_set(option: str, words: Sequence[str], task: Task) -> str:
    """Says how an option of run.toml is given to a command; nothing if it is none or not taken."""
    from renma.cli.option_search import search

    name, section = option.partition("=")[0], _settable(task)
    if section is None or not name.startswith("--"):
        return ""
    asked = name.removeprefix("--").replace("-", "_").lower()
    found = search(SHORT_NAMES.get(asked, asked))
    paths = list(dict.fromkeys(one.path for one in found if one.path.startswith(section)))
    # which model it is says the first word of a command that takes options of [model] alone
    paths = [path.removeprefix(section) for path in paths if not section or path != "model.path"]
    if asked in SHORT_NAMES:  # the run's own, not that of the copier's first stage
        paths = [path for path in paths if not path.startswith("copier.")]
    if not 0 < len(paths) <= _MOST:
        return ""
    given = [f"--set {path}={shlex.quote(_value(name, words))}" for path in paths]
    return f"It is an option of {'[model]' if section else 'run.toml'}: {' or '.join(given)}"


def _settable(task: Task) -> str | None:
    """Returns what is left out before the keys that ``--set`` of a command takes.

    That is nothing where it takes every option of a run, and ``model.`` where it takes those of
    [model]; None where it takes none of them (``file edit`` sets metadata).
    """
    from renma.config.prepare.regularize import RegularizeOptions
    from renma.config.run_tasks import _RunSource
    from renma.config.sample_task import SampleOptions

    if issubclass(task.options, _RunSource | RegularizeOptions):
        return ""
    return "model." if issubclass(task.options, SampleOptions) else None


def _value(name: str, words: Sequence[str]) -> str:
    """Returns what stands behind an option, after ``=`` or as the next word; a switch is true."""
    for place, word in enumerate(words):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name:
            following = words[place + 1 : place + 2]
            return following[0] if following and not following[0].startswith("--") else "true"
    return "..."
