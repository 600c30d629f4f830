"""CL-tagger and its like: ``model.onnx`` with ``tag_mapping.json``.

Pictures as for WD14, but (channel, height, width) from -1 to 1; the answer is logits. Tags come in
more kinds: copyright, artist, meta, model, quality, rating. Source: cella110n's cl_tagger; the
same mapping is read by sd-scripts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renma.core import json_file
from renma.core.errors import UserError
from renma.core.text_file import decode
from renma.engine.taggers import wd14
from renma.engine.taggers._base import Tag

LISTS = ("tag_mapping.json",)
SIDE = wd14.SIDE
CHANNELS = wd14.CHANNELS
prepare = wd14.prepare
_FORM = 'It must say {"0": {"tag": "1girl", "category": "General"}, ...}.'


def values_of(channels_first: bool) -> str:  # noqa: ARG001 - every contract is asked alike
    """Returns the range of pixel values."""
    return "signed"


def read_tags(file: Path) -> tuple[Tag, ...]:
    """Returns the tags of a ``tag_mapping.json``, in either of its two forms.

    Raises:
        UserError: it is none, or a number is missing.
    """
    text, _ = decode(file.read_bytes(), file)
    rows = json_file.parse(text, file, _FORM)
    if not isinstance(rows, dict):
        raise UserError("is no list of tags", where=file, remedy=_FORM)
    try:
        found = _split_form(rows) if "idx_to_tag" in rows else _row_form(rows)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError("is no list of tags", where=file, remedy=_FORM) from None
    if sorted(found) != list(range(len(found))):
        raise UserError("does not number its tags from 0 on without a gap", where=file)
    return tuple(found[index] for index in sorted(found))


def _row_form(rows: dict[str, Any]) -> dict[int, Tag]:
    """``{"0": {"tag": ..., "category": ...}}``."""
    return {int(k): Tag(str(row["tag"]), _kind(row["category"])) for k, row in rows.items()}


def _split_form(rows: dict[str, Any]) -> dict[int, Tag]:
    """``{"idx_to_tag": {"0": ...}, "tag_to_category": {...}}``."""
    kinds = rows["tag_to_category"]
    return {int(k): Tag(str(tag), _kind(kinds[tag])) for k, tag in rows["idx_to_tag"].items()}


def _kind(category: str) -> str:
    return category.lower()
