"""``renma caption merge``: caption files beside pictures become one metadata file.

One command for sd-scripts' two scripts (captions, tags). Names keep their ending, so that its
loader and ours find the picture; names without one that are there already are kept as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from renma.caption.folder import no_folder
from renma.caption.metadata import Rows, check_ending, finish, held, load
from renma.caption.tags import parse
from renma.config.caption.metadata import MergeOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.data.caption_file import CaptionFiles, caption_lines, decoded
from renma.data.folders import folders
from renma.data.notes import Notes
from renma.data.reading import listing, picture_names

Texts = Mapping[str, Mapping[str, str]]


def run(options: MergeOptions, report: Report) -> None:
    """Writes the metadata.

    Raises:
        UserError: no name of metadata, no folder, no picture, no caption file, or a file that is
            no text.
    """
    check_ending(options.out, "-o")
    if not options.folder.is_dir():
        raise no_folder(options.folder)
    start = options.into or options.out
    if options.into and not options.into.exists():
        raise UserError("there is no such file", where=options.into)
    was = held(options.out)
    before = load(start, report) if start.exists() else {}
    notes = Notes()
    found = read_texts(options, notes)
    for line in notes.lines():
        report.event("warned", text=line)
    after = merge(before, found)

    def again(now: Rows) -> Rows:
        return merge(now, found)

    finish(
        "merge", before, after, options.out, report, diff=options.diff, dry_run=options.dry_run,
        was=was, again=again if start == options.out else None,
    )  # fmt: skip


def merge(before: Mapping[str, Mapping[str, Any]], found: Texts) -> dict[str, dict[str, Any]]:
    """Returns metadata with the found texts laid over it; entries keep their order and name.

    Args:
        before: name to row.
        found: path of a picture to its ``caption`` and ``tags``. A row named by the path without
            its ending is the same picture's, and what is a list in it stays one.
    """
    merged = {name: dict(row) for name, row in before.items()}
    for name, texts in found.items():
        bare = str(PurePosixPath(name).with_suffix(""))
        key = next((known for known in (name, bare) if known in merged), name)
        row = merged.setdefault(key, {})
        for kind, text in texts.items():
            row[kind] = _listed(kind, text) if isinstance(row.get(kind), list) else text
    return merged


def read_texts(options: MergeOptions, notes: Notes) -> dict[str, dict[str, str]]:
    """Returns caption and tags of every picture that has such a file, by its name.

    Raises:
        UserError: nothing is found.
    """
    pictures = 0
    found: dict[str, dict[str, str]] = {}
    for folder in folders(options.folder, options.recursive, notes):
        files, _ = listing(folder)
        names = picture_names(files)
        pictures += len(names)
        kinds = {
            key: CaptionFiles(folder, files, ending if ending.startswith(".") else f".{ending}")
            for key, ending in (("caption", options.captions), ("tags", options.tags))
            if ending
        }
        for name in names:
            texts = {
                key: _joined(key, caption_lines(decoded(file, notes)))
                for key, known in kinds.items()
                if (file := known.of(folder / name)) is not None
            }
            if texts:
                path = folder / name
                shown = path.resolve() if options.full_path else path.relative_to(options.folder)
                found[shown.as_posix()] = texts
    if not pictures:
        raise UserError("holds no pictures", where=options.folder)
    if not found:
        raise UserError(
            f"has no {' or '.join(e for e in (options.captions, options.tags) if e)} files beside "
            "its pictures",
            where=options.folder,
            remedy="Say their ending with --captions or --tags.",
        )
    if len(found) < pictures:
        notes.add(f"{pictures - len(found)} pictures have no caption file and are left out.")
    return found


def _listed(key: str, text: str) -> list[str]:
    """Returns a text as the list that metadata may hold instead."""
    return text.splitlines() if key == "caption" else list(parse(text))


def _joined(key: str, lines: list[str]) -> str:
    """Returns a file's lines as one text: variants of a caption, one list of tags."""
    return ("\n" if key == "caption" else ", ").join(lines)
