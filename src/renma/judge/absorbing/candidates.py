"""Which tags are asked about, and in which prompts (no torch)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from renma.core.errors import UserError
from renma.data.captions import tags as split_tags
from renma.drawing.questions import without

COMMON = 0.6
"""Share of the captions from which a tag is taken for a part of the class."""
_WORDS = 6
"""Of a tag; what has more is a sentence, or a part of one."""
_OPTIONS = re.compile(r"\s--\w.*")
_BRACKET = re.compile(r"(?<!\\)[()\[\]]")


@dataclass(frozen=True)
class Candidate:
    """A tag that is asked about.

    Attributes:
        tag: as captions write it.
        captions: share of the captions that have it, 0 to 1.
        wanted: whether it was taken out of the captions, so that the trigger brings it.
        around: the class prompt it is added to, without the trigger and without the tag.
    """

    tag: str
    captions: float
    wanted: bool
    around: str

    def prompt(self, trigger: str = "", *, with_tag: bool) -> str:
        """Returns a prompt for pictures with or without trigger and tag."""
        return prompt(trigger, self.around, self.tag if with_tag else "")


def prompt(*parts: str) -> str:
    """Returns a prompt of its parts; brackets weigh nothing, as in captions."""
    return ", ".join(_BRACKET.sub(r"\\\g<0>", part) for part in parts if part)


def rows_of(captions: Sequence[str], trigger: str) -> list[list[str]]:
    """Returns the tags of each caption that has any, without the trigger."""
    rows = [split_tags(without(caption, trigger)) for caption in captions]
    return [[tag for tag in row if len(tag.split()) <= _WORDS] for row in rows]


def class_of(rows: Sequence[Sequence[str]], prompts: Sequence[str], given: str | None) -> str:
    """Returns the class prompt: what pictures show besides trigger and tag.

    Args:
        rows: tags of the captions.
        prompts: the run's class prompts; where captions share nothing, the shortest one is taken.
        given: by the user; wins.
    """
    if given is not None:
        return ", ".join(split_tags(given))
    often = Counter(tag for row in rows for tag in dict.fromkeys(row))
    shared = [tag for tag, count in often.items() if count > COMMON * len(rows)]
    if shared:
        return ", ".join(shared)
    known = [_OPTIONS.sub("", text) for text in prompts]
    return ", ".join(split_tags(min(known, key=len))) if known else ""


def candidates(
    rows: Sequence[Sequence[str]],
    class_prompt: str,
    *,
    asked: Sequence[str] = (),
    removed: Sequence[str] = (),
    most: int = 12,
) -> list[Candidate]:
    """Returns the tags to ask about: those asked for, those taken out, those of the captions.

    Args:
        rows: tags of the captions, without the trigger.
        class_prompt: tags between commas.
        asked: by the user.
        removed: from the captions, on purpose.
        most: of the captions' own.

    Raises:
        UserError: there is none.
    """
    often = Counter(tag for row in rows for tag in dict.fromkeys(row))
    own = [tag for tag, _ in often.most_common(most)]
    first = [" ".join(tag.split()) for tag in (*asked, *removed)]
    chosen = dict.fromkeys(tag for tag in (*first, *own) if tag)
    if not chosen:
        raise UserError(
            "the captions hold no tags to ask about", remedy="Name some with --tags smile."
        )
    parts = split_tags(class_prompt)
    gone = {" ".join(tag.split()) for tag in removed}
    return [
        Candidate(
            tag,
            often[tag] / len(rows) if rows else 0.0,
            tag in gone and tag not in often,
            ", ".join(part for part in parts if part != tag),
        )
        for tag in chosen
    ]
