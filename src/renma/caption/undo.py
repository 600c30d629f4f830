"""``renma caption undo``: takes edits of captions back, byte for byte, or does them again."""

from __future__ import annotations

from renma.caption import journal
from renma.caption.journal_file import history
from renma.config.caption.undo import UndoOptions
from renma.core.events import Report


def run(options: UndoOptions, report: Report) -> None:
    """Undoes, does again, or lists the edits.

    Raises:
        UserError: there are not so many, or a file was changed since by somebody else.
    """
    folder = options.folder.parent if options.folder.is_file() else options.folder
    if options.as_list:
        past = history(folder)
        for edit in past:
            undone = " (undone)" if edit.undone else ""
            files = "1 file" if edit.files == 1 else f"{edit.files:,} files"
            report.line(f"{edit.number:04}  {edit.time}  {edit.verb}, {files}{undone}")
        if not past:
            report.line("its captions were never edited by renma")
        return
    turn = journal.redo if options.redo else journal.undo
    turn(folder, report, options.steps, force=options.force)
