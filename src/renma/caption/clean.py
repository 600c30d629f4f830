"""``renma caption clean``: tags in the form that trains well, doubtful ones removed.

Rules of kohya-ss/sd-scripts' ``clean_captions_and_tags``: blanks for underscores, no rating; where
several people are tagged, looks that contradict each other go, because nothing says whose they are;
a tag that a longer one already says goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from renma.caption.metadata import Rows, check_ending, finish, held, load
from renma.config.caption.metadata import CleanOptions
from renma.core.events import Report
from renma.data.captions import tags as split

_FACE = "^_^"
_LENGTH = re.compile(r"(long|short|medium) hair")
_LOOKS = (
    _LENGTH,
    re.compile(r"(bob|hime) cut"),
    re.compile(r"[\w-]+ eyes"),
    re.compile(r"[\w-]+ sleeves|sleeveless"),
    re.compile(
        r"ponytail|braid|ahoge|twintails|[\w-]+ bun|single hair intake|two side (up|down)"
    ),
    re.compile(r"[\w-]+ hair"),
)  # fmt: skip
"""Families of tags that one person has one of."""


def run(options: CleanOptions, report: Report) -> None:
    """Writes the cleaned metadata.

    Raises:
        UserError: the file is no metadata, or the new one cannot be written.
    """
    check_ending(options.out, "-o")

    def again(rows: Rows) -> dict[str, dict[str, Any]]:
        return {name: clean(row, options) for name, row in rows.items()}

    was = held(options.file)
    before = load(options.file, report)
    finish(
        "clean", before, again(before), options.out, report,
        diff=options.diff, dry_run=options.dry_run,
        was=was, again=again if options.out == options.file else None,
    )  # fmt: skip


def clean(row: Mapping[str, Any], options: CleanOptions) -> dict[str, Any]:
    """Returns one picture's row with clean tags and, if wanted, caption; other keys stay."""
    cleaned = dict(row)
    if isinstance(row.get("tags"), str):
        cleaned["tags"] = ", ".join(clean_tags(split(row["tags"]), options.keep))
    if isinstance(row.get("caption"), str) and options.captions == "girl":
        cleaned["caption"] = clean_caption(row["caption"])
    return cleaned


def clean_tags(tags: Sequence[str], keep: Iterable[str] = ()) -> list[str]:
    """Returns the tags that stay, in their order.

    Args:
        tags: tags as a tagger writes them.
        keep: tags that no rule removes, with blanks.
    """
    kept = set(keep)
    found: list[str] = []
    for tag in tags:
        if tag.startswith("rating"):  # taggers write it last, followed by scores
            found += [t for t in map(_spaced, tags) if t in kept and t not in found]
            break
        found.append(_spaced(tag))
    found = list(dict.fromkeys(found))
    if any("girls" in tag or "boys" in tag for tag in found):
        found = _without_looks(found, kept)
    return [tag for tag in found if tag in kept or not _said_by_another(tag, found)]


def clean_caption(caption: str) -> str:
    """Returns a caption with sd-scripts' words for anime: everybody is a girl."""
    for old, new in _WORDS:
        before = None
        while before != caption:
            before, caption = caption, caption.replace(old, new)
    return caption


def _spaced(tag: str) -> str:
    return _FACE.join(part.replace("_", " ") for part in tag.split(_FACE))


def _without_looks(tags: list[str], keep: set[str]) -> list[str]:
    """Removes every family of looks that has two tags or more; one length of hair stays."""
    lengths = [tag for tag in tags if _LENGTH.fullmatch(tag)]
    spared = lengths if len(lengths) == 1 else []
    for family in _LOOKS:
        hits = {tag for tag in tags if family.fullmatch(tag) and tag not in spared}
        if len(hits) > 1:
            tags = [tag for tag in tags if tag not in hits - keep]
    return tags


def _said_by_another(tag: str, tags: list[str]) -> bool:
    """Says whether a tag of one word ends a longer tag: shirt, white shirt."""
    return " " not in tag and any(other.endswith(f" {tag}") for other in tags)


def _words() -> tuple[tuple[str, str], ...]:
    people = {"lady": "girl", "female": "girl", "woman": "girl", "women": "girls"}
    drawn = {f"{style} {who}": new for style in ("cartoon", "anime") for who, new in people.items()}
    drawn |= {"cartoon character": "girl", "anime character": "girl"}
    drawn |= {"cartoon girl": "girl", "anime girl": "girl"}
    media = {
        "an anime cartoon image": "an image", "a cartoon anime drawing": "a drawing",
        "a cartoon figure": "a figure", "a cartoon image": "an image",
        "a cartoon picture": "a picture", "a cartoon drawing": "a drawing",
    }  # fmt: skip
    alone = {**people, "people": "girls", "person": "girl"}
    first = {"anime anime": "anime", "young ": ""}
    return tuple((first | drawn | alone | media | {"girl girl": "girl"}).items())


_WORDS = _words()
