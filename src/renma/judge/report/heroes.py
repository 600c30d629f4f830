"""Pairs of pictures that show what was learnt: the base model and the best checkpoint, same noise.

They are taken from the cells that judging drew: each tells its recipe, so two that differ in
nothing but the LoRA are found without drawing anything (no torch).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from renma.core import json_file
from renma.core.errors import UserError
from renma.drawing.drawn_file import CHUNK
from renma.drawing.picture_source import payload_hash
from renma.judge.folder import RunRecord
from renma.judge.inline import Picture, from_file

WITH, WITHOUT = 3, 1
"""Pairs with the trigger, and without it."""
MOST_CELLS = 20_000
_SIDE, _BYTES = 384, 40_000
_Key = tuple[str, str]


@dataclass(frozen=True)
class Pair:
    """The same prompt and noise, without and with the LoRA."""

    prompt: str
    kind: str
    base: Picture
    best: Picture


def pairs(folder: RunRecord, best: Path | None) -> list[Pair]:
    """Returns pairs for the head of the page; none where nothing was drawn with that file.

    Args:
        folder: the run.
        best: its best LoRA file.
    """
    if best is None:
        return []
    try:
        sha256 = payload_hash(best)
    except UserError:
        return []
    before: dict[_Key, Path] = {}
    after: dict[_Key, Path] = {}
    for path, recipe in _recipes(folder.path / "cells"):
        try:
            key, own = _told_apart(recipe, sha256)
        except RecursionError:  # read, but nested too deeply to be written again
            continue
        if not own:
            before[key] = path
        elif len(own) == 1 and own[0].get("unet") == own[0].get("text_encoder") == 1:
            after[key] = path
    both = [key for key in after if key in before]
    chosen = _chosen(folder, both)
    return [Pair(key[0], kind, _picture(before[key]), _picture(after[key])) for kind, key in chosen]


def _told_apart(recipe: dict[str, Any], sha256: str) -> tuple[_Key, list[dict[str, Any]]]:
    """Returns what a picture is but for a LoRA, and how that LoRA was used."""
    loras = recipe["loras"]
    own = [lora for lora in loras if lora.get("sha256") == sha256]
    rest = recipe | {"loras": [lora for lora in loras if lora not in own]}
    return (str(recipe["prompt"].get("text", "")), json.dumps(rest, sort_keys=True)), own


def _recipes(cells: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(cells.glob("*.png"))[:MOST_CELLS]:
        try:
            with Image.open(path) as picture:
                recipe = json_file.parse(picture.info.get(CHUNK, ""), path)
        except (UserError, OSError, ValueError, SyntaxError, TypeError):
            continue
        except Image.DecompressionBombError:
            continue
        if _is_recipe(recipe):
            yield path, recipe


def _is_recipe(row: object) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), dict):
        return False
    loras = row.get("loras")
    return isinstance(loras, list) and all(isinstance(lora, dict) for lora in loras)


def _chosen(folder: RunRecord, keys: Sequence[_Key]) -> list[tuple[str, _Key]]:
    """Returns some of each kind, from as many prompts as there are, in the order of the run's."""
    judge, trigger = folder.run.judge, folder.run.output.trigger
    texts = sorted({text for text, _ in keys})
    named = [*judge.trigger_prompts, *judge.class_prompts]
    order = [*(t for t in named if t in texts), *(t for t in texts if t not in named)]
    with_trigger = [t for t in order if t in judge.trigger_prompts or (trigger and trigger in t)]
    without = [t for t in order if t not in with_trigger]
    return [
        *(("with the trigger", key) for key in _spread(with_trigger, keys, WITH)),
        *(("without the trigger", key) for key in _spread(without, keys, WITHOUT)),
    ]


def _spread(texts: Iterable[str], keys: Sequence[_Key], most: int) -> list[_Key]:
    by_text = [[key for key in keys if key[0] == text] for text in texts]
    rounds = max(map(len, by_text), default=0)
    return [group[i] for i in range(rounds) for group in by_text if i < len(group)][:most]


def _picture(path: Path) -> Picture:
    return from_file(path, _SIDE, _BYTES)
