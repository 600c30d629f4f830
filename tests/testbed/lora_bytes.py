"""Safetensors files written byte by byte, right ones and wrong ones, without the code under test."""

from __future__ import annotations

import json
import struct
from array import array
from pathlib import Path
from typing import Any

LAYERS = (
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k",
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
)
TAGS = {"10_aa12 person": {"smile": 30, "aa12": 40, "red hair": 20}, "1_reg": {"smile": 5}}
METADATA = {
    "ss_network_module": "networks.lora", "ss_network_dim": "2", "ss_network_alpha": "1.0",
    "ss_base_model_version": "sd_v1", "ss_sd_model_name": "base.safetensors",
    "ss_steps": "20", "ss_max_train_steps": "30", "ss_unet_lr": "0.0001", "ss_text_encoder_lr": "5e-05",
    "ss_optimizer": "torch.optim.adamw.AdamW(weight_decay=0.1)", "ss_lr_scheduler": "cosine",
    "ss_dataset_dirs": json.dumps({"10_aa12 person": {"n_repeats": 10, "img_count": 4}}),
    "ss_tag_frequency": json.dumps(TAGS), "ss_training_started_at": "1700000000.5",
    "modelspec.title": "A title", "note": "line one\nline two",
}  # fmt: skip


def raw(header: bytes, numbers: bytes = b"") -> bytes:
    """Returns a file of a header as it is."""
    return struct.pack("<Q", len(header)) + header + numbers


def described(rows: dict[str, list[int]], metadata: dict[str, Any] | None = None) -> bytes:
    """Returns a file of float32 ones, tensors by shape."""
    table: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    place = 0
    for name, shape in rows.items():
        size = 4
        for side in shape:
            size *= side
        table[name] = {"dtype": "F32", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    return raw(json.dumps(table).encode(), array("f", [1.0] * (place // 4)).tobytes())


def shapes(rank: int = 2, width: int = 8, deep: int = 768) -> dict[str, list[int]]:
    """Returns the tensors of a small LoRA of SD 1.x."""
    found: dict[str, list[int]] = {}
    for key in LAYERS:
        inside = deep if "attn2" in key else width
        found |= {
            f"{key}.lora_down.weight": [rank, inside],
            f"{key}.lora_up.weight": [width, rank],
            f"{key}.alpha": [],
        }
    return found


def lora(path: Path, rank: int = 2, /, **metadata: Any) -> Path:
    """Writes a small LoRA with metadata; entries given replace those that it would have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(described(shapes(rank), {**METADATA, **metadata}))
    return path
