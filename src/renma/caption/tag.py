"""``renma caption tag``: taggers look at pictures, their tags become captions.

What the taggers said is kept (:mod:`renma.caption.scores`); thresholds, order and spelling are
applied to that, so that trying others takes no time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from renma.caption.choose import ONE_OF, Chosen, Opinion, choose, counted, plain, words
from renma.caption.deliver import Delivery, idle_options
from renma.caption.looking import Picture, Spreading, pictures_of, stoppable, unseen
from renma.caption.scores import Scores, score
from renma.config.caption.tag import TagOptions
from renma.core.errors import did_you_mean
from renma.core.events import Report
from renma.core.store import write_text
from renma.data.own_file import check_target
from renma.engine.taggers._base import Tag, Tagger, find
from renma.engine.taggers._session import Settings

DOMAIN = (
    "the tagger inside renma knows drawn avatars only, the pictures that mame paints; for others "
    "give --model a WD14 tagger, such as wd-eva02-large-tagger-v3 or wd-vit-tagger-v3 by "
    "SmilingWolf on Hugging Face"
)
_OFTEN = 8
"""So many of the most frequent tags are named in the summary."""


def run(options: TagOptions, report: Report) -> None:
    """Tags the pictures of a folder.

    Raises:
        UserError: no pictures, no such tagger, captions that cannot be read or written, or a file
            for the scores that is somebody's.
        Interrupted: Ctrl-C while the taggers look; what they said so far is kept.
    """
    taggers = [find(each) for each in options.model or [None]]
    known = [tagger.tags() for tagger in taggers]
    check_target(options.scores, "--scores", (".jsonl",), _is_scores)
    own = [tagger.threshold for tagger in taggers]
    for text in (*idle_options(options), *without_effect(options, known, own)):
        report.event("warned", text=text)
    delivery = Delivery(options, "tags", report)
    if not delivery.pictures:
        return
    pictures = pictures_of(delivery.pictures, report)
    settings = Settings(options.device, options.outputs, options.input_values)
    if not options.model and unseen(pictures, Scores(taggers[0], settings).known):
        report.event("warned", text=DOMAIN)
    how = Spreading(options.executor, options.workers, options.batch, options.max_pixels)
    refused: dict[str, str] = {}
    with stoppable("scores"):
        for tagger in taggers:
            refused |= score(tagger, pictures, settings, how, report)
    readable = [picture for picture in pictures if picture.digest not in refused]
    kept = [Scores(tagger, settings) for tagger in taggers]
    if options.scores:
        rows = _score_rows(options.folder, readable, taggers, known, kept)
        write_text(options.scores, "".join(rows))
        report.event("saved", path=str(options.scores))
    chosen = {
        picture.path: choose(
            [
                Opinion(tags, scores.get(picture.digest), tagger.threshold)
                for tagger, tags, scores in zip(taggers, known, kept, strict=True)
            ],
            options,
        )
        for picture in readable
    }
    said = _said(chosen, options)
    _count(said.values(), options, report)
    delivery.write(said, "tag")


def without_effect(
    options: TagOptions, known: Sequence[Sequence[Tag]], own: Sequence[float | None] = ()
) -> Iterator[str]:
    """Yields a line for every option that cannot change anything with these taggers.

    Args:
        options: what was asked for.
        known: the tags of each tagger.
        own: the threshold that each was given with its file, or None.
    """
    yield from _idle_thresholds(options, own)
    tags = [tag for each in known for tag in each]
    kinds = {tag.category for tag in tags}
    names = {plain(tag.name) for tag in tags}
    asked = {"rating": options.rating, "quality": options.quality}
    for kind in ONE_OF:
        if asked[kind] != "none" and kind not in kinds:
            yield f"--{kind} has no effect: no tagger here knows any"
    for each in options.category_threshold:
        kind = each.partition("=")[0]
        if kind not in kinds or kind in ONE_OF:
            yield f"--category-threshold {each} has no effect: no such tag has a threshold here"
    if len(known) == 1 and "combine" in options.model_fields_set:
        yield "--combine has no effect: there is one tagger"
    if options.expand_characters:
        return  # tags are written that no list holds
    old = [each.partition("=")[0] for each in options.replace]
    made = {plain(each.partition("=")[2]) for each in options.replace}
    for option, given in (
        ("replace", old), ("undesired", options.undesired), ("always-first", options.always_first)
    ):  # fmt: skip
        for tag in given:
            if plain(tag) not in names | (set() if option == "replace" else made):
                near = did_you_mean(plain(tag), names)
                yield f"--{option} {tag} has no effect: no tagger here gives it. {near}".strip()


def _idle_thresholds(options: TagOptions, own: Sequence[float | None]) -> Iterator[str]:
    """Yields a line for every threshold of a single tagger that combining does not look at."""
    if len(own) > 1 and options.combine in ("mean", "max"):
        for given, threshold in zip(options.model, own, strict=False):
            if threshold is not None:
                yield (
                    f"the threshold of --model {given} has no effect with --combine "
                    f"{options.combine}: scores are put together first, then --threshold decides"
                )


def _said(
    chosen: Mapping[Path, Sequence[Chosen]], options: TagOptions
) -> dict[Path, tuple[str, ...]]:
    counts = counted(chosen.values())
    return {picture: words(rows, options, counts) for picture, rows in chosen.items()}


def _count(said: Iterable[Sequence[str]], options: TagOptions, report: Report) -> None:
    """Tells how often tags are given: the most frequent ones, or all if wanted."""
    counts = Counter(tag for tags in said for tag in tags)
    if not counts:
        report.line("no tag is sure enough; a lower --threshold gives more")
        return
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    if options.frequency:
        width = len(str(rows[0][1]))
        for tag, count in rows:
            report.line(f"{count:>{width}}  {tag}")
    often = ", ".join(f"{tag} {count}" for tag, count in rows[:_OFTEN])
    report.line(f"{len(rows):,} different tags; most often {often}")


def _is_scores(head: bytes) -> bool:
    """Says whether a file begins as ``_score_rows`` does."""
    return head.startswith(b'{"picture": ') and b', "model": ' in head.partition(b"\n")[0]


def _score_rows(
    folder: Path,
    pictures: Iterable[Picture],
    taggers: Sequence[Tagger],
    known: Sequence[Sequence[Tag]],
    kept: Sequence[Scores],
) -> Iterator[str]:
    """Yields a line of JSON for each picture and tagger, the surest tag first."""
    for picture in pictures:
        for tagger, tags, scores in zip(taggers, known, kept, strict=True):
            found = sorted(scores.get(picture.digest).items(), key=lambda row: -row[1])
            row: dict[str, Any] = {
                "picture": picture.path.relative_to(folder).as_posix(),
                "model": tagger.name,
                "scores": {tags[index].name: round(value, 4) for index, value in found},
            }
            yield json.dumps(row, ensure_ascii=False) + "\n"
