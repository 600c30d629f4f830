"""Small files of each algorithm for a few layers of mame, and their updates written out."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from renma.cli import main
from renma.formats import lora_file

Q = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
POINT = "lora_unet_mid_block_attentions_0_proj_in"
CONV = "lora_unet_mid_block_resnets_0_conv1"
TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"
NORM = "lora_unet_mid_block_resnets_0_norm1"
# the shapes of these layers in mame, so that the same files merge into it
SHAPES = {Q: (128, 128), POINT: (128, 128, 1, 1), CONV: (128, 128, 3, 3), TEXT: (512, 128)}

Layer = dict[str, Tensor]


def lora(key: str, rank: int, alpha: float, seed: int) -> Layer:
    g, shape = torch.Generator().manual_seed(seed), SHAPES[key]
    up = torch.randn(shape[0], rank, generator=g) * 0.05
    up = up[:, :, None, None] if len(shape) == 4 else up
    down = torch.randn(rank, *shape[1:], generator=g) * 0.05
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(alpha)}


def loha(key: str, rank: int, alpha: float, seed: int) -> Layer:
    g = torch.Generator().manual_seed(seed)
    outputs, columns = SHAPES[key][0], torch.Size(SHAPES[key][1:]).numel()
    sizes = {"hada_w1_a": (outputs, rank), "hada_w1_b": (rank, columns),
             "hada_w2_a": (outputs, rank), "hada_w2_b": (rank, columns)}  # fmt: skip
    found = {name: torch.randn(size, generator=g) * 0.2 for name, size in sizes.items()}
    return {**found, "alpha": torch.tensor(alpha)}


def lokr(key: str, seed: int) -> Layer:
    """Full factors, as LyCORIS writes them with full_matrix: alpha means nothing."""
    g, shape = torch.Generator().manual_seed(seed), SHAPES[key]
    w2 = torch.randn(shape[0] // 8, shape[1] // 8, *shape[2:], generator=g) * 0.05
    return {"lokr_w1": torch.randn(8, 8, generator=g), "lokr_w2": w2, "alpha": torch.tensor(4.0)}


def delta(layer: Layer) -> Tensor:
    """The update as a float64 matrix, written out from the papers' formulas."""
    w = {name: tensor.double() for name, tensor in layer.items()}
    if "diff" in w:
        return w["diff"].flatten(1)
    if "lora_up.weight" in w:
        up, down = w["lora_up.weight"].flatten(1), w["lora_down.weight"].flatten(1)
        return float(w["alpha"]) / len(down) * up @ down
    if "hada_w1_a" in w:
        scale = float(w["alpha"]) / len(w["hada_w1_b"])
        return scale * (w["hada_w1_a"] @ w["hada_w1_b"]) * (w["hada_w2_a"] @ w["hada_w2_b"])
    w1 = w["lokr_w1"].reshape(8, 8, *[1] * (w["lokr_w2"].dim() - 2))
    return torch.kron(w1, w["lokr_w2"]).flatten(1)


def write(path: Path, layers: dict[str, Layer], metadata=None, dtype=torch.float32) -> Path:
    flat = {
        f"{k}.{s}": t.to(dtype).contiguous() for k, row in layers.items() for s, t in row.items()
    }
    save_file(flat, path, metadata)
    return path


def merged(out: Path, *arguments: str) -> dict[str, Layer]:
    assert main(["file", "merge", *arguments, "-o", str(out)]) == 0
    return lora_file.read(out).layers


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).norm() <= 1e-5 * expected.norm())
