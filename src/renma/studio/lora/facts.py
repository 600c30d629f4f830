"""What a LoRA file is, as its page tells it at once: all that its numbers are not read for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from renma.formats import layer_block, module_names
from renma.formats.metadata import shown
from renma.formats.portability import features, portability
from renma.studio.lora import training
from renma.studio.lora.header import Header, Layer
from renma.studio.place import Place
from renma.studio.runs import events_of

_PRECISIONS = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8 e4m3",
               "F8_E5M2": "fp8 e5m2"}  # fmt: skip
_WIDTHS = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}
_STEP = re.compile(r"-step(\d{1,12})$")


def facts(found: Header) -> dict[str, Any]:
    """Returns the facts of a file; all texts are safe to show."""
    layers = list(found.layers.values())
    alphas = [layer.alpha for layer in layers if layer.rank is not None]
    ranks = [layer.rank for layer in layers if layer.rank is not None]
    return {
        "lora": found.is_lora,
        "naming": found.naming,
        "layers": len(layers),
        "tensors": len(found.tensors),
        "parameters": sum(layer.parameters for layer in layers),
        "algorithms": _counted(_name(layer) for layer in layers),
        "ranks": _counted(map(str, ranks)),
        "alphas": _counted("–" if a is None else f"{a:g}" for a in alphas),
        "precisions": _counted(
            _PRECISIONS.get(str(row["dtype"]), str(row["dtype"]))
            for row in found.tensors.values()
            if row["shape"]
        ),
        "parts": _counted(layer.part for layer in layers),
        "blocks": _blocks(found),
        "base": base_of(found),
        "triggers": training.triggers(found.metadata),
        "training": training.facts(found.metadata),
        "hashes": hashes_told(found),
        "entries": len(found.metadata),
        "trouble": _trouble(found),
    }


def base_of(found: Header) -> dict[str, str]:
    """Returns the base model as the file tells it, and as the widths of its layers do."""
    told = found.metadata
    name, kept = told.get("ss_sd_model_name", ""), told.get("ss_new_sd_model_hash", "")
    version = told.get("ss_base_model_version", "") or told.get("modelspec.architecture", "")
    return {
        "told": shown(version, 80),
        "name": shown("" if name == "None" else name, 160),
        "hash": shown("" if kept == "None" else kept, 80),
        "guess": _guess(found),
    }


def hashes_told(found: Header) -> dict[str, str]:
    """Returns the hashes that the metadata holds."""
    keys = {"weights": "sshs_model_hash", "legacy": "sshs_legacy_hash"}
    return {n: shown(found.metadata[k], 80) for n, k in keys.items() if k in found.metadata}


def run_of(place: Place, path: Path) -> tuple[str | None, int | None]:
    """Returns the run that a file lies in, and the step that its name tells."""
    match = _STEP.search(path.name.removesuffix(".safetensors"))
    step = int(match[1]) if match else None
    for folder in list(path.parents)[:3]:
        if folder == place.root or place.root not in folder.parents:
            break
        if (folder / "run.toml").is_file() and events_of(folder) is not None:
            return place.shown(folder), step
    return None, step


def _guess(found: Header) -> str:
    layers = found.layers.values()
    pairs = [(layer.part, layer.path) for layer in layers]
    if module_names.is_sdxl(pairs) or any("_input_blocks_" in key for key in found.layers):
        return "SDXL"
    for layer in layers:
        shape = layer.shapes.get("lora_down.weight", ())
        if layer.path.endswith((".attn2.to_k", ".attn2.to_v")) and len(shape) > 1:
            return _WIDTHS.get(shape[1], "")
    return ""


def _blocks(found: Header) -> list[dict[str, Any]]:
    """Returns rank, alpha and size of each block's layers, as the model computes them."""
    count = layer_block.per_block(found.layers)
    groups: dict[str, list[Layer]] = {}
    for layer in found.layers.values():
        groups.setdefault(layer_block.label(layer.part, layer.path, count), []).append(layer)
    return [
        {
            "block": name,
            "layers": len(rows),
            "ranks": _span(row.rank for row in rows),
            "conv": _span(row.rank for row in rows if row.conv),
            "alphas": _span(row.alpha for row in rows if row.rank is not None),
            "parameters": sum(row.parameters for row in rows),
        }
        for name, rows in sorted(groups.items(), key=lambda item: layer_block.order(item[0]))
    ]


def _trouble(found: Header) -> list[dict[str, Any]]:
    """Returns what is odd: a name that a page has words for, how often, an example or sentence."""
    rows: list[dict[str, Any]] = []
    if not found.layers:
        rows.append({"name": "no_lora", "count": 0, "text": ""})
    if found.odd:
        rows.append({"name": "odd", "count": len(found.odd), "text": shown(found.odd[0], 160)})
    loose = [key for key, layer in found.layers.items() if _incomplete(layer)]
    if loose:
        rows.append({"name": "incomplete", "count": len(loose), "text": shown(loose[0], 160)})
    bad = [key for key, row in found.layers.items() if _wild(row)]
    if bad:
        rows.append({"name": "alpha", "count": len(bad), "text": shown(bad[0], 160)})
    unknown = sum(layer.part == "unknown model" for layer in found.layers.values())
    if unknown:
        rows.append({"name": "unknown", "count": unknown, "text": ""})
    untexted = [k for k, v in found.metadata.items() if not (is_text(k) and is_text(v))]
    if untexted:
        rows.append({"name": "not_text", "count": len(untexted), "text": shown(untexted[0], 80)})
    names = [name for layer in found.layers.values() for name in _features(layer)]
    told = portability(dict.fromkeys(names), found.naming)
    return rows + [{"name": "programs", "count": 0, "text": shown(text, 500)} for text in told]


def is_text(text: str) -> bool:
    """Says whether a text can be written as UTF-8; JSON's escapes can tell half a character."""
    try:
        text.encode()
    except UnicodeError:
        return False
    return True


def _incomplete(layer: Layer) -> bool:
    """Says whether one of the two factors of a plain LoRA's layer is missing or does not fit."""
    down, up = layer.shapes.get("lora_down.weight"), layer.shapes.get("lora_up.weight")
    if layer.algorithm == "unknown":
        return True
    if layer.algorithm != "lora" or (down is None and up is None):
        return False
    if not down or not up or len(down) < 2 or len(up) < 2:
        return True
    return down[0] != up[1] and "lora_mid.weight" not in layer.shapes


def _wild(layer: Layer) -> bool:
    """Says whether alpha is no number that can be meant."""
    alpha = layer.alpha
    if alpha is None or "oft_blocks" in layer.shapes:
        return False
    return not (0 <= alpha < 1000 * (layer.rank or 1))


def _features(layer: Layer) -> list[str]:
    return [layer.algorithm, *features(layer.shapes)]


def _name(layer: Layer) -> str:
    return f"{layer.algorithm} + DoRA" if layer.dora else layer.algorithm


def _span(values: Iterable[float | None]) -> str:
    found = sorted({value for value in values if value is not None})
    if not found:
        return ""
    return f"{found[0]:g}" if len(found) == 1 else f"{found[0]:g} – {found[-1]:g}"


def _counted(values: Iterable[str]) -> dict[str, int]:
    return {shown(name, 60): n for name, n in Counter(values).most_common(40)}
