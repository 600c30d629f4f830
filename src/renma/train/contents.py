"""What pictures, masks and captions held when a run began, so that a resumed one names changes.

``pictures.json`` in the run's folder has a row for each picture, and the fingerprints of all
contents that this run was trained with: more than one where ``--allow-change data`` let it go on
with others. A state carries the fingerprint of the contents that it was saved with.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from renma.core.errors import UserError
from renma.core.store import digest, write_text
from renma.data.folder import Scan
from renma.data.item import Item
from renma.data.notes import shown
from renma.train.changes import CONTENTS, OTHER_CONTENTS, other_contents

NAME = "pictures.json"
KEY = "pictures or captions"
"""What the fingerprint is called in a state."""
_KINDS = ("picture", "mask", "caption", "held out or not")
_DIGITS = 16
"""Hexadecimal digits kept of each hash: enough to see a change, short enough for many pictures."""

Rows = dict[str, tuple[str, ...]]
"""``folder/picture.png`` to what tells its contents apart, in the order of ``_KINDS``."""


@dataclass(frozen=True)
class Contents:
    """What the pictures of a run hold.

    Attributes:
        fingerprint: digest of all of it, in the order in which pictures are counted.
        rows: the same by picture.
    """

    fingerprint: str
    rows: Rows

    @classmethod
    def of(cls, scan: Scan) -> Contents:
        """Returns the contents of scanned pictures, held-out ones included."""
        rows: Rows = {}
        for part, item in _items(scan):
            name = shown(f"{item.path.parent.name}/{item.path.name}")
            held = (item.digest, item.mask_digest, digest([item.caption]), digest([part]))
            # a picture in two data sets has two rows
            rows[_free(name, rows)] = tuple(each[:_DIGITS] for each in held)
        return cls(fingerprint(scan), rows)


def fingerprint(scan: Scan) -> str:
    """Returns a digest of all pictures, masks and captions, to notice changes on resume.

    Names and places are not in it: a project may be moved.
    """
    return digest(
        f"{part}:{item.digest}:{item.mask_digest}:{item.caption}" for part, item in _items(scan)
    )


def differences(folder: Path, now: Contents) -> tuple[str, ...]:
    """Returns what changed since a run began or last went on, such as ``a/red.png (caption)``.

    Empty where nothing changed, or where the folder does not say what it was.
    """
    known, before = _read(folder)
    if not known or known[-1] == now.fingerprint:
        return ()
    names = sorted(before.keys() | now.rows.keys())
    found = [
        f"{name} ({kind})"
        for name in names
        if (kind := _kind(before.get(name), now.rows.get(name)))
    ]
    return tuple(found) or ("the order of the pictures",)


def accepted(folder: Path) -> tuple[str, ...]:
    """Returns the fingerprints that states of a run may carry, the newest last."""
    return _read(folder)[0]


def settle(state: MutableMapping[str, str], now: str, folder: Path, allow: Collection[str]) -> None:
    """Lets a state go on with the contents that there are now, where that was allowed.

    Args:
        state: what the state was saved with; its entry ``KEY`` becomes ``now``.
        now: the fingerprint of the pictures and captions that there are.
        folder: of the run.
        allow: options and sections named by ``--allow-change``.

    Raises:
        UserError: they are others, and nobody said that they may be.
    """
    then = state.get(KEY)
    if then != now and then not in accepted(folder) and CONTENTS not in allow:
        raise UserError(other_contents(), remedy=OTHER_CONTENTS)
    state[KEY] = now


def remember(folder: Path, now: Contents, *, resume: bool) -> None:
    """Writes the contents that a run begins or goes on with."""
    before = accepted(folder) if resume else ()
    if before and before[-1] == now.fingerprint:
        return
    known = [*(each for each in before if each != now.fingerprint), now.fingerprint]
    write_text(folder / NAME, json.dumps({"fingerprints": known, "pictures": now.rows}, indent=0))


def _items(scan: Scan) -> Iterator[tuple[str, Item]]:
    for scanned in scan.sets:
        for part, items in (("trained", scanned.items), ("held out", scanned.held_out)):
            for item in items:
                yield part, item


def _free(name: str, rows: Rows) -> str:
    """Returns a name that has no row yet."""
    number, free = 1, name
    while free in rows:
        number += 1
        free = f"{name} #{number}"
    return free


def _kind(before: tuple[str, ...] | None, now: tuple[str, ...] | None) -> str:
    """Returns what changed about a picture, empty where nothing did."""
    if before is None:
        return "new"
    if now is None:
        return "gone"
    return ", ".join(k for k, a, b in zip(_KINDS, before, now, strict=True) if a != b)


def _read(folder: Path) -> tuple[tuple[str, ...], Rows]:
    """Returns fingerprints and rows; nothing where the file is missing or is none of ours."""
    try:
        told = json.loads((folder / NAME).read_text(encoding="utf-8"))
        rows = {str(name): tuple(map(str, row)) for name, row in told["pictures"].items()}
        known = tuple(map(str, told["fingerprints"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return (), {}  # the fingerprint in the state still tells that something changed
    return known, {name: row for name, row in rows.items() if len(row) == len(_KINDS)}
