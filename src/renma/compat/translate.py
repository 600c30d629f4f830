"""From what was asked of sd-scripts to a run of renma that means the same."""

from __future__ import annotations

from collections.abc import Callable

from renma.compat import data, model, network, optimizer, plain, rules, schedule, training
from renma.compat.draft import Draft, Given, Places
from renma.compat.options import options
from renma.config import Run, validate
from renma.core.errors import UserError

_PARTS: tuple[Callable[[Draft], None], ...] = (
    model.fill, network.fill, optimizer.fill, schedule.fill, data.fill, training.fill,
    plain.fill, data.after_plain, rules.fill,
)  # fmt: skip
"""In their order: what has a word of its own to say, the schema's own names, then verdicts."""


def translate(given: Given, places: Places) -> Draft:
    """Returns the run, and a row about every option that was given or whose default differs.

    Args:
        given: what was asked.
        places: where relative paths start.

    Raises:
        UserError: options that exclude each other, values that cannot be, an option nobody knows.
    """
    draft = Draft(given, places)
    for part in _PARTS:
        part(draft)
    for name in given.values:
        if given.has(name) and name not in draft.rows and name not in draft.settled:
            draft.refuse(name, "there is nothing like it here")
    order = [name for name in (*given.values, *options()) if name in draft.rows]
    draft.rows = {name: draft.rows[name] for name in order}
    if not refused(draft):
        _check(draft)
    return draft


def refused(draft: Draft) -> list[str]:
    """Returns the given options that cannot be had here, each with its reason."""
    return [
        f"--{row.option} ({row.why})" for row in draft.rows.values() if row.kind == "not supported"
    ]


def _check(draft: Draft) -> None:
    """Validates the run, and writes arguments of the optimizer as the options that they are.

    Raises:
        UserError: the run is none.
    """
    before = draft.raw["optimizer"]
    try:
        run = validate(Run, draft.raw, "the run")
    except UserError as error:
        found = ((key, o) for key, o in draft.origin.items() if f"'{key}'" in error.what)
        key, option = next(found, ("", ""))
        where, what = f"--{option}" if option else "what was asked", error.what
        value, sign, wrong = what.removeprefix(f"'{key}' = ").partition(": ")
        if option and sign and len(value) < len(what.partition(": ")[0]):
            where, what = f"{where}={value}", wrong
        raise UserError(what, where=where, remedy=error.remedy) from None
    if "args" in draft.raw["optimizer"]:  # most of them are options of their own here
        own = run.optimizer.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        own = {"name": own.pop("name"), **own}
        draft.raw["optimizer"] = {name: value for name, value in own.items() if value != {}}
        names = [name for name in own if name not in before] + ["args"] * bool(own.get("args"))
        draft.tell("optimizer_args", f"optimizer: {', '.join(names)}")
