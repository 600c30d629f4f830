"""``renma``: one command a task, its options read off the task's options class."""

from __future__ import annotations

import gc
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from pydantic.fields import FieldInfo

import renma
from renma.cli.manual import options, schema
from renma.cli.screen import Screen
from renma.cli.usage import explained
from renma.config import validate
from renma.config._task import Task
from renma.config.tasks import TASKS
from renma.core.errors import DEFECT, DONE, INTERRUPTED, USER_MISTAKE, Interrupted, UserError

_INTRO = """From a pile of pictures to a LoRA that is proven to work.

The order of the work:
"""
_PATH = {
    "demo", "init", "prepare collect", "prepare lint", "caption tag", "caption maruzen",
    "check", "train", "grid", "judge", "report",
}  # fmt: skip
"""Commands whose examples tell the whole way; `renma GROUP --help` names the others."""
_GROUPS = {
    "prepare": "Collect, check, crop, clean and resize pictures; originals are never changed.",
    "caption": "Captions and tags of many pictures at once.",
    "file": "Show, check, edit, convert, merge, resize, extract and cut LoRA files.",
    "plan": "Arithmetic before training.",
}
_OUTRO = """
A run is one file, run.toml: `renma options` explains every key in it, and
--set section.key=value changes one for a single time. `renma COMMAND --help` says more.
"""


def main(arguments: Iterable[str] | None = None, tasks: tuple[Task, ...] = TASKS) -> int:
    """Runs one command line.

    Args:
        arguments: the words after ``renma`` (default: those of this process).
        tasks: the commands there are.

    Returns:
        The exit code: 0 done, 1 a defect of ours, 2 the user's mistake, 130 or 143 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)

    def work() -> None:
        try:
            build(tasks, words)(
                words, exit_on_error=False, print_error=False, result_action="return_none"
            )
        except CycloptsError as error:
            raise UserError(explained(error, words, tasks)) from None

    return guarded(work)


def guarded(work: Callable[[], None]) -> int:
    """Does something for a person at a terminal; what goes wrong is one line.

    Args:
        work: what to do.

    Returns:
        The exit code, as of :func:`main`.
    """
    _quiet_libraries()
    try:
        work()
        sys.stdout.flush()
    except UserError as error:
        return _say(error.line(), USER_MISTAKE)
    except Interrupted as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("stopped at once", INTERRUPTED)
    except BrokenPipeError:
        # the reader (`head`, a closed pager) has enough; keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        return _say(f"this is a defect of renma ({text}); please report the lines above", DEFECT)
    return DONE


def _quiet_libraries() -> None:
    """Settles what libraries do before torch is loaded: waiting threads and advice not for users.

    Threads that spin while they wait make a step several times slower on a busy machine.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in ("bitsandbytes", "transformers", "diffusers"):
        logging.getLogger(name).setLevel(logging.ERROR)


def build(tasks: tuple[Task, ...] = TASKS, words: Sequence[str] | None = None) -> App:
    """Returns the command line made of the tasks, in their order.

    Args:
        tasks: the commands there are.
        words: what was typed; only commands whose name is in it get their options, because
            describing those of all takes longer than anything `--help` does (default: all).
    """
    app = App(
        name="renma",
        help=_INTRO + "".join(f"\n  {t.example}" for t in tasks if t.name in _PATH) + "\n" + _OUTRO,
        help_format="plaintext",
        version=f"renma {renma.__version__}",
        suppress_keyboard_interrupt=False,
    )
    groups: dict[str, App] = {}
    for place, task in enumerate(tasks):
        group, _, verb = task.name.rpartition(" ")
        if group and group not in groups:
            groups[group] = App(
                name=group, help=_GROUPS[group], help_format="plaintext", sort_key=place
            )
            app.command(groups[group])
        meant = words is None or set(task.name.split()) <= set(words)
        command = _command(task) if meant else _named(task)
        (groups[group] if group else app).command(command, name=verb, sort_key=place)
    for place, command in enumerate((options, schema), len(tasks)):
        app.command(command, sort_key=place)
    return app


def _room(task: Task) -> Any:
    """Imports a task's module; the schema's classes are many objects that never become garbage."""
    gc.disable()
    try:
        return import_module(task.room)
    finally:
        gc.freeze()
        gc.enable()


def _named(task: Task) -> Callable[[], None]:
    """Returns what stands in a list of commands for one that is not called."""

    def command() -> None:
        raise AssertionError(f"{task.name} was not among the words")

    command.__doc__ = task.summary
    return command


def _command(task: Task) -> Callable[..., None]:
    """Returns a function with the task's options as parameters; it imports the room when called."""

    def command(*places: Any, **names: Any) -> None:
        values = signature.bind(*places, **names).arguments
        fields = task.options.model_fields
        named = {fields[name].alias or name: value for name, value in values.items()}
        checked = validate(task.options, named, task.name)
        with Screen() as screen:
            _room(task).run(checked, screen)

    command.__doc__ = f"{task.summary}\n\nExample: {task.example}"
    command.__name__ = task.name
    fields = sorted(task.options.model_fields.items(), key=lambda item: not _positional(item[1]))
    signature = inspect.Signature([_parameter(name, field) for name, field in fields])
    command.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return command


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    default = inspect.Parameter.empty
    if not field.is_required():
        default = field.get_default(call_default_factory=True)
    # no `--no-resume` twins: every switch is off unless named
    shown = Parameter(
        name=f"--{field.alias}" if field.alias else None,
        help=_flowing(field.description or ""),
        negative="",
        show_default=_worth_showing(default),
        alias=_extra(field, "short"),
    )
    written = (str | None) if _extra(field, "word") else field.annotation
    return inspect.Parameter(
        name,
        inspect.Parameter.POSITIONAL_ONLY if _positional(field) else inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[written, shown],
    )


def _flowing(text: str) -> str:
    """Returns a help text without the line ends of its source; paragraphs stay."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _positional(field: FieldInfo) -> bool:
    return bool(_extra(field, "positional"))


def _extra(field: FieldInfo, name: str) -> Any:
    extra = field.json_schema_extra
    return extra.get(name) if isinstance(extra, dict) else None


def _worth_showing(default: Any) -> bool:
    return default not in (None, False, (), inspect.Parameter.empty)


def _say(text: str, code: int) -> int:
    print(f"renma: {text}", file=sys.stderr)
    return code
