"""What diffusers' and PEFT's LoRA files keep outside their tensors: alpha, rank, kind of scale.

diffusers since 0.34 reads PEFT's configuration from the file's own metadata, key
``lora_adapter_metadata``: JSON of ``<part>.<option>``. PEFT keeps ``adapter_config.json`` beside
its file; it is read beside a file of PEFT's own name (``adapter_model*.safetensors``), or where it
has this file's ranks and nothing in the file says otherwise. Without either the scale is 1.
``renma_alpha`` says in which precision the alphas of a kohya file were stored, so that converting
there and back gives the same bits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renma.core.errors import UserError
from renma.formats import module_names, peft_names
from renma.formats.metadata import parse

Layers = dict[str, dict[str, Tensor]]
CONFIG, ALPHAS = "lora_adapter_metadata", "renma_alpha"
KEYS = (CONFIG, ALPHAS)
_MAGNITUDE = "lora_magnitude_vector"
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_PLAIN = frozenset({"lora_down.weight", "lora_up.weight", "alpha"})


def named(layers: Layers, metadata: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns tensors by diffusers' names, and the metadata with PEFT's configuration added.

    LoRA and DoRA get names that diffusers loads; every other algorithm keeps its tensors' names
    (PEFT's are the same, but for (IA)3) behind diffusers' module path.

    Raises:
        UserError: a layer of no Stable Diffusion model.
    """
    tensors: dict[str, Tensor] = {}
    config: dict[str, Any] = {}
    parts: dict[str, dict[str, dict[str, Tensor]]] = {}
    for key, row in layers.items():
        part, path = module_names.module_path(key)
        parts.setdefault(part, {})[path] = row
        for name, tensor in _spelled(row).items():
            # transformers wants the parameter's whole name, PEFT itself leaves its end out
            end = ".weight" if name == _MAGNITUDE and part != "unet" else ""
            tensors[f"{part}.{path}.{name}{end}"] = tensor
    for part, rows in parts.items():
        _same_kind(part, rows)
        config |= {f"{part}.{k}": v for k, v in _config(rows).items()}
    alphas = [t for row in layers.values() if is_lora(row) for t in (row.get("alpha"),)]
    extra = dict(metadata)
    if any(alpha is not None for alpha in alphas):
        extra[CONFIG] = json.dumps(config, sort_keys=True)
        extra[ALPHAS] = json.dumps(_stored_alphas(layers), separators=(",", ":"))
    return tensors, extra


def is_lora(row: Mapping[str, Tensor]) -> bool:
    """Says whether a layer is a LoRA or DoRA that PEFT knows: two factors, magnitudes by output."""
    extra = row.keys() - _PLAIN
    if not {"lora_down.weight", "lora_up.weight"} <= row.keys() or extra - {"dora_scale"}:
        return False
    scale = row.get("dora_scale")
    return scale is None or scale.shape[0] == row["lora_up.weight"].shape[0]


def canonical(
    raw: Layers,
    paths: Mapping[str, tuple[str, str]],
    metadata: Mapping[str, str],
    file: Path,
) -> tuple[Layers, list[str]]:
    """Returns the layers by canonical suffixes, with the alphas of the configuration, and notes.

    Args:
        raw: kohya's layer key to tensors, as :func:`peft_names.split` names them.
        paths: kohya's layer key to (part, diffusers path).
        metadata: of the file.
        file: the file; ``adapter_config.json`` beside it is read too if it belongs to it.

    Returns:
        The layers, and a sentence for the reader of the file where a file beside it was used.

    Raises:
        UserError: a configuration that is none.
    """
    stored = _read_alphas(metadata, raw.keys())
    config, notes = ({}, []) if stored is not None else _read_config(metadata, file, raw, paths)
    layers: Layers = {}
    for key, row in raw.items():
        values = dict(row)
        if stored is not None:
            values |= {"alpha": stored[key]} if key in stored else {}
        elif config and "alpha" not in values:
            values |= _configured(config, *paths[key], values)
        layers[key] = peft_names.canonical(values)
    return layers, notes


def _spelled(row: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if _is_pefts_ia3(row):
        return {"ia3_l": _ia3(row)}
    if not is_lora(row):
        return dict(row)
    names = {"lora_A.weight": row["lora_down.weight"], "lora_B.weight": row["lora_up.weight"]}
    if "dora_scale" in row:
        scale = row["dora_scale"]  # (outputs, 1[, 1, 1])
        conv = scale.dim() == 4
        names[_MAGNITUDE] = scale.reshape(1, -1, 1, 1) if conv else scale.reshape(-1)
    return names


def _is_pefts_ia3(row: Mapping[str, Tensor]) -> bool:
    """Says whether PEFT's form tells all of an (IA)3 layer.

    PEFT scales the bias with the outputs; a file of LyCORIS does not. The factors of a convolution
    have one shape on either side, so those of its inputs would be taken for outputs'.
    """
    if not {"weight", "on_input"} <= row.keys():
        return False
    if int(row["on_input"]):
        return row["weight"].dim() < 4 and row["weight"].numel() > 1
    return "bias_scaled" in row


def _ia3(row: Mapping[str, Tensor]) -> Tensor:
    factor = row["weight"].double() + 1  # one is large beside w: a wider type keeps its bits
    if factor.dim() == 4:
        return factor
    return factor.reshape(1, -1) if int(row["on_input"]) else factor.reshape(-1, 1)


def _config(rows: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
    """Returns PEFT's LoraConfig of one part; the commonest rank and alpha are its defaults."""
    lora = {path: row for path, row in rows.items() if is_lora(row)}
    if not lora:
        return {}
    # newer transformers leave `text_model.` out; PEFT matches the ends of module paths
    ranks = {_short(path): row["lora_down.weight"].shape[0] for path, row in lora.items()}
    alphas = {
        _short(path): float(row["alpha"]) if "alpha" in row else float(ranks[_short(path)])
        for path, row in lora.items()
    }
    # alpha 0 means alpha = rank in kohya's files
    alphas = {path: alpha or float(ranks[path]) for path, alpha in alphas.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {path: value for path, value in ranks.items() if value != rank},
        "alpha_pattern": {path: value for path, value in alphas.items() if value != alpha},
        "target_modules": sorted(ranks),
        "use_dora": any("dora_scale" in row for row in lora.values()),
    }


def _same_kind(part: str, rows: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Refuses DoRA beside plain LoRA: PEFT's switch is one for all layers of a part."""
    kinds = {"dora_scale" in row for row in rows.values() if is_lora(row)}
    if len(kinds) > 1:
        raise UserError(
            f"the {part} has layers with and without DoRA, which PEFT cannot load together",
            remedy="Use --as merged --base MODEL, or --to kohya.",
        )


def _short(path: str) -> str:
    return path.removeprefix("text_model.")


def _stored_alphas(layers: Layers) -> list[list[Any]]:
    """Returns [precision, value, layers] rows; the longest list of layers is written as ``*``."""
    groups: dict[tuple[str, float], list[str]] = {}
    for key, row in layers.items():
        if is_lora(row):
            alpha = row.get("alpha")
            kind = ("none", 0.0) if alpha is None else (_NAMES[alpha.dtype], float(alpha))
            groups.setdefault(kind, []).append(key)
    most = max(groups, key=lambda kind: len(groups[kind]))
    return [[*kind, "*" if kind == most else keys] for kind, keys in groups.items()]


def _read_alphas(metadata: Mapping[str, str], keys: Any) -> dict[str, Tensor] | None:
    """Returns the alphas that :func:`_stored_alphas` noted; None if there is no such note."""
    rows = parse(metadata.get(ALPHAS, ""))
    if not isinstance(rows, list):
        return None
    found: dict[str, tuple[str, float]] = {}
    try:
        for kind, value, where in sorted(rows, key=lambda row: row[2] != "*"):
            found |= dict.fromkeys(keys if where == "*" else where, (kind, float(value)))
        return {
            key: torch.tensor(value, dtype=_DTYPES[kind])
            for key, (kind, value) in found.items()
            if kind != "none"
        }
    except (ValueError, TypeError, KeyError, IndexError):
        raise UserError(f"its metadata '{ALPHAS}' is damaged") from None


def _read_config(
    metadata: Mapping[str, str], file: Path, raw: Layers, paths: Mapping[str, tuple[str, str]]
) -> tuple[dict[str, Any], list[str]]:
    """Returns ``<part>.<option>`` of the file's metadata, or the options of the file beside it.

    With a note where the file beside it is used. A folder of downloads may hold the configuration
    of another file, so one is taken only if it is PEFT's by name, or tells this file's ranks.
    """
    inside = parse(metadata.get(CONFIG, ""))
    if isinstance(inside, dict):
        return inside, []
    beside = file.with_name("adapter_config.json")
    own = file.match("adapter_model*.safetensors")
    if not beside.is_file() or (not own and metadata.keys() & _SAID_INSIDE):
        return {}, []
    if beside.stat().st_size > 1_000_000 or not isinstance(
        config := parse(beside.read_text(encoding="utf-8", errors="replace")), dict
    ):
        if own:
            raise UserError("is no configuration of PEFT", where=beside)
        return {}, []
    if not own and not _tells_ranks(config, raw, paths):
        return {}, []
    return config, [f"alpha comes from {beside.name} beside the file"]


_SAID_INSIDE = frozenset({"ss_network_dim", "ss_network_alpha", "ss_network_module"})
"""Metadata that says where a file's alphas are: in the file itself."""


def _tells_ranks(
    config: Mapping[str, Any], raw: Layers, paths: Mapping[str, tuple[str, str]]
) -> bool:
    """Says whether a configuration has the rank of every layer, and there are such."""
    ranks = [
        (row[name].shape[0], _option(config, paths[key][0], "rank_pattern", {}), key)
        for key, row in raw.items()
        for name in peft_names.RANKED
        if name in row
    ]
    return bool(ranks) and all(
        _number(_by_path(pattern, paths[key][1], _option(config, paths[key][0], "r", None))) == rank
        for rank, pattern, key in ranks
    )


def _option(config: Mapping[str, Any], part: str, name: str, default: Any) -> Any:
    return config.get(f"{part}.{name}", config.get(name, default))


def _configured(
    config: Mapping[str, Any], part: str, path: str, row: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Returns alpha, and the rank where the tensors do not tell it, as PEFT would apply them."""

    def option(name: str, default: Any) -> Any:
        return _option(config, part, name, default)

    rank = _number(_by_path(option("rank_pattern", {}), path, option("r", None)))
    kind = "lora_alpha" if option("lora_alpha", None) is not None else "alpha"
    alpha = _number(_by_path(option("alpha_pattern", {}), path, option(kind, None)))
    if alpha is None or not row.keys() & _SCALED:
        return {}
    down = row.get("lora_down.weight")
    rank = float(down.shape[0]) if down is not None else rank
    if option("use_rslora", False) is True and rank:
        alpha *= rank**0.5
    pair = {"rank": torch.tensor(rank)} if rank and {"lokr_w1", "lokr_w2"} <= row.keys() else {}
    return {"alpha": torch.tensor(alpha), **pair}


_SCALED = frozenset({"lora_down.weight", "hada_w1_a", "lokr_w1", "lokr_w1_a"})


def _by_path(pattern: Any, path: str, default: Any) -> Any:
    """Returns the entry whose key is the end of the path.

    PEFT takes keys for regular expressions; those of a stranger's file are not run.
    """
    if isinstance(pattern, dict):
        for key, value in pattern.items():
            end = str(key).removeprefix("^").replace("\\.", ".")
            if path == end or path.endswith(f".{end}"):
                return value
    return default


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
