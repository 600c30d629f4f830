"""The text entries of a LoRA file: kohya's ``ss_*`` and Stability's modelspec.

They come from anybody: sizes and JSON depth are limited, and control characters (which could steer
a terminal, or turn text around) are escaped before anything is shown.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal

LONGEST_JSON = 16_000_000
"""Characters of one entry that is parsed; kohya writes a few hundred kB for large data sets."""
DEEPEST = 32

_MINIMAL = frozenset(
    {
        "ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim",
        "ss_network_alpha", "ss_network_args", "modelspec.sai_model_spec",
        "modelspec.architecture", "modelspec.implementation", "modelspec.prediction_type",
        "modelspec.title", "lora_adapter_metadata", "renma_alpha", "format",
    }
)  # fmt: skip
"""What loading needs; nothing about pictures, machine or person."""


def scrub(metadata: Mapping[str, str], level: Literal["full", "minimal", "none"]) -> dict[str, str]:
    """Returns the entries that a level of privacy keeps.

    Args:
        metadata: all entries.
        level: ``full`` keeps all; ``minimal`` what programs need to load the file; ``none`` only
            what the numbers mean nothing without (PEFT's configuration of diffusers' naming).
    """
    if level == "full":
        return dict(metadata)
    kept = _MINIMAL if level == "minimal" else {"lora_adapter_metadata", "renma_alpha"}
    return {key: value for key, value in metadata.items() if key in kept}


def parse(text: str) -> Any:
    """Returns the value of a JSON text; None where it is no JSON, too long or nested too deep."""
    if not text or len(text) > LONGEST_JSON or _too_deep(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def shown(text: str, longest: int = 600) -> str:
    """Returns text that is safe to print: cut, on one line, nothing in it that acts."""
    cut = text if len(text) <= longest else text[:longest]
    safe = "".join(_visible(sign) for sign in cut)
    return safe if len(cut) == len(text) else f"{safe}… ({len(text)} characters)"


def tag_counts(metadata: Mapping[str, str]) -> dict[str, int]:
    """Returns how often each caption tag occurred, from ``ss_tag_frequency``, commonest first.

    The entry is {folder: {tag: count}}; anything else in it is passed over.
    """
    counts: dict[str, int] = {}
    folders = parse(metadata.get("ss_tag_frequency", ""))
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int) and not isinstance(count, bool) and 0 < count < 2**53:
                name = str(tag).strip()
                counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _visible(sign: str) -> str:
    # controls, invisible formats (such as right-to-left override), lone surrogates, separators
    if unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
        return sign.encode("unicode_escape", "surrogatepass").decode()
    return sign


def _too_deep(text: str) -> bool:
    """Says whether brackets are nested deeper than :data:`DEEPEST`; those in strings count too."""
    depth = 0
    for sign in text:
        if sign in "[{":
            depth += 1
            if depth > DEEPEST:
                return True
        elif sign in "]}":
            depth -= 1
    return False
