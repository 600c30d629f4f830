"""The page of ``renma prepare lint``: what was found, with pictures; no script, no outside link."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from renma.core.store import write_text
from renma.data.notes import shown
from renma.prepare.findings import CHECKS, GRAVITIES, Check, Finding
from renma.prepare.looks import Looks

MOST = 60
"""Pictures, or groups of copies, shown for one check; the others are listed by name."""


@dataclass(frozen=True)
class Card:
    """One picture on the page.

    Args:
        name: of the picture.
        text: what stands under it.
        uri: the small picture as a ``data:`` address, or empty.
        kept: whether it is the one to keep among copies.
    """

    name: str
    text: str
    uri: str
    kept: bool = False


@dataclass(frozen=True)
class Part:
    """One check on the page.

    Args:
        check: which.
        groups: pictures that belong together; of most checks each stands alone.
        count: pictures found.
        rest: names of those not shown.
    """

    check: Check
    groups: tuple[tuple[Card, ...], ...]
    count: int
    rest: tuple[str, ...]


def write_page(
    target: Path, folder: Path, looks: Mapping[str, Looks], findings: Sequence[Finding]
) -> None:
    """Writes the page.

    Args:
        target: the file.
        folder: of the pictures.
        looks: of the pictures that can be read.
        findings: what was found.
    """
    write_text(target, render(folder, looks, findings))


def render(folder: Path, looks: Mapping[str, Looks], findings: Sequence[Finding]) -> str:
    """Returns the page as HTML."""
    environment = Environment(
        loader=PackageLoader("renma.prepare"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding)
    parts = [_part(CHECKS[code], found, looks) for code, found in by_code.items()]
    return environment.get_template("lint.html.jinja").render(
        folder=shown(folder.resolve().name),
        pictures=len(looks),
        touched=len({finding.picture for finding in findings}),
        gravities=[
            (heading, [part for part in parts if part.check.gravity == gravity])
            for gravity, heading in GRAVITIES.items()
        ],
    )


def _part(check: Check, findings: Sequence[Finding], looks: Mapping[str, Looks]) -> Part:
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        copies = check.code in ("exact-duplicate", "near-duplicate", "variant")
        grouped.setdefault(finding.others[0] if copies else finding.picture, []).append(finding)
    groups, rest = [], []
    for number, (name, found) in enumerate(grouped.items()):
        if number >= MOST:
            rest += [shown(finding.picture) for finding in found]
            continue
        cards = [_card(finding.picture, finding.text, looks) for finding in found]
        if found[0].picture != name:
            cards.insert(0, _card(name, "keep this one", looks, kept=True))
        groups.append(tuple(cards))
    count = len({finding.picture for finding in findings})
    return Part(check, tuple(groups), count, tuple(rest))


def _card(name: str, text: str, looks: Mapping[str, Looks], *, kept: bool = False) -> Card:
    uri = ""
    if name in looks:
        uri = f"data:image/webp;base64,{base64.b64encode(looks[name].thumb).decode()}"
    return Card(shown(name), shown(text), uri, kept)
