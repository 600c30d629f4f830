"""The one door through which captions are written, so that every edit can be taken back.

Before a file is touched, a journal of the edit lies whole on the disk, under
``.renma/captions/0001-edit.jsonl`` of the folder: a line that says what was done, then for every
file what it held and what it will hold. A kill at any moment leaves each file old or new, and
:func:`undo` brings back the bytes of both kinds. An edit that is undone keeps its journal, named
``.undone.jsonl``, so that it can be done again.

Files are not made durable one by one, which takes seven seconds for a thousand; the journal is,
and holds every caption twice.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from renma.caption import journal_places
from renma.caption.difference import show_bytes
from renma.caption.journal_file import (
    ENDINGS,
    PLACE,
    Change,
    Record,
    changes_of,
    history,
    record,
    redoable,
    touches,
)
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import sweep
from renma.data.notes import Notes, shown

_NAMED = 5
_A_MINUTE = 60


def _as_it_is(held: bytes | None) -> bytes | None:
    return held


@dataclass(frozen=True)
class Edit:
    """A change of a file that was worked out from what it held some time ago.

    Attributes:
        was: what it held then; None where there was no file.
        text: what it is to hold; bytes are written as they are, None removes it.
        again: asked where it holds something else by now: given that, returns what it is to hold.
            The same means: leave it (default).
    """

    was: bytes | None
    text: str | bytes | None
    again: Callable[[bytes | None], bytes | None] = _as_it_is


def write(
    folder: Path,
    verb: str,
    changes: Mapping[Path, str | Edit | None],
    report: Report,
    *,
    diff: bool,
    dry_run: bool,
) -> int:
    """Writes captions as UTF-8, after recording what the files hold.

    Args:
        folder: holds all the files; its journal is used.
        verb: name of the edit, in small letters.
        changes: file to its new text; None removes the file. What others write meanwhile is kept
            where an :class:`Edit` says what the text was made of; such files are named.
        report: told each change, if wanted, and the count.
        diff: show each change.
        dry_run: write nothing.

    Returns:
        How many files change; what already holds its text is left alone.

    Raises:
        UserError: a file cannot be read or written, or another process edits this folder.
    """
    if dry_run:
        found = _differing(changes, report)
        _show(folder, found, report, diff=diff)
        report.line(f"{_files(len(found))} would change; nothing is written")
        return len(found)
    with _alone(folder):
        found = _differing(changes, report)
        _show(folder, found, report, diff=diff)
        if found:
            found = _write_all(folder, verb, found, report)
    if found:
        report.line(f"{_files(len(found))} changed; {_undoing(folder, found)} takes it back")
        report.event("edited", verb=verb, files=len(found))
    else:
        report.line("no caption file changes")
    return len(found)


def _write_all(folder: Path, verb: str, found: list[Change], report: Report) -> list[Change]:
    """Writes files after a journal of them, and returns those that nobody else wrote meanwhile."""
    file, left = record(folder, verb, found), set[Path]()
    try:
        _put_all(folder, found, report, left)
    finally:  # what others wrote is no business of undo
        found = [change for change in found if change.path not in left]
        if left and found:
            record(folder, verb, found, file)
        elif left:
            file.unlink()
    return found


def _undoing(folder: Path, found: Sequence[Change]) -> str:
    """Returns the command that takes an edit back."""
    others = {change.path.suffix for change in found} - {*ENDINGS}
    extension = ["--extension", min(others)] if others else []
    return f"`{shlex.join(['renma', 'caption', 'undo', shown(folder), *extension])}`"


def _show(folder: Path, found: Sequence[Change], report: Report, *, diff: bool) -> None:
    for change in found if diff else ():
        name = shown(change.path.relative_to(folder).as_posix())
        show_bytes(name, change.old, change.new, report)


def undo(
    folder: Path,
    report: Report,
    steps: int = 1,
    *,
    force: bool = False,
    file: Path | None = None,
    endings: Iterable[str] = (),
) -> int:
    """Takes the last edits of a folder's captions back, byte for byte.

    Args:
        folder: the folder that was edited.
        report: told what is undone.
        steps: how many edits.
        force: also restore files that somebody else changed since; what they hold is lost.
        file: metadata in the folder: only edits of it count.
        endings: of caption files, besides the usual ones.

    Returns:
        How many files were restored.

    Raises:
        UserError: there are not so many edits, or a file was changed since (unless forced); then
            nothing is restored.
    """
    _needs_journal(folder)
    with _alone(folder):
        done = [past for past in history(folder) if not past.undone and touches(past, file)]
        if len(done) < steps:
            raise UserError(
                f"{_edits(len(done))} can be undone, {steps} asked for" if done
                else "no edit of its captions can be undone",
                where=shown(file or folder),
                remedy="" if done or file else journal_places.remedy(folder),
            )  # fmt: skip
        return _turn(folder, done[::-1][:steps], report, back=True, force=force, endings=endings)


def redo(
    folder: Path,
    report: Report,
    steps: int = 1,
    *,
    force: bool = False,
    file: Path | None = None,
    endings: Iterable[str] = (),
) -> int:
    """Does again what was undone last; as :func:`undo`, the other way round.

    Edits that were undone before a newer edit was made stay undone.
    """
    _needs_journal(folder)
    with _alone(folder):
        waiting = redoable(history(folder), file)
        if len(waiting) < steps:
            raise UserError(
                f"{_edits(len(waiting))} can be done again, {steps} asked for" if waiting
                else "no edit of its captions was undone last",
                where=shown(file or folder),
            )  # fmt: skip
        return _turn(folder, waiting[:steps], report, back=False, force=force, endings=endings)


def _needs_journal(folder: Path) -> None:
    """Refuses a folder that was never edited, before a journal's place is made in it."""
    if not (folder / PLACE).is_dir():
        near = journal_places.remedy(folder) if folder.is_dir() else ""
        what = "was not edited as a whole" if near else "its captions were never edited by renma"
        raise UserError(what, where=shown(folder), remedy=near)


def _differing(changes: Mapping[Path, str | Edit | None], report: Report) -> list[Change]:
    found, notes = [], Notes()
    for path, wanted in changes.items():
        old = _held(path)
        if isinstance(wanted, Edit) and wanted.was != old:
            new = wanted.again(old)
            done = "left as they are" if new == old else "what they say now is worked on"
            notes.add(f"written meanwhile by somebody else, {done}", path)
        else:
            new = _encoded(wanted.text if isinstance(wanted, Edit) else wanted, path)
        if old != new:
            found.append(Change(path, old, new))
    for line in notes.lines():
        report.event("warned", text=line)
    return found


def _encoded(text: str | bytes | None, path: Path) -> bytes | None:
    try:
        return text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:  # JSON can write what no text file can
        raise UserError(f"gets what is no text: {error.reason}", where=shown(path)) from None


def _held(path: Path) -> bytes | None:
    """Returns what a file holds, or None if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=shown(path)) from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from editing the captions of a folder.

    Raises:
        UserError: one does, or the folder cannot be written.
    """
    if not folder.is_dir():
        raise UserError("there is no such folder", where=shown(folder))
    lock = FileLock(folder / PLACE / "lock", timeout=0)
    try:
        (folder / PLACE).mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(
            "another renma edits the captions of this folder",
            where=shown(folder),
            remedy="Wait until it is done.",
        ) from None
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=shown(folder)) from None
    try:  # what goes wrong within is not about the lock
        yield
    finally:
        lock.release()


def _turn(
    folder: Path,
    records: Sequence[Record],
    report: Report,
    *,
    back: bool,
    force: bool,
    endings: Iterable[str],
) -> int:
    """Brings files to what they held before (or after) some edits, one edit after the other.

    Each edit is finished, its journal renamed, before the next begins, so that a kill leaves a
    state from which the same call goes on.
    """
    edits = [(past, [*changes_of(folder, past, endings)]) for past in records]
    if not force:
        _refuse_strangers(folder, [change for _, made in edits for change in made], back=back)
    total = 0
    for past, made in edits:
        wanted = [(change.path, change.old if back else change.new) for change in made]
        now = [Change(path, _held(path), data) for path, data in wanted]
        due, left = [change for change in now if change.old != change.new], set[Path]()
        _put_all(folder, due, report, left)
        ending = ".undone.jsonl" if back else ".jsonl"
        past.file.replace(past.file.with_name(f"{past.number:04}-{past.verb}{ending}"))
        done = "undone" if back else "done again"
        report.line(
            f"{past.number:04} {past.verb} is {done}: {_files(len(due) - len(left))} restored"
        )
        total += len(due) - len(left)
    return total


def _refuse_strangers(folder: Path, made: Sequence[Change], *, back: bool) -> None:
    """Makes sure that no file was changed since by anybody but these edits.

    Raises:
        UserError: some were; five are named.
    """
    states: dict[Path, bytes | None] = {}
    strangers: dict[Path, None] = {}
    for change in made:
        state = states[change.path] if change.path in states else _held(change.path)
        if state not in (change.old, change.new):
            strangers[change.path] = None
        states[change.path] = change.old if back else change.new
    if others := journal_places.that_wrote({path: _held(path) for path in strangers}, folder):
        raise UserError(
            f"changed since by edits of {', '.join(map(shown, others))}",
            where=shown(folder),
            remedy=f"Undo those first: `renma caption undo {shown(others[0])}`; or --force "
            "restores the files, what they hold is lost.",
        )
    if strangers:
        names = [shown(path.relative_to(folder).as_posix()) for path in strangers]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise UserError(
            f"changed since by somebody else: {', '.join(names[:_NAMED])}{more}",
            where=shown(folder),
            remedy="Nothing is restored; --force restores them too, what they hold is lost.",
        )


def _put_all(folder: Path, wanted: Sequence[Change], report: Report, left: set[Path]) -> None:
    """Replaces files, each at once.

    Args:
        folder: that is edited.
        wanted: what each file held a moment ago and is to hold.
        report: told the progress, and the files that are left.
        left: gets the files that hold something else by now; they are left as they are.
    """
    notes = Notes()
    for parent in {change.path.parent for change in wanted}:
        sweep(parent, older_than=_A_MINUTE)  # what a killed edit left
    for place, change in enumerate(wanted):
        path = change.path
        try:
            if not _put(change):
                left.add(path)
                notes.add("written meanwhile by somebody else, left as they are", path)
        except OSError as error:
            raise UserError(
                f"cannot be written ({error.strerror}); {place} of {len(wanted)} files are done",
                where=shown(path),
                remedy=f"`renma caption undo {shown(folder)}` takes them back.",
            ) from error
        if place % 500 == 499:
            report.event("working", what="captions", done=place + 1, total=len(wanted))
    for line in notes.lines():
        report.event("warned", text=line)


def _put(change: Change) -> bool:
    """Replaces a file if it still holds what it held; says whether it did."""
    path, data = change.path, change.new
    if data is None:
        if still := _is_as_it_was(change):
            path.unlink(missing_ok=True)
        return still
    folder, name = os.path.split(path)  # texts: Path takes longer than the writing itself
    temporary = os.path.join(folder, f".{name[:40]}.{secrets.token_hex(4)}.part")  # noqa: PTH118
    try:
        with open(temporary, "wb") as file:  # noqa: PTH123
            file.write(data)
        if still := _is_as_it_was(change):  # asked last, so that next to no time is left for others
            os.replace(temporary, path)  # noqa: PTH105 - the same, in half the time
        else:
            os.unlink(temporary)  # noqa: PTH108
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise
    return still


def _is_as_it_was(change: Change) -> bool:
    try:
        return change.path.read_bytes() == change.old
    except FileNotFoundError:
        return change.old is None


def _files(count: int) -> str:
    return "1 caption file" if count == 1 else f"{count:,} caption files"


def _edits(count: int) -> str:
    return "1 edit" if count == 1 else f"{count} edits"
