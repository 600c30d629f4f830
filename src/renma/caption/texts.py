"""The captions that a verb works on: those of a folder, or those of a metadata file.

Both look alike here: an entry a caption file (or a picture of the metadata) with its texts by key,
``caption`` before ``tags``, in the order in which training reads them. Caption files have the key
``caption`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from renma.caption import journal
from renma.caption.difference import show_change
from renma.caption.folder import Captioned, Names, read_folder
from renma.caption.metadata import dump, held, load, parsed
from renma.caption.tags import between, parse
from renma.config.caption._texts import EditingOptions, TextOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.text_file import decode
from renma.data.notes import Notes, shown

Parts = Mapping[str, str]
Again = Callable[[Parts], Parts | None]
"""Makes of what a caption says by now what it is to say; None leaves it."""
_KEYS = ("caption", "tags")
_METADATA = {".json", ".jsonl"}


@dataclass(frozen=True)
class Entry:
    """One caption.

    Attributes:
        name: for people: the caption file from the folder on, or the picture of the metadata.
        parts: key to text; empty where the picture has no caption.
    """

    name: str
    parts: Parts


class Texts(Protocol):
    """Captions that can be read and written back."""

    entries: list[Entry]

    def save(
        self,
        verb: str,
        changed: Mapping[int, Parts],
        options: EditingOptions,
        report: Report,
        again: Again | None = None,
    ) -> int:
        """Writes the entries that changed, by index, through the journal; returns how many do.

        Where somebody wrote an entry since it was read, ``again`` is asked; without it, or if it
        returns None, what stands there stays and is named.
        """
        ...


def read_texts(options: TextOptions, report: Report) -> Texts:
    """Returns the captions that the options name; the report is told what is odd about them.

    Raises:
        UserError: there are no pictures, or a file is no text or no metadata.
    """
    if options.folder.suffix.lower() in _METADATA and not options.folder.is_dir():
        return MetadataTexts(options, report)
    return FolderTexts(options, report)


class FolderTexts:
    """The caption files beside the pictures of a folder.

    Attributes:
        entries: one a caption file.
        pictures: index of its entry by the name of a picture, from the folder on.
    """

    def __init__(self, options: TextOptions, report: Report) -> None:
        _warn_unused(options, {"only", "out"}, "for metadata", report)
        notes = Notes()
        found = read_folder(options.folder, options.extension, not options.flat, notes)
        for line in notes.lines():
            report.event("warned", text=line)
        self._folder, own = options.folder, Names(options.folder)
        self._files = list({each.file: each for each in found}.values())
        self.entries = [_entry(each, own.of(each.file)) for each in self._files]
        places = {each.file: place for place, each in enumerate(self._files)}
        self.pictures = {own.of(each.picture): places[each.file] for each in found}
        if not any(entry.parts for entry in self.entries):
            self._say_other_endings(options.extension, report)

    def save(
        self,
        verb: str,
        changed: Mapping[int, Parts],
        options: EditingOptions,
        report: Report,
        again: Again | None = None,
    ) -> int:
        """Writes the caption files that changed."""
        changes: dict[Path, str | journal.Edit | None] = {}
        for place, parts in changed.items():
            each = self._files[place]
            anew = partial(_anew, each.file, again)
            changes[each.file] = journal.Edit(each.raw, parts["caption"], anew)
        return journal.write(
            self._folder, verb, changes, report, diff=options.diff, dry_run=options.dry_run
        )

    def _say_other_endings(self, extension: str, report: Report) -> None:
        others = sorted({".txt", ".caption", ".tags"} - {extension})
        beside = [e for e in others if any(c.picture.with_suffix(e).exists() for c in self._files)]
        hint = f" There are {beside[0]} files: give --extension {beside[0]}." if beside else ""
        text = f"no picture of {shown(self._folder)} has a caption ({extension}).{hint}"
        report.event("warned", text=text)


def _entry(each: Captioned, name: str) -> Entry:
    return Entry(shown(name), {} if each.text is None else {"caption": each.text})


class MetadataTexts:
    """The captions and tags in a metadata file."""

    def __init__(self, options: TextOptions, report: Report) -> None:
        _warn_unused(options, {"extension", "flat"}, "for folders", report)
        if not options.folder.exists():
            raise UserError("there is no such file", where=shown(options.folder))
        self._file, self._separator = options.folder, options.separator
        self._raw = held(self._file)
        self._rows = load(self._file, report)
        keys = (options.only,) if options.only else _KEYS
        self.entries = [
            Entry(shown(name), {key: text for key in keys if (text := self._text(row, name, key))})
            for name, row in self._rows.items()
        ]
        self._keys = keys
        self._names = list(self._rows)

    def save(
        self,
        verb: str,
        changed: Mapping[int, Parts],
        options: EditingOptions,
        report: Report,
        again: Again | None = None,
    ) -> int:
        """Writes the metadata, or another file, with what changed."""
        rows = {name: dict(row) for name, row in self._rows.items()}
        out = options.out or self._file
        for place, parts in changed.items():
            self._lay(rows[self._names[place]], parts)
            for key, text in parts.items() if options.diff else ():
                old = self.entries[place].parts.get(key)
                if old != text:
                    show_change(f"{self.entries[place].name} {key}", old, text, report)
        report.line(f"{len(changed):,} of {len(rows):,} pictures change")
        if changed or options.out:
            edit: str | journal.Edit = dump(rows, out)
            if out == self._file:
                edit = journal.Edit(self._raw, edit, partial(self._anew, changed, again, report))
            journal.write(
                out.parent, verb, {out: edit}, report, diff=False, dry_run=options.dry_run
            )
        return len(changed)

    def _lay(self, row: dict[str, Any], parts: Parts) -> None:
        """Puts texts into the row of a picture; a list stays a list."""
        for key, text in parts.items():
            value = row.get(key)
            if isinstance(value, list):
                if between(self._separator).join(value) != text:
                    row[key] = list(parse(text, self._separator))
            elif (value or "") != text:
                row[key] = text

    def _anew(
        self, changed: Mapping[int, Parts], again: Again | None, report: Report, data: bytes | None
    ) -> bytes | None:
        """Returns the metadata with the edit made on what it says by now."""
        if data is None:
            return None
        rows, notes = parsed(self._file, data), Notes()
        for place, parts in changed.items():
            name, entry = self._names[place], self.entries[place]
            if name not in rows:
                continue
            row = rows[name]
            now = {key: text for key in self._keys if (text := self._text(row, name, key))}
            new = parts if now == entry.parts else again(now) if again else None
            if new is None:
                notes.add("written meanwhile by somebody else, left as they are", entry.name)
            else:
                self._lay(row, new)
        for line in notes.lines():
            report.event("warned", text=line)
        return dump(rows, self._file).encode()

    def _text(self, row: Mapping[str, Any], name: str, key: str) -> str:
        value = row.get(key)
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return between(self._separator).join(value)
        if value is not None and not isinstance(value, str):
            raise UserError(f"'{key}' of '{shown(name)}' is no text", where=shown(self._file))
        return value or ""


def _anew(file: Path, again: Again | None, data: bytes | None) -> bytes | None:
    """Returns a caption file with the edit made on what it says by now."""
    parts = {} if data is None else {"caption": decode(data, shown(file))[0]}
    new = again(parts) if again else None
    return data if new is None or new == parts else new["caption"].encode()


def _warn_unused(options: TextOptions, names: set[str], what: str, report: Report) -> None:
    for name in sorted(options.model_fields_set & names):
        if getattr(options, name) is not None:
            report.event("warned", text=f"--{name} has no effect: it is {what}")
