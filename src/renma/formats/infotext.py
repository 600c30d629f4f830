"""What AUTOMATIC1111's web UI writes into a picture and reads back.

Prompt, negative prompt, one line of settings; other programs and picture sites read it too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

PARAMETERS = "parameters"
"""Name of the text chunk in a PNG."""
WEB_NAMES = {
    "ddim": "DDIM", "pndm": "PLMS", "heun": "Heun", "lms": "LMS", "euler": "Euler",
    "euler_a": "Euler a", "dpm_2": "DPM2", "dpm_2_a": "DPM2 a", "dpmsolver++": "DPM++ 2M",
}  # fmt: skip
"""Samplers by their names there, where it has them."""


def web_name(sampler: str) -> str:
    """Returns a sampler's name in the web UI; its own where it has none there."""
    plain = sampler.removeprefix("k_")
    return WEB_NAMES.get(plain, plain)


def infotext(prompt: str, negative: str, settings: Mapping[str, object]) -> str:
    """Returns the text of the chunk.

    Args:
        prompt: with LoRAs in angle brackets.
        negative: left out where it is empty.
        settings: by name, in order.
    """
    lines = [prompt, *([f"Negative prompt: {negative}"] if negative else [])]
    lines.append(", ".join(f"{name}: {_quoted(str(value))}" for name, value in settings.items()))
    # a lone surrogate, from a file name say, has no UTF-8
    return "\n".join(lines).encode("utf-8", "replace").decode()


def _quoted(text: str) -> str:
    """Returns a value in quotes where its signs would end it."""
    return json.dumps(text, ensure_ascii=False) if set(text) & set(',:\n"') else text
