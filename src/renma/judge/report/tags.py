"""``tags.json``: which tags the trigger absorbed and which changed their meaning (no torch)."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from renma.core import json_file
from renma.core.errors import UserError
from renma.judge.report.score_file import Number
from renma.judge.report.sentences import bounded, left_out

MOST = 24
"""Rows of each table."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Absorbed(_Part):
    """A tag, and how much of it the trigger alone brings.

    Attributes:
        share: how much of the tag's effect the trigger alone has.
        error: its standard error.
        captions: share of the captions that name the tag.
        answers: how much of its effect the tag still has beside the trigger.
    """

    tag: str
    share: Number = None
    error: Number = None
    captions: Number = None
    answers: Number = None


class Drifted(_Part):
    """A tag that looks otherwise than in the base model.

    Attributes:
        distance: from the base model's pictures.
        base_noise: the same distance between two sets of the base model's own pictures.
    """

    tag: str
    distance: Number = None
    base_noise: Number = None


class TagFile(_Part):
    """What of ``tags.json`` is shown."""

    trigger: str = ""
    absorbed: list[Absorbed] = []
    drifted: list[Drifted] = []
    sentences: list[str] = []
    advice: list[str] = []
    left_out: str = ""
    """What the page does not show."""


def read(folder: Path) -> TagFile | None:
    """Returns the audit of a run, or None where there is none.

    Raises:
        UserError: a tags.json that is none.
    """
    path = folder / "tags.json"
    if not path.is_file():
        return None
    remedy = "Make it anew, or take it out of the folder."
    try:
        raw = json_file.parse(path.read_text(encoding="utf-8"), path, remedy)
        found = TagFile.model_validate(raw)
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else error.reason
        raise UserError(f"cannot be read: {what}", where=path, remedy=remedy) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        what = f"is no audit of tags: {place}: {first['msg']}"
        raise UserError(what, where=path, remedy=remedy) from None
    cut = {
        "absorbed": found.absorbed[:MOST],
        "drifted": found.drifted[:MOST],
        "sentences": bounded(found.sentences, path.name),
        "advice": bounded(found.advice, path.name),
        "left_out": left_out(
            path.name,
            ("absorbed tags", len(found.absorbed) - MOST),
            ("drifted tags", len(found.drifted) - MOST),
        ),
    }
    return found.model_copy(update=cut)
