"""What became of every option, as a table for people and as comments for the run.toml."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import tomlkit

from renma.compat.draft import KINDS, Draft, Row

_WIDEST = 40


def table(draft: Draft) -> list[str]:
    """Returns aligned lines: option, value, what became of it and why."""
    rows = [*draft.rows.values(), *draft.given.notes, *_launcher(draft)]
    cells = [
        (f"--{row.option}" if _is_option(row) else row.option, _cut(row.value)) for row in rows
    ]
    widths = [max((len(cell[i]) for cell in cells), default=0) for i in (0, 1)]
    lines = [
        f"{name:<{widths[0]}}  {value:<{widths[1]}}  {fate(row)}"
        for (name, value), row in zip(cells, rows, strict=True)
    ]
    counts = {kind: sum(row.kind == kind for row in rows) for kind in KINDS}
    summary = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return [*(line.rstrip() for line in lines), "", f"{len(rows)} options: {summary}"]


def fate(row: Row) -> str:
    """Returns what became of an option in a few words."""
    became = f"{row.kind}: {row.became}" if row.became else row.kind
    if row.kind == "default":
        became = f"not given, so {row.became}"
    return f"{became} ({row.why})" if row.why else became


def toml(draft: Draft, source: str) -> str:
    """Returns the run.toml, with what became of every option as comments at its end."""
    head = [f"Made by `renma import-kohya` from {source}."]
    if draft.warnings:
        head += ["", *draft.warnings]
    lines = [*_comments(head, 98), "", tomlkit.dumps(draft.raw).strip(), ""]
    lines += ["# What became of the options of sd-scripts:"]
    for row in (*draft.rows.values(), *draft.given.notes):
        name = f"--{row.option}" if _is_option(row) else row.option
        given = f"{name} {_cut(row.value)}".strip()
        lines += _comments([f"{given} - {fate(row)}"], 98)
    return "\n".join(lines) + "\n"


def _launcher(draft: Draft) -> list[Row]:
    why = "belongs to the launcher; start `-m renma.compat.train_network` with it"
    given = draft.given.launcher.items()
    return [
        Row(f"(launcher) --{name}", value, "without effect", why=why)
        for name, value in given
        if name not in ("m", "module")
    ]


def _is_option(row: Row) -> bool:
    return not row.option.startswith("(")


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def _comments(texts: Iterable[str], width: int) -> list[str]:
    lines: list[str] = []
    for text in texts:
        text = "".join(sign if sign.isprintable() else " " for sign in text)
        lines += textwrap.wrap(text, width, initial_indent="# ", subsequent_indent="#   ") or ["#"]
    return lines
