"""From what a model says of pictures to their captions: what meets what is there, who writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from renma.caption import journal, metadata
from renma.caption.folder import Captioned, read_folder
from renma.caption.tags import between, parse
from renma.config.caption._written import Existing, WriteOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.text_file import decode
from renma.data.notes import Notes, shown

Pieces = tuple[str, ...]


class Delivery:
    """The captions of a folder of pictures, as files beside them or in one metadata file.

    Args:
        options: where they are and what happens to those that are there.
        key: what they are called in metadata: tags or caption.
        report: told what is odd, and what is left alone.

    Raises:
        UserError: no such folder, no pictures, or captions that cannot be read.
    """

    def __init__(self, options: WriteOptions, key: str, report: Report) -> None:
        self._options, self._key, self._report = options, key, report
        metadata.check_ending(options.out, "--out")
        notes = Notes()
        self._found = read_folder(options.folder, options.extension, notes=notes)
        self._tell(notes)
        self._raw = metadata.held(options.out) if options.out else None
        self._rows: dict[str, dict[str, Any]] = {}
        if options.out and self._raw is not None:
            self._rows = metadata.load(options.out, report)
        self.pictures = [each.picture for each in self._found if _asks(self._text(each), options)]
        left = len(self._found) - len(self.pictures)
        if left:
            report.line(
                f"{left:,} of {len(self._found):,} pictures have a caption and are left alone "
                f"(--on-existing {options.on_existing})"
            )

    def write(self, said: Mapping[Path, Pieces], verb: str) -> None:
        """Writes the captions; those that others wrote meanwhile meet the new ones as any other.

        Args:
            said: picture to what is said of it; pictures that are missing, or of which nothing is
                said, keep what they have.
            verb: for the journal.

        Raises:
            UserError: they cannot be written.
        """
        notes, spoken = Notes(), dict[Path, Pieces]()
        for picture, pieces in said.items():
            if any(piece.strip() for piece in pieces):
                spoken[picture] = pieces
            else:
                notes.add("nothing is said of these pictures, left as they are", picture)
        self._tell(notes)
        if self._options.out is None:
            self._write_files(spoken, verb)
        else:
            self._write_metadata(self._options.out, spoken, verb)

    def _write_files(self, said: Mapping[Path, Pieces], verb: str) -> None:
        options, changes = self._options, dict[Path, str | journal.Edit | None]()
        for each in self._found:
            if each.picture in said and each.file not in changes:  # one stem: the first has a say
                anew = partial(self._anew, each.file, said[each.picture])
                changes[each.file] = journal.Edit(each.raw, anew(each.raw), anew)
        journal.write(
            options.folder, verb, changes, self._report, diff=options.diff, dry_run=options.dry_run
        )

    def _anew(self, file: Path, pieces: Pieces, data: bytes | None) -> bytes | None:
        """Returns a caption file after something is said, given what it holds."""
        options = self._options
        text = None if data is None else decode(data, shown(file))[0]
        if not _asks(text, options):
            return data
        new = met(text, pieces, options.on_existing, options.separator).rstrip()
        same = text is not None and text.rstrip() == new
        return data if same else f"{new}\n".encode()

    def _write_metadata(self, out: Path, said: Mapping[Path, Pieces], verb: str) -> None:
        options = self._options

        def again(now: metadata.Rows) -> metadata.Rows:
            notes = Notes()
            after = self._laid(now, said, notes)
            self._tell(notes)
            return after

        after = self._laid(self._rows, said, Notes())
        metadata.finish(
            verb, self._rows, after, out, self._report, diff=options.diff, dry_run=options.dry_run,
            was=self._raw, again=again,
        )  # fmt: skip

    def _laid(
        self, rows: metadata.Rows, said: Mapping[Path, Pieces], notes: Notes
    ) -> dict[str, dict[str, Any]]:
        """Returns metadata with what is said; what is a list in it stays one."""
        after = {name: dict(row) for name, row in rows.items()}
        options, gap = self._options, between(self._options.separator)
        for picture, pieces in said.items():
            name = self._name(picture, after)
            old = after.get(name, {}).get(self._key)
            text = gap.join(old) if isinstance(old, list) else old
            if not _asks(text, options):
                notes.add("written meanwhile by somebody else, left as they are", picture)
                continue
            row = after.setdefault(name, {})
            if isinstance(old, list):
                row[self._key] = _met_list(old, pieces, options.on_existing)
            else:
                row[self._key] = met(old, pieces, options.on_existing, options.separator)
        return after

    def _name(self, picture: Path, rows: metadata.Rows) -> str:
        """Returns how metadata names a picture: with its ending, or without as sd-scripts does."""
        name = picture.relative_to(self._options.folder).as_posix()
        bare = name.removesuffix(picture.suffix)
        return next((known for known in (name, bare) if known in rows), name)

    def _text(self, each: Captioned) -> str | None:
        """Returns what is said of a picture where the new text will go.

        Raises:
            UserError: the metadata says what is no text.
        """
        if self._options.out is None:
            return each.text
        name = self._name(each.picture, self._rows)
        value = self._rows.get(name, {}).get(self._key)
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return between(self._options.separator).join(value)
        if value is not None and not isinstance(value, str):
            what = f"'{self._key}' of '{shown(name)}' is no text"
            raise UserError(what, where=shown(self._options.out))
        return value

    def _tell(self, notes: Notes) -> None:
        for line in notes.lines():
            self._report.event("warned", text=line)


def idle_options(options: WriteOptions) -> Iterator[str]:
    """Yields a line for every option that cannot change where captions go and who makes them."""
    if "workers" in options.model_fields_set and options.executor == "serial":
        yield "--workers has no effect with --executor serial"
    if "extension" in options.model_fields_set and options.out is not None:
        yield "--extension has no effect with --out: no caption files are written"


def met(old: str | None, new: Sequence[str], how: Existing, separator: str = ",") -> str:
    """Returns a caption after something new was said; what is kept of the old stays as it is.

    Args:
        old: all lines of the old caption, or None.
        new: tags, or one sentence.
        how: what happens to the old one.
        separator: what stands between tags.
    """
    gap = between(separator)
    if old is None or not old.strip() or how not in ("append", "prepend"):
        return gap.join(new)
    lines = []
    for line in old.strip().splitlines():
        known = {*parse(line, separator), line.strip()}
        fresh = gap.join(e for e in new if e not in known and not _within(e, line, separator))
        parts = (line.strip(), fresh) if how == "append" else (fresh, line.strip())
        lines.append(gap.join(part for part in parts if part))
    return "\n".join(lines)


def _met_list(old: Sequence[str], new: Sequence[str], how: Existing) -> list[str]:
    """Returns the tags of metadata that keeps them as a list, each whatever it says."""
    fresh = [each for each in new if each not in old]
    if how == "append":
        return [*old, *fresh]
    return [*fresh, *old] if how == "prepend" else list(new)


def _within(said: str, line: str, separator: str) -> bool:
    """Says whether a sentence that holds separators itself stands in a line already."""
    return separator in said and said in line


def _asks(text: str | None, options: WriteOptions) -> bool:
    """Says whether a picture with this caption is to be looked at."""
    if text is None or options.on_existing not in ("skip", "only-empty"):
        return True
    return options.on_existing == "only-empty" and not text.replace(options.separator, "").strip()
