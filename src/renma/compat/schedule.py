"""lr_scheduler and what belongs to it."""

from __future__ import annotations

import ast
from typing import Any

from renma.compat.draft import Draft, conflict
from renma.compat.optimizer import models
from renma.config.load import validate
from renma.config.run import Run
from renma.config.views import chapters
from renma.core.errors import UserError, did_you_mean

_OPTIONS = (
    "lr_scheduler", "lr_scheduler_type", "lr_scheduler_args",
    "lr_warmup_steps", "lr_decay_steps", "lr_scheduler_num_cycles",
    "lr_scheduler_power", "lr_scheduler_timescale", "lr_scheduler_min_lr_ratio",
)  # fmt: skip


def fill(draft: Draft) -> None:
    """Takes the options about the learning rate's course.

    Raises:
        UserError: a schedule that does not exist, or options that it cannot have.
    """
    given = draft.given
    draft.settled |= {"lr_scheduler", "lr_scheduler_type", "lr_scheduler_args"}
    if reason := _replaced(draft):
        for name in _OPTIONS:
            draft.settled.add(name)
            if given.has(name):
                draft.idle(name, reason)
    elif given.has("lr_scheduler_type"):
        _class(draft)
    else:
        _named(draft, str(given.get("lr_scheduler")).lower())


def _named(draft: Draft, name: str) -> None:
    given, known = draft.given, names()
    if name not in known or name == "custom":
        remedy = did_you_mean(name, known) or f"Known: {', '.join(known)}."
        raise UserError(f"'{name}' is not known", where="--lr_scheduler", remedy=remedy)
    if name == "adafactor":
        remedy = "It belongs to --optimizer_type=Adafactor with relative_step=True."
        raise UserError("is Adafactor's own", where="--lr_scheduler=adafactor", remedy=remedy)
    if name == "constant" and given.get("lr_warmup_steps"):
        remedy = "Take --lr_scheduler=constant_with_warmup."
        raise conflict("a constant rate has no warm-up", "lr_warmup_steps", remedy=remedy)
    draft.put("schedule.name", name)
    if given.has("lr_scheduler"):
        draft.take("lr_scheduler", "schedule.name", name)
    arguments = _arguments(draft)
    if name == "piecewise_constant":
        draft.take("lr_scheduler_args", "schedule.step_rules", str(arguments.get("step_rules", "")))
    elif arguments:
        draft.idle("lr_scheduler_args", f"'{name}' has options of its own")


def _class(draft: Draft) -> None:
    """Takes a scheduler class; a bare name is one of torch's."""
    given = draft.given
    path = given.get("lr_scheduler_type")
    path = path if "." in path else f"torch.optim.lr_scheduler.{path}"
    draft.put("schedule.name", "custom")
    draft.take("lr_scheduler_type", "schedule.class_path", path)
    if given.has("lr_scheduler"):
        draft.idle("lr_scheduler", "--lr_scheduler_type decides, as in sd-scripts")
    if given.has("lr_scheduler_args"):
        draft.take("lr_scheduler_args", "schedule.args", _arguments(draft))


def _arguments(draft: Draft) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in draft.given.get("lr_scheduler_args") or []:
        name, sign, value = word.partition("=")
        if not sign:
            what = f"'{word}' is not of the form key=value"
            raise UserError(what, where="--lr_scheduler_args")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def names() -> list[str]:
    """Returns the schedules that run.toml knows."""
    found = (chapter.choice.partition('"')[2].rstrip('"') for chapter in chapters("schedule"))
    return [name for name in found if name]


def _replaced(draft: Draft) -> str:
    """Returns why the optimizer needs no schedule; empty where it does."""
    raw = draft.raw["optimizer"]
    if raw["name"] not in models() or raw["name"] == "custom":
        return ""
    traits = validate(Run, {"optimizer": raw}, "--optimizer_args").optimizer.traits
    return {
        "relative_step": "Adafactor's relative steps replace it, as in sd-scripts",
        "schedule_free": "this optimizer works without a schedule, as in sd-scripts",
    }.get(traits.own_schedule, "")
