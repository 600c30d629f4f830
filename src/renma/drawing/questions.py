"""Which prompts a run is judged by: its own, and some that its captions give.

One prompt alone cannot show whether the rest of a prompt is still followed, so there are several at
least; those that are missing are made of captions that differ most.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from renma.config import Run
from renma.core.errors import UserError

FEWEST = 3
"""Prompts with the trigger."""
_COMMON = 0.6
"""Share of the captions from which a tag says nothing about a single picture."""
_TAGS = 6
"""Of a caption's own, in a prompt."""
_LORA = re.compile(r"<\s*(?:lora|lyco)\s*:[^<>]*>", re.IGNORECASE)
_BRACKET = re.compile(r"\\?([()\[\]])")


@dataclass(frozen=True)
class Question:
    """One prompt.

    Attributes:
        text: the prompt.
        pictures: how many are drawn of it.
        own: whether the run's settings name it; else it was made of a caption.
    """

    text: str
    pictures: int
    own: bool


@dataclass(frozen=True)
class Questions:
    """All prompts.

    Attributes:
        trigger: here the subject should appear.
        plain: the class without the trigger; here it should not.
    """

    trigger: tuple[Question, ...]
    plain: tuple[Question, ...]


def questions(run: Run, captions: Sequence[str]) -> Questions:
    """Returns the prompts to judge a run by.

    Args:
        run: its settings.
        captions: of its training pictures.

    Raises:
        UserError: there is neither a trigger word nor a prompt.
    """
    judge, trigger = run.judge, run.output.trigger.strip()
    asked = [Question(text, judge.pictures, own=True) for text in judge.trigger_prompts]
    plain = [Question(text, judge.pictures, own=True) for text in judge.class_prompts]
    missing = FEWEST - len(asked)
    if missing > 0 and trigger:
        few = max(2, judge.pictures // 2)
        known = {one.text for one in (*asked, *plain)}
        texts = [_inert(caption) for caption in captions]
        more = [t for t in made(texts, trigger, missing + len(asked)) if t not in known][:missing]
        bare = [without(text, trigger) for text in more]
        bare = [text for text in dict.fromkeys(bare) if text and text not in known]
        asked += [Question(_unweighted(text, run), few, own=False) for text in more]
        plain += [Question(_unweighted(text, run), few, own=False) for text in bare]
    if not plain and trigger:
        few = max(2, judge.pictures // 2)
        bare = dict.fromkeys(without(one.text, trigger) for one in asked)
        plain = [Question(text, few, own=False) for text in bare if text]
    if not asked:
        raise UserError(
            "names no prompt and no trigger word, so nothing can be asked of it",
            where="run.toml",
            remedy="Write output.trigger, or judge.trigger_prompts and judge.class_prompts.",
        )
    return Questions(tuple(asked), tuple(plain))


def made(captions: Sequence[str], trigger: str, count: int) -> list[str]:
    """Returns prompts with the trigger made of captions that have least in common.

    Args:
        captions: tags between commas, or sentences; where they say nothing, the trigger stands
            alone.
        trigger: the trigger word, which stands first.
        count: how many at most.
    """
    rows = [tags for caption in captions if (tags := _tags(caption, trigger))]
    often = Counter(tag for tags in rows for tag in set(tags))
    common = {tag for tag, number in often.items() if number > _COMMON * len(rows)}
    chosen: list[list[str]] = []
    seen: Counter[str] = Counter()
    while rows and len(chosen) < count:
        # the caption whose own tags were shown least; of like ones the earliest
        best = min(rows, key=lambda tags: (_shown(tags, common, seen), rows.index(tags)))
        chosen.append(best)
        seen.update(set(best) - common)
        rows = [tags for tags in rows if set(tags) != set(best)]
    return [", ".join([trigger, *_short(tags, common)]) for tags in chosen] or [trigger]


def without(text: str, trigger: str) -> str:
    """Returns a prompt without the trigger word, which text encoders read in any case."""
    word = rf"(?<!\w){re.escape(trigger)}(?:['\u2019]s)?(?!\w)"
    bare = re.sub(word, "", text, flags=re.IGNORECASE)
    return ", ".join(tag for part in bare.split(",") if (tag := " ".join(part.split())))


def _inert(caption: str) -> str:
    """Returns a caption without what would act in a prompt: LoRAs that it names, and AND."""
    return re.sub(r"\bAND\b", "and", _LORA.sub("", caption))


def _unweighted(text: str, run: Run) -> str:
    """Returns a prompt whose brackets are text, as they were to the run that read the captions."""
    return text if run.model.weighted_captions else _BRACKET.sub(r"\\\1", text)


def _tags(caption: str, trigger: str) -> list[str]:
    parts = [" ".join(part.split()) for part in without(caption, trigger).split(",")]
    return [part for part in parts if part]


def _shown(tags: Sequence[str], common: set[str], seen: Counter[str]) -> float:
    own = set(tags) - common
    return sum(seen[tag] > 0 for tag in own) / len(own) if own else 1.0


def _short(tags: Sequence[str], common: set[str]) -> list[str]:
    own = [tag for tag in tags if tag not in common][:_TAGS]
    return [tag for tag in tags if tag in common or tag in own]
