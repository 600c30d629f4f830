"""``renma caption count``: which tags there are, how often, and which come together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence

from renma.caption import filters
from renma.caption.drafts import tags_of
from renma.caption.edit import fitting
from renma.caption.near import near
from renma.caption.texts import read_texts
from renma.config.caption.count import CountOptions
from renma.core.events import Report, Silent

_BAR = 20


def run(options: CountOptions, report: Report) -> None:
    """Shows the table.

    Raises:
        UserError: no pictures, a broken file, or a condition that is none.
    """
    told = Silent() if options.as_json else report  # programs want nothing but JSON
    texts = read_texts(options, told)
    wanted = filters.parse(options.where)
    chosen = fitting(texts, wanted, options.separator, told)
    captions = [{*tags_of(texts.entries[place].parts, options.separator)} for place in chosen]
    counts = counted(captions)
    bare = sum(not entry.parts for entry in texts.entries)
    if options.with_ and options.with_ not in counts:
        told.event("warned", text=near(options.with_.replace("*", r"\*"), counts))
    if options.as_json:
        _print_json(captions, bare, counts, options, report)
    elif options.with_:
        _table_with(captions, options, report)
    else:
        rows = [(tag, count, count / max(1, len(captions))) for tag, count in counts.items()]
        report.line(f"{len(captions):,} captions, {len(counts):,} different tags")
        for tag, count, share in _shown(rows, options, report):
            report.line(f"{count:>7,} {share:>6.1%} {_bar(share)} {tag}")


def counted(captions: Sequence[Collection[str]]) -> Counter[str]:
    """Returns how many captions have each tag."""
    return Counter(tag for tags in captions for tag in set(tags))


def together(captions: Sequence[Collection[str]], tag: str) -> dict[str, tuple[int, int]]:
    """Returns, for every tag that comes with ``tag``, in how many captions with and without it."""
    beside = counted([tags for tags in captions if tag in tags])
    apart = counted([tags for tags in captions if tag not in tags])
    return {other: (count, apart[other]) for other, count in beside.items() if other != tag}


def _table_with(captions: Sequence[Collection[str]], options: CountOptions, report: Report) -> None:
    having = sum(options.with_ in tags for tags in captions)
    others = len(captions) - having
    report.line(f"{having:,} of {len(captions):,} captions have '{options.with_}'")
    if not having:
        return
    report.line("   with  share without   share")
    found = together(captions, options.with_)
    rows = [(tag, both, both / having) for tag, (both, _) in found.items()]
    for tag, both, share in _shown(rows, options, report):
        apart = found[tag][1]
        away = f"{apart:>7,} {apart / others:>7.1%}" if others else f"{0:>7} {'-':>7}"
        report.line(f"{both:>7,} {share:>6.1%} {away} {_bar(share)} {tag}")


def _shown(
    rows: list[tuple[str, int, float]], options: CountOptions, report: Report
) -> list[tuple[str, int, float]]:
    """Returns the rows to show, in the order wanted; the others are counted first."""
    rows.sort(key=lambda row: (-row[1], row[0]))
    if len(rows) > options.top:
        report.line(f"the {options.top:,} most frequent of {len(rows):,}; --top shows more")
    rows = rows[: options.top]
    return rows if options.sort == "frequency" else sorted(rows, key=lambda r: r[0].casefold())


def _bar(share: float) -> str:
    full = round(share * _BAR)
    return "█" * full + " " * (_BAR - full)


def _print_json(
    captions: Sequence[Collection[str]],
    bare: int,
    counts: Counter[str],
    options: CountOptions,
    report: Report,
) -> None:
    ordered = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    if options.sort == "alphabet":
        ordered.sort(key=lambda row: row[0].casefold())
    facts = {"captions": len(captions), "without_caption": bare, "tags": dict(ordered)}
    if options.with_:
        found = together(captions, options.with_)
        facts["with"] = {
            "tag": options.with_,
            "captions": counts[options.with_],
            "tags": {t: {"with": b, "without": a} for t, (b, a) in found.items()},
        }
    report.line(json.dumps(facts, ensure_ascii=False, indent=2))
