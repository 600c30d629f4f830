"""``renma prepare repeat``: a recorded step done again, and before it the steps it came from."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

import renma
from renma.config._base import Section
from renma.config._task import Task
from renma.config.prepare._base import StepOptions
from renma.config.prepare.repeat import RepeatOptions
from renma.config.prepare.tasks import PREPARE_TASKS
from renma.core.counted import counted
from renma.core.errors import UserError, did_you_mean
from renma.core.events import Report
from renma.core.place import near
from renma.data.notes import shown
from renma.prepare._beside import is_beside
from renma.prepare._place import is_empty
from renma.prepare._record import Head, Record

_MOST = 64
BESIDE = ("save_masks", "overlay")
"""The options of all verbs that are folders beside the one that is made."""
_SPREAD = {"executor", "workers"}


@dataclass(frozen=True)
class Step:
    """One recorded step.

    Args:
        task: the verb's row in the task table.
        made: the folder that it made.
        options: what it was told.
        version: of renma, then.
    """

    task: Task
    made: Path
    options: Section
    version: str


def run(options: RepeatOptions, report: Report) -> None:
    """Does a step again, and the steps before it.

    Raises:
        UserError: a folder that no step made, a record that this version cannot follow; and
            whatever the steps themselves raise.
    """
    steps = chain(options.made)
    told = again(steps, options)
    if options.show:
        for step, new in zip(steps, told, strict=True):
            report.line(command(step.task, new))
        return
    for step, new in zip(steps, told, strict=True):
        if step.version != renma.__version__:
            text = f"was made by renma {step.version}, this is {renma.__version__}"
            report.event("warned", text=f"{step.made} {text}: results may differ")
        report.line(command(step.task, new))
        importlib.import_module(step.task.room).run(new, report)
    if options.out is not None and options.originals is None:
        _compare(options.made, options.out, report)


def chain(made: Path) -> list[Step]:
    """Returns the steps that led to a folder, the first one first.

    Raises:
        UserError: no step made the folder, or a record cannot be followed.
    """
    steps: list[Step] = []
    folder = made.resolve()
    known: dict[Path, Head] = {}
    head = Record(folder).head()
    while head:
        if any(step.made == folder for step in steps) or len(steps) == _MOST:
            raise UserError("the recorded steps lead in a circle", where=made)
        steps.append(_step(folder, head))
        known |= head.earlier(folder)
        folder, after = Path(head.folder), head
        # a folder that is gone is made again as a later one's record says
        head = Record(folder).head() or (
            known[folder] if folder in known and is_empty(folder) else None
        )
        if head is None and after.before is None and not folder.exists():
            raise UserError(
                f"was made from {folder}, which is gone; whether steps made that is not recorded",
                where=steps[-1].made,
                remedy="Bring that folder back, or do the steps again from the originals.",
            )
    if not steps:
        what = "was made by no step" if made.is_dir() else "there is no such folder"
        remedy = near(made) or "Name a folder that `renma prepare` made."
        raise UserError(what, where=shown(made), remedy=shown(remedy))
    return steps[::-1]


def again(steps: Sequence[Step], options: RepeatOptions) -> list[Section]:
    """Returns what each step is told this time.

    Args:
        steps: the first one first.
        options: where to, from where, by whom.
    """
    told: list[Section] = []
    _check_given(steps, options)
    for number, step in enumerate(steps, 1):
        change: dict[str, Any] = {"out": _place(step, number, len(steps), options)}
        change |= _beside(step, options)
        change |= {n: v for n in _SPREAD if (v := getattr(options, n)) is not None}
        if told:
            change["folder"] = getattr(told[-1], "out", None)
        elif options.originals is not None:
            change |= _from(step.options, options.originals)
        told.append(step.options.model_copy(update=change))
    return told


def _beside(step: Step, options: RepeatOptions) -> dict[str, Path]:
    """Returns where a step writes beside its pictures this time.

    A record may come from anybody: a folder that it names is taken only where it is known to be the
    step's own.

    Raises:
        UserError: the command line does not say it.
    """
    found = {}
    for name, before in _recorded_places(step).items():
        given = getattr(options, name)
        goes_on = options.out is None and is_beside(before, step.made)
        if given is None and not (goes_on or options.show):
            flag = f"--{name.replace('_', '-')}"
            raise UserError(
                f"its record says to write into {before} too",
                where=step.made,
                remedy=f"Say where to this time, with {flag} FOLDER.",
            )
        found[name] = given or before
    return found


def _check_given(steps: Sequence[Step], options: RepeatOptions) -> None:
    """Makes sure that a folder that is given belongs to one step."""
    for name in BESIDE:
        count = sum(name in _recorded_places(step) for step in steps)
        if getattr(options, name) is not None and count != 1:
            raise UserError(
                f"{counted(count, 'step')} of {len(steps)} wrote into such a folder",
                where=f"--{name.replace('_', '-')}",
                remedy="Leave it out." if not count else "Repeat the steps one by one.",
            )


def _recorded_places(step: Step) -> dict[str, Path]:
    names = step.options.beside if isinstance(step.options, StepOptions) else ()
    return {name: place for name in names if (place := getattr(step.options, name))}


def command(task: Task, options: Section) -> str:
    """Returns a command line that means the same as options, leaving out what it means anyway.

    Args:
        task: the row of the task table.
        options: of it.
    """
    places: list[str] = []
    named: list[str] = []
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if _extra(field, "positional"):
            places += [str(each) for each in (value if isinstance(value, tuple) else (value,))]
        elif value != _default(type(options), name):
            named += _written(name, field, value)
    return shlex.join(["renma", *task.name.split(), *places, *named])


def _step(folder: Path, head: Head) -> Step:
    tasks = {task.name: task for task in PREPARE_TASKS}
    name = f"prepare {head.verb}"
    if name not in tasks:
        raise UserError(
            f"was made by `renma {name}`, which this version does not have",
            where=folder,
            remedy=did_you_mean(name, tasks),
        )
    try:
        options = tasks[name].options.model_validate(_named(tasks[name].options, head.options))
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"]))
        raise UserError(
            f"its record cannot be followed by this version: {option}: {first['msg']}", where=folder
        ) from None
    # the record holds where that was, seen from everywhere
    update = _from(options, Path(head.folder))
    if len(getattr(options, "folders", ())) > 1:
        update = {}
    return Step(tasks[name], folder, options.model_copy(update=update), head.version)


def _from(options: Section, folder: Path) -> dict[str, Any]:
    """Returns the option that says where the pictures come from."""
    many = "folders" in type(options).model_fields
    return {"folders": (folder,)} if many else {"folder": folder}


def _named(section: type[Section], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the recorded values that say more than the default, under the names that are taken.

    The others would count as given, and some options may not be given together.
    """
    fields = section.model_fields
    found: dict[str, Any] = {}
    for name, value in recorded.items():
        if name not in fields or value != _plain(_default(section, name)):
            found[fields[name].alias or name if name in fields else name] = value
    return found


def _default(section: type[Section], name: str) -> Any:
    """Returns an option's default as it is after validation: `512x512` is two numbers then."""
    field = section.model_fields[name]
    if field.is_required():
        return ...
    default = field.get_default(call_default_factory=True)
    if _extra(field, "word") and isinstance(default, str):
        read = TypeAdapter(Annotated[Any, *field.metadata])  # pyright: ignore[reportInvalidTypeForm]
        return read.validate_python(default)
    return default


def _plain(value: Any) -> Any:
    """Returns a value as JSON gives it back."""
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _written(name: str, field: FieldInfo, value: Any) -> list[str]:
    """Returns the words that give one option on the command line."""
    letter = _extra(field, "short")
    flag = letter or f"--{(field.alias or name).replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    if _extra(field, "word") and isinstance(value, tuple):
        whole = "x".join(map(str, value)) if len(value) == 2 else "#" + bytes(value).hex()
        return [flag, whole]
    if isinstance(value, tuple):
        return [word for each in value for word in (flag, str(each))]
    return [flag, str(value)]


def _extra(field: FieldInfo, name: str) -> Any:
    extra = field.json_schema_extra
    return extra.get(name) if isinstance(extra, dict) else None


def _place(step: Step, number: int, count: int, options: RepeatOptions) -> Path:
    """Returns the folder that a step makes this time."""
    if options.out is None:
        return step.made
    if number == count:
        return options.out
    return options.out.with_name(f"{options.out.name}-{number}-{step.task.name.split()[-1]}")


def _compare(before: Path, after: Path, report: Report) -> None:
    """Tells whether the pictures came out the same, byte by byte."""
    old, new = _digests(before), _digests(after)
    same = sum(new.get(name) == digest for name, digest in old.items())
    if same == len(old) == len(new):
        report.line(f"all {counted(same, 'picture')} are the same as before, byte by byte")
        return
    other = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    text = f"{same} of {counted(len(old), 'picture')} are the same as before; not: "
    report.event("warned", text=text + ", ".join(other[:5]) + (", ..." if other[5:] else ""))


def _digests(folder: Path) -> dict[str, str]:
    record = Record(folder)
    record.read()
    return {o.name: o.digest for row in record.rows.values() for o in row.outputs}
