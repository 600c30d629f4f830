"""Mistakes found in a translated run, said in the names of who asked for it: sd-scripts' options.

The run.toml that they were found in lies in a scratch folder that nobody knows of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from renma.compat.draft import Draft, Given, Places
from renma.compat.options import options
from renma.config import views
from renma.core.errors import UserError

_WITH_VALUE = re.compile(r"'?(?P<key>[a-z]\w*(\.\w+)*)'? = .*?: (?P<wrong>.*)", re.DOTALL)
_ALONE = re.compile(r"(?P<key>[a-z]\w*(\.\w+)+): (?P<wrong>.*)", re.DOTALL)
_DOTTED = re.compile(r"'?\b([a-z]\w*(?:\.\w+)+)\b'?")
_FAMILIES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL"}
_SCRIPTS = {
    "sd1": "train_network without --v2",
    "sd2": "train_network with --v2",
    "sdxl": "sdxl_train_network",
}
_MODEL = "pretrained_model_name_or_path"
_REMEDIES = {
    _MODEL: "Give a .safetensors file or a diffusers folder on this disk, for nothing is "
    "downloaded; or 'mame', the small built-in model.",
}
"""What to do where a file is not there, in place of what a run.toml's owner is told."""


def renamed(error: UserError, given: Given, places: Places, draft: Draft | None) -> UserError:
    """Returns a mistake with its options called as sd-scripts calls them.

    Args:
        error: what was found.
        given: what was asked.
        places: where the command was given, and the scratch folder.
        draft: the translation, as far as there is one.
    """
    where, what = ("" if error.where is None else str(error.where)), error.what
    if re.match(rf"{re.escape(str(places.there))}[/\\]run\.toml", where):
        where = ""
    if named := _of_file(where, given, places.here):
        return UserError(what, where=named, remedy=_remedy(error.remedy, places))
    if draft is None:
        return error
    if "model.family" in what:
        return _wrong_script(what, draft)
    return _of_option(UserError(what, where=where, remedy=error.remedy), draft)


def _of_option(error: UserError, draft: Draft) -> UserError:
    """Returns a mistake with the option in front that decided the key it is about."""
    known, where, places = _known(draft), str(error.where), draft.places
    whole = error.what if not where or where.startswith("--") else f"{where}: {error.what}"
    match = _WITH_VALUE.match(whole) or _ALONE.match(whole)
    key, wrong = (match["key"], match["wrong"]) if match else ("", error.what)
    option = _option(key, known)
    if not option and draft.given.has("dataset_config") and _of_data(key):
        option, wrong = "dataset_config", whole
    remedy = _said(_remedy(error.remedy, places), known)
    if not option:
        return UserError(_said(error.what, known), where=where or None, remedy=remedy)
    if wrong.startswith("there is no such"):
        remedy = _REMEDIES.get(option, f"Paths start at {places.here}.")
    place = f"--{option}{_value(option, draft.given)}"
    return UserError(_said(wrong, known), where=place, remedy=remedy)


def _of_data(key: str) -> bool:
    """Says whether a key is one of a data set file, where it may stand without a table."""
    return bool(key) and ("." not in key or key.startswith("data."))


def _value(option: str, given: Given) -> str:
    """Returns ``=VALUE`` of an option as it was given."""
    if not given.has(option) or given.values[option] is True:
        return ""
    value = given.values[option]
    return f"={' '.join(map(str, value)) if isinstance(value, list) else value}"


def _wrong_script(what: str, draft: Draft) -> UserError:
    """Returns the mistake of giving a script, or --v2, a model that it is not for."""
    asked = _SCRIPTS[draft.raw["model"]["family"]]
    return UserError(
        f"{what.partition(', but')[0]}, which {asked} does not train",
        where=f"--{_MODEL}{_value(_MODEL, draft.given)}",
        remedy=f"{'; '.join(f'{_FAMILIES[f]}: {script}' for f, script in _SCRIPTS.items())}.",
    )


def _known(draft: Draft) -> dict[str, str]:
    """Returns our keys with the options that decided them; those that were given come first."""
    table: dict[str, str] = {}
    rows = sorted(draft.rows.values(), key=lambda row: not draft.given.has(row.option))
    for row in rows:
        key = row.became.partition(" = ")[0]
        if "." in key and " " not in key:
            table.setdefault(key, row.option)
    for key, option in draft.origin.items():
        table.setdefault(key, option)
    for option, keys in views.from_kohya().items():
        for key in keys if option in options() else ():  # others belong into data set files
            table.setdefault(key, option)
    return table


def _option(key: str, known: dict[str, str]) -> str:
    """Returns the option of a key; a data set's key may stand without its table."""
    if not key or key in known:
        return known.get(key, "")
    found = {option for name, option in known.items() if name.endswith(f".{key}")}
    return found.pop() if len(found) == 1 else ""


def _said(text: str, known: dict[str, str]) -> str:
    """Returns a sentence with every key of ours that has another name there called by that."""

    def name(match: re.Match[str]) -> str:
        option = known.get(match[1], "")
        return f"--{option}" if option else match[0]

    return _DOTTED.sub(name, text)


def _of_file(where: str, given: Given, here: Path) -> str:
    """Returns the one option that named a file, for a mistake that names the file alone."""
    found = [
        f"--{name}={text}"
        for name, text in _texts(given)
        if where and where in (text, str(here / text))
    ]
    return found[0] if len(found) == 1 else ""


def _texts(given: Given) -> Iterator[tuple[str, str]]:
    for name, value in given.values.items():
        for each in value if isinstance(value, list) else (value,):
            if isinstance(each, str) and each:
                yield name, each


def _remedy(text: str, places: Places) -> str:
    """Returns a remedy without advice about a run.toml, which nobody has here."""
    if "renma init" in text or str(places.there) in text:
        return f"Paths start at {places.here}."
    return text
