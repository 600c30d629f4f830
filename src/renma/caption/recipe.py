"""What an edit does to the tags of one caption, step by step in a fixed order.

1. search and replace in the text; 2. underscores, brackets; 3. remove; 4. replace; 5. implied tags;
6. duplicates; 7. sort; 8. add; 9. to the front; 10. to the end; 11. shorten. The first tags, as
many as ``keep`` says, take no part. Sorting by frequency needs all captions as they are after step
6, so the first steps are done for every caption before the last ones are done for any.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from renma.caption import tags as edits
from renma.caption.implications import Implications
from renma.caption.pairs import pair
from renma.caption.tags import Order, Tags
from renma.config.caption.edit import EditOptions
from renma.core.errors import UserError
from renma.core.expression import Expression

_FORMS = {
    "to-spaces": edits.to_spaces,
    "to-underscores": edits.to_underscores,
    "escape": edits.escape,
    "unescape": edits.unescape,
}


@dataclass(frozen=True)
class Recipe:
    """An edit, ready to be applied; tags are given without the ones that are kept.

    Attributes:
        separator: what stands between tags.
        keep: so many tags from the first take no part.
        searches: regular expressions and what takes their place.
        forms: changes of how every tag is written.
        removed: patterns of tags to remove.
        replaced: patterns and the tags that take their place.
        implications: what follows from tags, or None.
        implied: whether implied tags are dropped or added.
        dedupe: write each tag once.
        sort: order of the tags, or None to leave it.
        reverse: sort the other way round.
        added: tags to add.
        at: index of the first added tag, the kept ones counted; None for the end.
        first: tags to put in front.
        last: tags to put at the end.
        tokens: the most tokens a line may have, or None.
    """

    separator: str = ","
    keep: int = 0
    searches: tuple[tuple[Expression, str], ...] = ()
    forms: tuple[Callable[[Tags], Tags], ...] = ()
    removed: Tags = ()
    replaced: tuple[tuple[str, Tags], ...] = ()
    implications: Implications | None = None
    implied: str = "drop"
    dedupe: bool = False
    sort: Order | None = None
    reverse: bool = False
    added: Tags = ()
    at: int | None = None
    first: Tags = ()
    last: Tags = ()
    tokens: int | None = None

    def searched(self, line: str) -> str:
        """Returns a line after search and replace; the kept tags stay as they are written."""
        head, rest = self._apart(line) if self.keep else ("", line)
        for pattern, new in self.searches:
            rest = pattern.replaced(new, rest)
        return head + rest

    def formed(self, tags: Tags) -> Tags:
        """Returns tags as they are written from now on."""
        for form in self.forms:
            tags = form(tags)
        return tags

    def early(self, tags: Tags, kept: Tags) -> Tags:
        """Returns the tags after removing, replacing, implied ones and duplicates."""
        tags = edits.remove(self.formed(tags), *self.removed)
        for old, new in self.replaced:
            tags = edits.replace(tags, old, new)
        if self.implications:
            tags = getattr(self.implications, self.implied)(tags, kept)
        return edits.dedupe(tags, kept) if self.dedupe else tags

    def late(
        self, tags: Tags, kept: Tags, counts: Mapping[str, int], elsewhere: Collection[str] = ()
    ) -> Tags:
        """Returns the tags sorted, with what is added.

        Args:
            tags: what :meth:`early` returned.
            kept: the tags in front that take no part.
            counts: how many captions have a tag.
            elsewhere: tags that the picture has in another text.
        """
        if self.sort:
            tags = edits.sort(tags, self.sort, counts)[:: -1 if self.reverse else 1]
        known = {*kept, *elsewhere}
        at = None if self.at is None else max(0, self.at - len(kept))
        tags = edits.add(tags, (tag for tag in self.added if tag not in known), at)
        tags = edits.prepend(tags, (tag for tag in self.first if tag not in kept))
        return edits.append(tags, (tag for tag in self.last if tag not in kept))

    def _apart(self, line: str) -> tuple[str, str]:
        """Returns the text of the kept tags, with the separator behind them, and the rest."""
        place = found = 0
        while found < self.keep and place < len(line):
            end = line.find(self.separator, place)
            stop = len(line) if end < 0 else end + len(self.separator)
            found += bool(line[place:stop].removesuffix(self.separator).strip())
            place = stop
        return line[:place], line[place:]


def recipe_of(options: EditOptions) -> Recipe:
    """Returns the edit that options describe.

    Raises:
        UserError: a regular expression or a pair of tags is none.
    """
    separator = options.separator
    chosen = (options.underscores, options.parentheses)
    forms = tuple(_FORMS[name] for name in chosen if name)
    place = {"first": 0, "last": None}
    recipe = Recipe(
        separator=separator,
        keep=options.keep,
        searches=tuple(map(_search, options.search, options.with_)),
        forms=forms,
        removed=tags_in(options.remove, separator, "--remove"),
        replaced=tuple(_replacement(text, separator) for text in options.replace),
        implied=options.implied,
        dedupe=options.dedupe,
        sort=options.sort,
        reverse=options.reverse,
        added=tags_in(options.add, separator, "--add"),
        at=place[options.at] if isinstance(options.at, str) else options.at - 1,
        first=tags_in(options.prepend, separator, "--prepend"),
        last=tags_in(options.append, separator, "--append"),
        tokens=options.truncate_tokens,
    )
    if options.implications is None:
        return recipe
    table = Implications.of_file(options.implications, recipe.formed)
    return Recipe(**{**vars(recipe), "implications": table})


def tags_in(texts: tuple[str, ...], separator: str, option: str) -> Tags:
    """Returns the tags of an option.

    Raises:
        UserError: it names none, or one of several lines.
    """
    found = tuple(tag for text in texts for tag in edits.parse(text, separator))
    if any("\n" in tag or "\r" in tag for tag in found):
        raise UserError("a tag is one line", where=option)
    if texts and not found:
        raise UserError("names no tag", where=option)
    return found


def _replacement(text: str, separator: str) -> tuple[str, Tags]:
    where = "--replace"
    old, new = pair(text, where)
    if edits.stars(new) > edits.stars(old):
        raise UserError(f"{text!r} has more * behind the = than before it", where=where)
    return old, tags_in((new,), separator, where)


def _search(text: str, new: str) -> tuple[Expression, str]:
    try:
        pattern = Expression(text, "--search")
        pattern.check(new)
    except re.error as error:
        column = f" at column {error.pos + 1}" if error.pos is not None else ""
        wrong = new if error.pattern == new else text
        raise UserError(f"{error.msg}{column} of {wrong!r}", where="--search") from None
    return pattern, new
