"""From what a model says of pictures to their captions: what meets what is there, who writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from renma.caption import journal, metadata
from renma.caption.folder import Captioned, read_folder
from renma.caption.merge import merge
from renma.caption.tags import between, parse
from renma.config.caption._written import Existing, WriteOptions
from renma.core.events import Report
from renma.data.notes import Notes

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
        notes = Notes()
        found = read_folder(options.folder, options.extension, notes=notes)
        for line in notes.lines():
            report.event("warned", text=line)
        self._rows: dict[str, dict[str, Any]] = {}
        if options.out and options.out.exists():
            self._rows = metadata.load(options.out, report)
        texts = {each.picture: self._text(each) for each in found}
        self.pictures = [p for p, text in texts.items() if _asks(text, options)]
        self._texts, self._found = texts, found
        left = len(found) - len(self.pictures)
        if left:
            report.line(
                f"{left:,} of {len(found):,} pictures have a caption and are left alone "
                f"(--on-existing {options.on_existing})"
            )

    def write(self, said: Mapping[Path, Pieces], verb: str) -> None:
        """Writes the captions.

        Args:
            said: picture to what is said of it; pictures that are missing keep what they have.
            verb: for the journal.

        Raises:
            UserError: they cannot be written.
        """
        options = self._options
        new = {
            picture: met(self._texts[picture], pieces, options.on_existing, options.separator)
            for picture, pieces in said.items()
        }
        if options.out is None:
            self._write_files(new, verb)
            return
        texts = {self._name(picture): {self._key: text} for picture, text in new.items()}
        after = merge(self._rows, texts)
        metadata.finish(
            self._rows, after, options.out, self._report, diff=options.diff, dry_run=options.dry_run
        )

    def _write_files(self, new: Mapping[Path, str], verb: str) -> None:
        options, changes = self._options, {}
        for each in self._found:
            if each.picture in new and each.file not in changes:  # one stem: the first has a say
                changes[each.file] = f"{new[each.picture].rstrip()}\n"
        unchanged = {e.file for e in self._found if _same(e.text, changes.get(e.file))}
        changes = {file: text for file, text in changes.items() if file not in unchanged}
        journal.write(
            options.folder, verb, changes, self._report, diff=options.diff, dry_run=options.dry_run
        )

    def _name(self, picture: Path) -> str:
        return picture.relative_to(self._options.folder).as_posix()

    def _text(self, each: Captioned) -> str | None:
        """Returns what is said of a picture where the new text will go."""
        if self._options.out is None:
            return each.text
        name = self._name(each.picture)
        row = self._rows.get(name) or self._rows.get(name.removesuffix(each.picture.suffix), {})
        value = row.get(self._key)
        return ", ".join(map(str, value)) if isinstance(value, list) else value


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


def _within(said: str, line: str, separator: str) -> bool:
    """Says whether a sentence that holds separators itself stands in a line already."""
    return separator in said and said in line


def _asks(text: str | None, options: WriteOptions) -> bool:
    """Says whether a picture with this caption is to be looked at."""
    if text is None or options.on_existing not in ("skip", "only-empty"):
        return True
    return options.on_existing == "only-empty" and not text.replace(options.separator, "").strip()


def _same(old: str | None, new: str | None) -> bool:
    """Says whether two captions differ in nothing but the line break at their end."""
    return old is not None and new is not None and old.rstrip() == new.rstrip()
