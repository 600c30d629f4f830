"""LoRAs and AND in prompts: ``<lora:name:0.8>``, ``<lora:name:te:unet>``, ``<lora:name:lbw=INS>``.

What stands in the angle brackets never reaches the text encoder. AND splits a prompt into
sub-prompts, each with a weight of its own behind a colon at its end (``A AND B :1.2``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from renma.config.block_weights import is_written
from renma.core.errors import UserError

_LORA = re.compile(r"<\s*(lora|lyco)\s*:([^<>]*)>", re.IGNORECASE)
_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"(.*?)(?:\s*:\s*([-+]?(?:\d+\.?\d*|\.\d+)))?\s*", re.DOTALL)
_NAMES = {"unet": "unet", "te": "text_encoder", "lbw": "blocks"}


@dataclass(frozen=True)
class LoraTag:
    """One LoRA as a prompt names it.

    Attributes:
        name: file name without its ending, or a path.
        unet: strength in the U-Net.
        text_encoder: strength in the text encoders.
        blocks: preset or list of strengths by block; empty is all.
    """

    name: str
    unet: float = 1.0
    text_encoder: float = 1.0
    blocks: str = ""


@dataclass(frozen=True)
class SubPrompt:
    """What stands between two ANDs.

    Attributes:
        text: for the text encoder.
        weight: of its pull.
        loras: those named in it.
    """

    text: str
    weight: float = 1.0
    loras: tuple[LoraTag, ...] = ()


def split(prompt: str) -> list[SubPrompt]:
    """Returns the sub-prompts of a prompt, at least one.

    Raises:
        UserError: a LoRA without a name, or a strength that is no number.
    """
    return [_sub_prompt(part) for part in _AND.split(prompt)]


def _sub_prompt(part: str) -> SubPrompt:
    loras = tuple(tag(match[2], match[0]) for match in _LORA.finditer(part))
    # a weight may stand before or behind the LoRAs
    text = re.sub(r"\s{2,}", " ", _LORA.sub(" ", part)) if loras else part
    text, weight = _WEIGHT.fullmatch(text.strip()).groups()  # pyright: ignore
    return SubPrompt(text.strip(), 1.0 if weight is None else float(weight), loras)


def with_blocks(prompt: str, blocks: Mapping[str, str]) -> str:
    """Returns a prompt in which LoRAs whose blocks it does not say have those of ``blocks``.

    Args:
        prompt: as it was written.
        blocks: by name of the LoRA.
    """

    def told(match: re.Match[str]) -> str:
        found = tag(match[2], match[0])
        own = "" if found.blocks else blocks.get(found.name, "")
        if not own:
            return match[0]
        return f"{match[0][:-1]}{'' if ':' in match[2] else ':1'}:lbw={own}>"

    return _LORA.sub(told, prompt)


def tag(inside: str, where: str) -> LoraTag:
    """Returns the LoRA of ``name:te:unet:blocks``, or of named values behind the name.

    The order is A1111's: the text encoder first, and a single number is for both parts.
    ``unet=``, ``te=`` and ``lbw=`` may stand in any order.

    Args:
        inside: what stands between ``<lora:`` and ``>``.
        where: for messages.

    Raises:
        UserError: no name, or a value that is none.
    """
    name, *values = (part.strip() for part in inside.split(":"))
    if not name:
        raise UserError("names no LoRA", where=where, remedy="Write <lora:name:1>.")
    found: dict[str, str] = {}
    for value in values:
        key, sign, rest = value.partition("=")
        if sign and key.strip().lower() in _NAMES:
            found[_NAMES[key.strip().lower()]] = rest.strip()
        elif sign:
            known = ", ".join(f"{known}=" for known in _NAMES)
            raise UserError(
                f"'{key}=' means nothing to renma", where=where, remedy=f"Known: {known}."
            )
        elif is_written(value):
            found["blocks"] = value
        else:
            free = next((key for key in ("text_encoder", "unet") if key not in found), None)
            if free is None:
                raise UserError(f"'{value}' is one value too many", where=where)
            found[free] = value
    text = number(found["text_encoder"], where) if "text_encoder" in found else 1.0
    unet = number(found["unet"], where) if "unet" in found else text
    return LoraTag(name, unet, text, found.get("blocks", ""))


def number(text: str, where: str) -> float:
    """Returns a finite number.

    Raises:
        UserError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"'{text}' is no strength", where=where, remedy="A number, such as 0.8.")
    return value
