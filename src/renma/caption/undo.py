"""``renma caption undo``: takes edits of captions back, byte for byte, or does them again."""

from __future__ import annotations

from pathlib import Path

from renma.caption import journal, journal_places
from renma.caption.journal_file import history, touches
from renma.config.caption.undo import UndoOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.place import near
from renma.data.notes import shown

_METADATA = {".json", ".jsonl"}


def run(options: UndoOptions, report: Report) -> None:
    """Undoes, does again, or lists the edits.

    Raises:
        UserError: there are not so many, or a file was changed since by somebody else.
    """
    folder, file = _place(options.folder)
    if options.as_list:
        _list(folder, file, report)
        return
    turn = journal.redo if options.redo else journal.undo
    endings = (options.extension,) if options.extension else ()
    turn(folder, report, options.steps, force=options.force, file=file, endings=endings)


def _place(given: Path) -> tuple[Path, Path | None]:
    """Returns the folder of the journal, and the metadata file if it is about one."""
    if given.is_dir():
        return given, None
    if given.suffix.lower() in _METADATA:  # undo may have removed it, or bring it back
        return given.parent, given
    if given.exists():
        raise UserError(
            "is one caption of a folder, which is edited as a whole",
            where=shown(given),
            remedy=f"Give the folder: `renma caption undo {shown(given.parent)}`.",
        )
    raise UserError(
        "there is no such folder or metadata", where=shown(given), remedy=shown(near(given))
    )


def _list(folder: Path, file: Path | None, report: Report) -> None:
    past = [edit for edit in history(folder) if touches(edit, file)]
    for edit in past:
        undone = " (undone)" if edit.undone else ""
        files = "1 file" if edit.files == 1 else f"{edit.files:,} files"
        report.line(f"{edit.number:04}  {edit.time}  {edit.verb}, {files}{undone}")
    if not past:
        near = "" if file else journal_places.remedy(folder)
        report.line(near or "its captions were never edited by renma")
