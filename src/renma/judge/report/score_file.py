"""``score.json``, checked: what ``renma judge`` wrote, now or in version 0.1.

Files of version 1 (renma 0.1) hold likeness and leakage only, read by the attribute classifier;
they are brought into the form of version 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from renma.core import json_file
from renma.core.errors import UserError
from renma.judge.numbers import LARGEST_STEP, is_number

SIDES = ("high", "low", "none")
"""Which direction of a measure is better."""
_REMEDY = "Make it anew with `renma judge`."


def _number(value: object) -> float | None:
    """Returns a finite number, None for anything else: what was not measured has none."""
    return float(value) if is_number(value) else None


Number = Annotated[float | None, BeforeValidator(_number)]
Step = Annotated[int, Field(ge=0, le=LARGEST_STEP)]
Better = Annotated[
    Literal["high", "low", "none"], BeforeValidator(lambda v: v if v in SIDES else "none")
]


Text = Annotated[str, BeforeValidator(lambda v: v if isinstance(v, str) else "")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Measure(_Part):
    """What a column of numbers means; a ``unit`` of ``share`` is written as percentage."""

    title: Text = ""
    better: Better = "none"
    help: Text = ""
    unit: Text = ""


class Side(_Part):
    """What checkpoints are held against: the base model, or real pictures against real ones."""

    scores: dict[str, Number] = {}


class Attribute(_Part):
    """One attribute as the classifier reads it, with the best checkpoint and the base model."""

    label: Text = ""
    likeness: Number = None
    leakage: Number = None
    base_likeness: Number = None
    base_leakage: Number = None


class CheckpointScores(_Part):
    """One LoRA file's numbers; ``path`` starts from the run's folder."""

    path: str
    label: Text = ""
    step: Step | None = None
    merit: Number = None
    merit_error: Number = None
    scores: dict[str, Number] = {}
    errors: dict[str, Number] = {}


class ScoreFile(_Part):
    """What of ``score.json`` is shown."""

    version: int = 1
    best: str | None = None
    copied: str | None = None
    runners_up: list[str] = []
    state: Text = ""
    verdict: list[str] = []
    advice: list[str] = []
    confidence: Number = None
    measures: dict[str, Measure] = {}
    base: Side = Side()
    real: Side = Side()
    checkpoints: list[CheckpointScores] = []
    pictures: dict[str, Number] = {}
    encoder: Text = ""
    read_with: Text = "attributes"
    likeness: Number = None
    leakage: Number = None
    base_likeness: Number = None
    base_leakage: Number = None
    attributes: dict[str, Attribute] = {}


def read(path: Path) -> ScoreFile:
    """Returns what a score.json says.

    Raises:
        UserError: it is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else error.reason
        raise UserError(f"cannot be read: {what}", where=path, remedy=_REMEDY) from None
    raw = json_file.parse(text, path, _REMEDY)
    try:
        return ScoreFile.model_validate(_upgraded(raw))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        what = f"is no score: {place}: {first['msg']}"
        raise UserError(what, where=path, remedy=_REMEDY) from None


def _upgraded(raw: Any) -> Any:
    """Returns a version 1 file in the form of version 2."""
    if not isinstance(raw, dict) or raw.get("version", 1) != 1:
        return raw
    rows = raw.get("checkpoints")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    names = ("likeness", "leakage")
    upgraded = [
        row
        | {"scores": {name: row.get(name) for name in names}}
        | {"errors": {name: row.get(f"{name}_error") for name in names}}
        for row in rows
    ]
    measures = {
        "likeness": {
            "title": "With the trigger", "better": "high", "unit": "share",
            "help": "Share of the wanted attributes that a classifier reads in pictures of the "
            "trigger prompts.",
        },
        "leakage": {
            "title": "Without the trigger", "better": "low", "unit": "share",
            "help": "The same share in pictures of the class prompts: what the LoRA brings "
            "unasked.",
        },
    }  # fmt: skip
    base = {name: raw.get(f"base_{name}") for name in names}
    return {"measures": measures if rows else {}} | raw | {
        "checkpoints": upgraded, "base": {"scores": base}
    }  # fmt: skip
