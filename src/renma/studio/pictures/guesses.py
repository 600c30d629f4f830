"""What a tagger said of a folder's pictures, as tables from which a page counts by itself.

The scores are kept by ``renma caption tag``; for every tag there is told how many pictures have a
score of at least 0.01, 0.02, ... 1, so that any threshold can be tried without asking again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from renma.caption.choose import ONE_OF
from renma.caption.folder import read_folder
from renma.caption.looking import Picture, pictures_of
from renma.caption.scores import Scores
from renma.engine.taggers._base import Tag, Tagger, find
from renma.engine.taggers._session import Settings
from renma.studio.pictures.told import Told

STEPS = 100
"""Thresholds from 1 / STEPS to 1."""
_TOP = 60


def tagger_of(model: Path | None) -> Tagger:
    """Returns the tagger of a file, or the one inside renma.

    Raises:
        UserError: there is none.
    """
    return find(str(model) if model else None)


def table(folder: Path, model: Path | None) -> dict[str, Any]:
    """Returns, for each tag that was given any score, how many pictures reach each threshold.

    Args:
        folder: of pictures that ``renma caption tag`` looked at.
        model: of the tagger, None for the one inside renma.

    Returns:
        ``known`` of ``total`` pictures, and ``rows``: tag, category, and counts by threshold as
        pairs (step, pictures whose score lies in that step), step ``k`` from k / STEPS on.

    Raises:
        UserError: there are no pictures, or no such tagger.
    """
    tagger = tagger_of(model)
    tags, scores = tagger.tags(), Scores(tagger, Settings())
    pictures = pictures_of((each.picture for each in read_folder(folder)), Told())
    seen = [picture for picture in pictures if scores.known(picture.digest)]
    found = _binned(scores, seen)
    rows = [
        {"tag": tags[place].name, "category": tags[place].category, "bins": sorted(bins.items())}
        for place, bins in sorted(found.items())
        if tags[place].category not in ONE_OF  # of these each picture has the likeliest
    ]
    own = tagger.threshold
    return {
        "tagger": tagger.name,
        "total": len(pictures),
        "known": len(seen),
        "rows": rows,
        "threshold": own,
    }


def _binned(scores: Scores, seen: Iterable[Picture]) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = {}
    for picture in seen:
        for place, score in scores.get(picture.digest).items():
            bins = found.setdefault(place, {})
            step = step_of(score)
            bins[step] = bins.get(step, 0) + 1
    return found


def step_of(score: float) -> int:
    """Returns the highest step whose threshold a score reaches, exactly as ``>=`` decides it."""
    step = min(STEPS, int(score * STEPS))
    if step < STEPS and score >= (step + 1) / STEPS:
        return step + 1
    return step - 1 if score < step / STEPS else step


def of_one(folder: Path, name: str, model: Path | None) -> list[dict[str, Any]]:
    """Returns the surest tags of one picture with their scores; none if nobody looked at it.

    Args:
        folder: of the pictures.
        name: of the picture, from the folder on.
        model: of the tagger, None for the one inside renma.
    """
    tagger = tagger_of(model)
    known = [each.picture for each in read_folder(folder)]
    picture = next((p for p in known if p.relative_to(folder).as_posix() == name), None)
    (seen,) = pictures_of([picture], Told()) if picture else (None,)
    scores = Scores(tagger, Settings())
    if seen is None or not scores.known(seen.digest):
        return []
    return _surest(scores.get(seen.digest), tagger.tags())


def _surest(scores: dict[int, float], tags: Sequence[Tag]) -> list[dict[str, Any]]:
    rows = sorted(scores.items(), key=lambda row: -row[1])[:_TOP]
    return [
        {"tag": tags[place].name, "category": tags[place].category, "score": round(score, 4)}
        for place, score in rows
    ]
