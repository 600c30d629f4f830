"""``renma file show``: what a LoRA file is, in the terminal, as a page, or as JSON."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from renma.config.file_tasks import ShowOptions
from renma.core.events import Report
from renma.core.html_page import environment
from renma.core.store import write_text
from renma.data.own_file import check_target
from renma.formats.metadata import shown
from renma.use.file_facts import FileFacts, facts

_PAGE_MARK = b'<meta name="generator" content="renma">'
_WIDTH = 100
_BAR = 32
_TAGS = 20
_PAGE_TAGS = 200
_LONGEST_VALUE = 160
_LONGEST_PAGE_VALUE = 2000
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def run(options: ShowOptions, report: Report) -> None:
    """Prints the facts of the file, or writes the page.

    Raises:
        UserError: it is no LoRA file, or the page would be written over something else.
    """
    check_target(options.html, "--html", (".html", ".htm"), lambda head: _PAGE_MARK in head)
    found = facts(options.file)
    if options.html:
        write_text(options.html, page(found))
        report.event("saved", path=str(options.html))
    if options.as_json:
        report.line(as_json(found))
    elif not options.html or options.search:
        rows = _metadata(found, options.search) if options.search else _all(found)
        for line in rows:
            report.line(line)


def as_json(found: FileFacts) -> str:
    """Returns the facts as JSON; numbers that are none (NaN) are null."""
    return json.dumps(_plain(dataclasses.asdict(found)), indent=2, allow_nan=False)


def page(found: FileFacts) -> str:
    """Returns an HTML page without scripts; all text of the file is escaped."""
    blocks = [(b.block, b.norm or 0.0, f"{b.norm:.3g}" if b.norm else "–") for b in found.blocks]
    tags = [(shown(t, 60), float(n), str(n)) for t, n in list(found.tags.items())[:_PAGE_TAGS]]
    return (
        environment("renma.use")
        .get_template("file.html.jinja")
        .render(
            file=shown(found.file),
            facts=_facts(found),
            trouble=[*_damage(found), *found.trouble, *map(shown, found.notes)],
            charts=[
                (name, _bars(rows))
                for name, rows in (
                    ("Strength of each block", blocks),
                    ("Tags of the captions", tags),
                )
                if rows
            ],
            metadata=[(shown(k), shown(v, _LONGEST_PAGE_VALUE)) for k, v in found.metadata.items()],
        )
    )


def _all(found: FileFacts) -> Iterable[str]:
    yield shown(found.file)
    yield from _table((), _facts(found))
    for text in [*_damage(found), *found.trouble]:
        yield f"warning: {text}"
    for text in found.notes:
        yield f"note: {shown(text)}"
    yield ""
    longest = max((b.norm or 0.0 for b in found.blocks), default=0.0)
    yield from _table(
        ("block", "layers", "parameters", "norm", ""),
        [
            (b.block, str(b.layers), _count(b.parameters), _norm(b.norm), _bar(b.norm, longest))
            for b in found.blocks
        ],
    )
    if found.tags:
        yield ""
        yield from _tags(found)
    yield ""
    yield from _metadata(found, "")


def _facts(found: FileFacts) -> list[tuple[str, str]]:
    rows = [
        ("algorithm", _joined(found.algorithms, "layers")),
        ("rank", _joined(found.ranks, "layers")),
        ("alpha", _joined(found.alphas, "layers")),
        ("size", f"{found.bytes / 1e6:.2f} MB, {_count(found.parameters)} parameters"),
        ("precision", _joined(found.precisions, "tensors")),
        ("naming", found.naming),
    ]
    rows += [
        (part.replace("_", " ").replace("unet", "U-Net"), _joined(kinds, ""))
        for part, kinds in found.targets.items()
    ]
    return [(name, text) for name, text in rows if text]


def _damage(found: FileFacts) -> list[str]:
    bad = found.not_finite
    if not bad:
        return []
    return [f"{len(bad)} tensors hold NaN or infinite numbers, such as {shown(bad[0])}"]


def _tags(found: FileFacts) -> Iterable[str]:
    rows = list(found.tags.items())
    most = float(rows[0][1])
    yield from _table(
        ("tag", "count", ""),
        [(shown(tag, 40), _count(n), _bar(float(n), most)) for tag, n in rows[:_TAGS]],
    )
    if len(rows) > _TAGS:
        yield f"... and {_count(len(rows) - _TAGS)} more tags (--html or --json shows them)"


def _metadata(found: FileFacts, search: str) -> Iterable[str]:
    wanted = search.casefold()
    rows = [
        (shown(key, 80), shown(value, _LONGEST_VALUE))
        for key, value in found.metadata.items()
        if wanted in key.casefold() or wanted in value.casefold()
    ]
    if not rows:
        yield f"no metadata holds '{shown(search)}'" if search else "no metadata"
    for key, value in rows:
        yield f"{key}: {value}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Draws a table as lines of text; columns of numbers stand right."""
    table = Table(box=None, show_header=bool(head), pad_edge=False, padding=(0, 2, 0, 0))
    for name in head:
        right = name in {"layers", "parameters", "norm", "count"}
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    text = io.StringIO()
    Console(file=text, width=_WIDTH, color_system=None).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def _bar(value: float | None, longest: float) -> str:
    if not value or not longest:
        return ""
    eighths = round(value / longest * _BAR * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _bars(rows: Sequence[tuple[str, float, str]]) -> list[tuple[str, float, str]]:
    """Returns (name, share of the longest in percent, label)."""
    longest = max(value for _, value, _ in rows) or 1.0
    return [(name, round(100 * value / longest, 2), label) for name, value, label in rows]


def _joined(counts: dict[str, int], unit: str) -> str:
    if len(counts) == 1 and unit:
        return f"{next(iter(counts))} ({_count(sum(counts.values()))} {unit})"
    words = [f"{shown(name, 40)}: {_count(n)}" for name, n in list(counts.items())[:8]]
    more = f", {len(counts) - 8} more" if len(counts) > 8 else ""
    return ", ".join(words) + more


def _norm(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
