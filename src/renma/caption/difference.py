"""What an edit of captions changes, shown line by line."""

from __future__ import annotations

import difflib
import re

from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.text_file import decode

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def show_bytes(name: str, old: bytes | None, new: bytes | None, report: Report) -> None:
    """Shows how two contents of a caption file differ; also where only the encoding does."""
    texts = _text(old), _text(new)
    if texts[0] == texts[1]:
        report.line(f"{_plain(name)} is written as UTF-8, its text stays")
    else:
        show_change(name, *texts, report)


def show_change(name: str, old: str | None, new: str | None, report: Report) -> None:
    """Shows the lines that differ between two texts of a file or picture."""
    report.line(_plain(name) + (" (new)" if old is None else " (removed)" if new is None else ""))
    before, after = (text.splitlines() if text else [] for text in (old, new))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    codes = matcher.get_opcodes() if len(before) > 1 or len(after) > 1 else [
        ("replace", 0, len(before), 0, len(after))
    ]  # fmt: skip
    for kind, start, end, first, last in codes:
        if kind == "equal":
            continue
        for sign, lines in (("-", before[start:end]), ("+", after[first:last])):
            for line in lines:
                report.line(f"  {sign} {_plain(line)}")


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    try:
        return decode(data, "")[0]
    except UserError:  # what is replaced may be no text at all
        return data.decode("utf-8", "backslashreplace")


def _plain(text: str) -> str:
    """Returns a text without signs that a terminal obeys."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
