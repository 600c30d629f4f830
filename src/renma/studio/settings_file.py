"""run.toml as the pages write it: what was changed in a form, laid into the text as it stood."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Comment, Null

from renma.core.errors import UserError

_LONG = 60
"""Signs of a list that stands on one line."""


def as_toml(values: Mapping[str, Any]) -> str:
    """Returns values as TOML; empty tables are left out."""
    return merged("", values)


def parsed(text: str) -> tomlkit.TOMLDocument:
    """Returns a text as a document that keeps its comments.

    Raises:
        UserError: it is no TOML.
    """
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, RecursionError, ValueError) as error:
        raise UserError(f"is not valid TOML: {error}", where="run.toml") from None


def merged(text: str, values: Mapping[str, Any]) -> str:
    """Returns a text changed so that it says ``values``; comments and order stay.

    Raises:
        UserError: the text is no TOML, or a value (such as null in a list) has no form in it.
    """
    document = parsed(text)
    try:
        _lay(document, values)
        return tomlkit.dumps(document)
    except (TOMLKitError, RecursionError, ValueError, TypeError) as error:
        raise UserError(f"cannot be written as TOML: {error}", where="run.toml") from None


def _lay(table: MutableMapping[str, Any], values: Mapping[str, Any]) -> None:
    kept = {name: value for name, value in values.items() if value is not None and value != {}}
    for name in [name for name in table if name not in kept]:
        _drop(table, name)
    for name, value in kept.items():
        there = table.get(name)
        if isinstance(value, Mapping) and isinstance(there, MutableMapping):
            _lay(there, value)
        elif name not in table or plain(there) != value:
            table[name] = _item(value)


def _drop(table: MutableMapping[str, Any], name: str) -> None:
    """Removes a key and the comment lines right above it, which explain it."""
    body = getattr(getattr(table, "value", table), "body", [])
    at = next((i for i, (key, _) in enumerate(body) if key is not None and key.key == name), 0)
    if body and isinstance(table[name], MutableMapping | AoT):
        at = 0  # what stands above a table may be about the whole file
    while at > 0 and isinstance(body[at - 1][1], Comment):
        at -= 1
        body[at] = (None, Null())
    del table[name]


def plain(value: Any) -> Any:
    """Returns what a document says as plain values."""
    return value.unwrap() if hasattr(value, "unwrap") else value


def _item(value: Any) -> Any:
    if isinstance(value, list) and value and not isinstance(value[0], Mapping):
        array = tomlkit.array().multiline(sum(len(str(each)) for each in value) > _LONG)
        array.extend(value)
        return array
    return tomlkit.item(value)
