"""Captions while they are edited: their texts as lines, the lines as tags, and back.

Every line is a caption of its own (training may choose among them) and keeps its line end. A line
whose tags do not change keeps every blank of its text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from renma.caption import tags as edits
from renma.caption.recipe import Recipe
from renma.caption.tags import Tags

Parts = Mapping[str, str]
"""Key to text, in the order in which training reads them."""
_LINE = re.compile(r"(.*?)(\r\n|\r|\n|\Z)", re.DOTALL)


@dataclass
class Line:
    """One line of a caption.

    Attributes:
        before: what it said.
        text: what it says after search and replace.
        end: its line end.
        kept: tags that take no part.
        tags: the others.
        idle: it says nothing, and nothing is written there.
    """

    before: str
    text: str
    end: str
    kept: Tags
    tags: Tags
    idle: bool

    def written(self, separator: str) -> str:
        """Returns the line as it is to be written."""
        whole = (*self.kept, *self.tags)
        as_it_is = self.idle or whole == edits.parse(self.text, separator)
        if as_it_is and (self.text == self.before or not self._has_gaps(separator)):
            return self.text + self.end
        return edits.join(whole, edits.between(separator)) + self.end

    def _has_gaps(self, separator: str) -> bool:
        """Says whether separators stand where no tag is between them, after a search took it."""
        return any(not part.strip() for part in self.text.split(separator))


def edited(
    chosen: Sequence[Parts],
    recipe: Recipe,
    others: Iterable[Parts] = (),
    tokens: Callable[[str], int] | None = None,
) -> list[dict[str, str]]:
    """Returns captions after an edit.

    Args:
        chosen: the captions to edit.
        recipe: the edit.
        others: captions that are not edited; they count for the order by frequency.
        tokens: counts the tokens of a text; needed where the recipe shortens.
    """
    drafts = [{key: _lines(text, recipe) for key, text in parts.items()} for parts in chosen]
    for line in (line for draft in drafts for lines in draft.values() for line in lines):
        if not line.idle:
            line.tags = recipe.early(line.tags, line.kept)
    counts: Counter[str] = Counter()
    if recipe.sort == "frequency":
        counts.update(tag for draft in drafts for tag in _union(draft))
        counts.update(tag for parts in others for tag in set(tags_of(parts, recipe.separator)))
    for draft in drafts:
        _finish(draft, recipe, counts, tokens)
    return [
        {key: "".join(line.written(recipe.separator) for line in lines) for key, lines in d.items()}
        for d in drafts
    ]


def tags_of(parts: Parts, separator: str = ",") -> Tags:
    """Returns the tags of all texts and lines of a caption, in their order."""
    lines = (content for text in parts.values() for content, _ in lines_of(text))
    return tuple(tag for line in lines for tag in edits.parse(line, separator))


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    """Yields the lines of a text with their ends; a last line without end only if it says anything.

    str.splitlines would also cut at form feeds and U+2028.
    """
    if "\n" not in text and "\r" not in text:  # nearly every caption
        if text:
            yield text, ""
        return
    place = 0
    while place < len(text):
        match = _LINE.match(text, place)
        assert match
        yield match[1], match[2]
        place = match.end()


def _lines(text: str, recipe: Recipe) -> list[Line]:
    found = []
    for content, end in [*lines_of(text)] or [("", "")]:
        said = recipe.searched(content)
        tags = edits.parse(said, recipe.separator)
        kept, rest = tags[: recipe.keep], tags[recipe.keep :]
        found.append(Line(content, said, end, kept, rest, idle=not tags))
    if all(line.idle for line in found):
        found[0].idle = False  # an empty caption has room for what is added
    return found


def _union(draft: Mapping[str, Sequence[Line]]) -> set[str]:
    lines = (line for each in draft.values() for line in each)
    return {tag for line in lines for tag in (*line.kept, *line.tags)}


def _finish(
    draft: Mapping[str, Sequence[Line]],
    recipe: Recipe,
    counts: Mapping[str, int],
    tokens: Callable[[str], int] | None,
) -> None:
    """Does the last steps; with several texts, each addition goes into one of them.

    What stands first goes into the first text, what is added or stands last into the last one.
    """
    keys = list(draft)
    for key in keys:
        elsewhere = _union({other: draft[other] for other in keys if other != key})
        own, moved = recipe, set[str]()
        if key != keys[0]:
            own, moved = replace(own, first=()), moved | {*recipe.first}
        if key != keys[-1]:
            own, moved = replace(own, added=(), last=()), moved | {*recipe.last}
        for line in draft[key]:
            if line.idle:
                continue
            rest = tuple(tag for tag in line.tags if tag not in moved)
            line.tags = own.late(rest, line.kept, counts, elsewhere)
            if recipe.tokens and tokens:
                _shorten(line, recipe, recipe.tokens, tokens)


def _shorten(line: Line, recipe: Recipe, limit: int, tokens: Callable[[str], int]) -> None:
    between = edits.between(recipe.separator)

    def count(tags: Tags) -> int:
        return tokens(edits.join(tags, between))

    whole = edits.truncate((*line.kept, *line.tags), limit, count, max(1, len(line.kept)))
    line.tags = whole[len(line.kept) :]
