"""From scores to tags: thresholds, several taggers put together, order, spelling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from renma.caption import tags as edits
from renma.config.caption.tag import TagOptions
from renma.engine.taggers._base import Tag

ONE_OF = ("rating", "quality")
"""Kinds of which a picture has exactly one: the likeliest."""


@dataclass(frozen=True)
class Opinion:
    """What one tagger says of one picture.

    Args:
        tags: all that the tagger knows, in its order.
        scores: index to score; missing ones are next to nothing.
        threshold: of the tagger's own, or None.
    """

    tags: Sequence[Tag]
    scores: Mapping[int, float]
    threshold: float | None = None


@dataclass(frozen=True)
class Chosen:
    """A tag that a picture gets."""

    tag: Tag
    score: float
    place: int


def choose(opinions: Sequence[Opinion], options: TagOptions) -> list[Chosen]:
    """Returns the tags of one picture, as the taggers spell them, in the order of their lists.

    Tags of several taggers are the same if they differ in blanks and underscores only.
    """
    limits = dict(each.split("=") for each in options.category_threshold)
    said: dict[str, list[tuple[Tag, float, bool]]] = {}
    for opinion in opinions:
        for index, tag in enumerate(opinion.tags):
            score = opinion.scores.get(index, 0.0)
            # a tag nobody scored needs no row, but the mean counts those that know it
            if score or len(opinions) > 1:
                own = _limit(tag.category, options, limits, opinion.threshold)
                said.setdefault(plain(tag.name), []).append((tag, score, score >= own))
    chosen = []
    for place, votes in enumerate(said.values()):
        tag, score = votes[0][0], _score(votes, options.combine)
        if tag.category in ONE_OF:
            chosen.append(Chosen(tag, score, place))
            continue
        own = _limit(tag.category, options, limits, None)
        if _passes(votes, score, own, len(opinions), options.combine):
            chosen.append(Chosen(tag, score, place))
    return _likeliest(chosen)


def plain(name: str) -> str:
    """Returns a tag's name with blanks for underscores, for comparing."""
    return name.replace("_", " ").strip()


def _limit(
    category: str, options: TagOptions, limits: Mapping[str, str], own: float | None
) -> float:
    if category in limits:
        return float(limits[category])
    if category == "character":
        return options.character_threshold
    return options.threshold if own is None else own


def _score(votes: Sequence[tuple[Tag, float, bool]], combine: str) -> float:
    scores = [score for _, score, _ in votes]
    return sum(scores) / len(scores) if combine in ("mean", "intersection") else max(scores)


def _passes(
    votes: Sequence[tuple[Tag, float, bool]], score: float, limit: float, taggers: int, combine: str
) -> bool:
    if combine == "union" or taggers == 1:
        return any(passed for *_, passed in votes)
    if combine == "intersection":
        return len(votes) == taggers and all(passed for *_, passed in votes)
    return score >= limit


def _likeliest(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Returns the tags with only the best of those kinds that a picture has one of."""
    best = {
        kind: max(rows, key=lambda each: each.score)
        for kind in ONE_OF
        if (rows := [each for each in chosen if each.tag.category == kind])
    }
    return [c for c in chosen if c.tag.category not in ONE_OF or best[c.tag.category] is c]


def counted(pictures: Iterable[Sequence[Chosen]]) -> Counter[str]:
    """Returns how many pictures each tag was chosen for."""
    return Counter(plain(each.tag.name) for chosen in pictures for each in chosen)


def words(chosen: Sequence[Chosen], options: TagOptions, counts: Mapping[str, int]) -> edits.Tags:
    """Returns the tags of a picture as they are written.

    The order of what is done: sorting, characters, rating and quality to their places, expansion,
    blanks, replacements, undesired ones out, brackets, each once, the always-first ones.

    Args:
        chosen: in the order of the taggers' lists.
        options: how.
        counts: pictures of this folder that have a tag, for sorting.
    """
    found = [s for each in _ordered(chosen, options, counts) for s in _expanded(each.tag, options)]
    spelled = edits.to_spaces(tuple(found)) if options.underscores == "to-spaces" else tuple(found)
    changes = {
        plain(old): new.strip() for old, _, new in (r.partition("=") for r in options.replace)
    }
    spelled = tuple(changes.get(plain(tag), tag) for tag in spelled)
    undesired = {"", *map(plain, options.undesired)}
    spelled = tuple(tag for tag in spelled if plain(tag) not in undesired)
    first = [
        tag for wanted in options.always_first for tag in spelled if plain(tag) == plain(wanted)
    ]
    spelled = edits.dedupe(edits.prepend(spelled, first))
    return edits.escape(spelled) if options.escape else spelled


def _ordered(
    chosen: Sequence[Chosen], options: TagOptions, counts: Mapping[str, int]
) -> list[Chosen]:
    keys = {
        "score": lambda each: -each.score,
        "alphabet": lambda each: plain(each.tag.name).casefold(),
        "frequency": lambda each: -counts.get(plain(each.tag.name), 0),
        "model": lambda each: each.place,
    }
    rows = sorted(chosen, key=keys[options.sort])
    if options.characters == "first":
        rows.sort(key=lambda each: each.tag.category != "character")
    places = {"rating": options.rating, "quality": options.quality}
    ends = {
        place: [
            each for kind in ONE_OF for each in rows
            if each.tag.category == kind and places[kind] == place
        ]
        for place in ("first", "last")
    }  # fmt: skip
    middle = [each for each in rows if each.tag.category not in ONE_OF]
    return [*ends["first"], *middle, *ends["last"]]


def _expanded(tag: Tag, options: TagOptions) -> list[str]:
    """``name_(costume)_(series)`` is ``name_(costume)`` and ``series``."""
    name = tag.name
    if not options.expand_characters or tag.category != "character" or not name.endswith(")"):
        return [name]
    head, sign, series = name[:-1].rpartition("(")
    return [head.rstrip("_ "), series] if sign and head.strip("_ ") else [name]
