"""Options of ``renma caption tag``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from renma.config.caption._written import WriteOptions

CATEGORIES = (
    "general", "character", "copyright", "artist", "meta", "model", "rating", "quality",
)  # fmt: skip
"""Kinds of tags that taggers tell apart."""
LOWEST = 0.01
"""Lower scores are not kept, so no threshold can be lower."""

Place = Literal["none", "first", "last"]


class TagOptions(WriteOptions):
    """Options of ``renma caption tag``."""

    model: tuple[str, ...] = ()
    """A tagger: its .onnx file, or the folder with model.onnx and selected_tags.csv (WD14),
    tag_mapping.json (CL-tagger) or tags.txt (DeepDanbooru). FILE:0.4 gives it a threshold of
    its own, in the place of --threshold; names of characters and kinds named by
    --category-threshold keep theirs. Repeatable (default: the small tagger inside renma, which
    knows drawn avatars only)."""
    threshold: float = Field(default=0.35, ge=LOWEST, le=1)
    """Tags with a lower score are left out."""
    character_threshold: float = Field(default=0.85, ge=LOWEST, le=1)
    """The same for names of characters."""
    category_threshold: tuple[str, ...] = ()
    """The same for another kind of tag, such as copyright=0.5; repeatable."""
    combine: Literal["union", "intersection", "mean", "max"] = "union"
    """How several taggers are put together: a tag that any of them gives, that all of them give, or
    by the mean or the highest of the scores of those that know it; with those two, --threshold
    decides, not the thresholds of single taggers."""
    undesired: tuple[str, ...] = ()
    """A tag to leave out; repeatable. Blanks and underscores are the same here."""
    always_first: tuple[str, ...] = ()
    """A tag that goes to the front where it is given; repeatable, in this order."""
    replace: tuple[str, ...] = ()
    """A tag to write differently, such as 1girl=woman; nothing behind the sign leaves it out;
    repeatable."""
    sort: Literal["score", "alphabet", "frequency", "model"] = "score"
    """Order of the tags: surest first, by alphabet, most frequent in this folder first, or as in
    the tagger's list."""
    characters: Literal["first", "sorted"] = "sorted"
    """Put names of characters first, or where they belong by the order."""
    expand_characters: bool = False
    """Write name_(series) as two tags, the name and the series."""
    rating: Place = "none"
    """Where to put the most likely rating, if the tagger knows ratings."""
    quality: Place = "none"
    """Where to put the most likely quality, if the tagger knows qualities."""
    underscores: Literal["to-spaces", "keep"] = "to-spaces"
    """Write long_hair as long hair; faces such as ^_^ stay."""
    escape: bool = False
    """Write brackets with a backslash before them, for programs that take them as weights."""
    frequency: bool = False
    """Print how often each tag was given."""
    scores: Path | None = None
    """Write all scores to this .jsonl file, a line a picture and tagger."""
    device: Literal["auto", "cpu", "cuda", "directml"] = "auto"
    """Where the tagger runs: what the installed onnxruntime offers, or this."""
    outputs: Literal["auto", "probabilities", "logits"] = "auto"
    """What the model's numbers are; auto tells by their range."""
    input_values: Literal["auto", "byte", "unit", "signed"] = "auto"
    """What the model expects of pixels: 0 to 255, 0 to 1, or -1 to 1; auto follows the kind of
    tagger and the layout of its input."""

    @field_validator("category_threshold")
    @classmethod
    def _known_kind(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            name, sign, number = each.partition("=")
            if not sign or name not in CATEGORIES:
                raise ValueError(f"{each!r} is not KIND=NUMBER with one of {', '.join(CATEGORIES)}")
            if not LOWEST <= _number(number) <= 1:
                raise ValueError(f"{each!r} is not between {LOWEST} and 1")
        return value

    @field_validator("replace")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not each.partition("=")[1] or not each.partition("=")[0].strip():
                raise ValueError(f"{each!r} is not OLD=NEW")
        return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
