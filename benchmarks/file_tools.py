"""``renma file resize`` and ``merge`` of a rank-64 SDXL LoRA beside full SVDs, in one run.

    OMP_NUM_THREADS=1 python benchmarks/file_tools.py [--layers 60] [--rank 16] [--out FILE]

The peer does what the usual scripts do: it multiplies the factors out and takes torch's SVD of the
whole update. It is slow, so both sides do a random part of the layers (``--layers``, drawn with a
fixed seed); renma's own tools then do the whole file, reading and writing included. Reported are
CPU seconds, their ratio (peer / renma) and the largest deviation of the new update of a layer,
relative to its norm. The factors are random; each further rank counts 0.93 of the one before, as
updates of trained LoRAs fall off too.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renma.config.file_tasks import MergeOptions, ResizeOptions
from renma.core.events import Silent
from renma.formats import lora_file, module_names
from renma.formats.lora_file import LoraFile
from renma.use import merge, resize

RANK, FALL, ALPHA = 64, 0.93, 32.0
WEIGHTS = (0.7, 0.4)
# unet/config.json of stabilityai/stable-diffusion-xl-base-1.0, what its shapes depend on
UNET: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
TEXT = {"text_encoder": (12, 768), "text_encoder_2": (32, 1280)}
Layer = dict[str, Tensor]
Shapes = dict[str, tuple[int, int]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=60)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shapes = sdxl_shapes()
    chosen = random.Random(0).sample(sorted(shapes), arguments.layers)
    some = {key: shapes[key] for key in chosen}
    result = {
        "layers": len(shapes),
        "measured_layers": len(some),
        "lora_rank": RANK,
        "new_rank": arguments.rank,
        "resize": beside("resize", resize_sides(some, arguments.rank)),
        "merge_to_rank": beside("merge to rank", merge_sides(some, RANK)),
        "merge_exact": beside("merge", merge_sides(some, None)),
        "whole_file_cpu_seconds": whole_file(shapes, arguments.rank),
    }
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def sdxl_shapes() -> Shapes:
    """Returns (outputs, inputs) of kohya's targets in SDXL: 722 U-Net and 264 text layers."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNET)
    found: Shapes = {}
    for path, module in unet.named_modules():
        if ".attentions." in path and isinstance(module, torch.nn.Linear):
            key = module_names.layer_key("unet", path, sdxl=True)
            found[key] = (module.out_features, module.in_features)
    for part, (layers, width) in TEXT.items():
        sides = {f"self_attn.{n}_proj": (width, width) for n in ("q", "k", "v", "out")}
        sides |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for number in range(layers):
            for name, shape in sides.items():
                path = f"encoder.layers.{number}.{name}"
                found[module_names.layer_key(part, path, sdxl=True)] = shape
    assert len(found) == 722 + 264
    assert sum(map(sum, found.values())) == 2_659_840 + 903_168
    return found


def drawn(shape: tuple[int, int], seed: str) -> Layer:
    """Returns a made-up LoRA layer."""
    generator = torch.Generator().manual_seed(random.Random(seed).getrandbits(60))
    up = torch.randn(shape[0], RANK, generator=generator) * FALL ** torch.arange(RANK) * 1e-2
    down = torch.randn(RANK, shape[1], generator=generator) * shape[1] ** -0.5
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(ALPHA)}


def update(layer: Mapping[str, Tensor]) -> Tensor:
    """Returns what a layer adds, written out."""
    down = layer["lora_down.weight"]
    return layer["lora_up.weight"] @ down * (float(layer["alpha"]) / down.shape[0])


def full_svd(whole: Tensor, rank: int) -> Tensor:
    """Returns the best approximation the long way."""
    u, s, v = torch.linalg.svd(whole, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ v[:rank]


Sides = tuple[dict[str, Any], Callable[[str, Any], Layer], Callable[[str, Any], Tensor]]


def resize_sides(shapes: Shapes, rank: int) -> Sides:
    """Returns the layers, renma's way and the peer's."""
    options = ResizeOptions(file=Path("a"), out=Path("b"), rank=rank)
    layers = {key: drawn(shape, f"a {key}") for key, shape in shapes.items()}
    return (
        layers,
        lambda key, layer: resize.resized(key, layer, options, 0.0)[0],
        lambda _, layer: full_svd(update(layer), rank),
    )


def merge_sides(shapes: Shapes, rank: int | None) -> Sides:
    """Returns pairs of layers, renma's way and the peer's; without a rank the peer only sums."""
    options = MergeOptions(files=("a", "b"), out=Path("c"), rank=rank)
    pairs = {key: [drawn(shape, f"{name} {key}") for name in "ab"] for key, shape in shapes.items()}

    def ours(key: str, pair: list[Layer]) -> Layer:
        sources = [
            merge.Source(Path("a"), weight, LoraFile({key: layer}))
            for weight, layer in zip(WEIGHTS, pair, strict=True)
        ]
        return merge.merged_layer(key, sources, options, torch.float32).layer

    def peer(_: str, pair: list[Layer]) -> Tensor:
        whole = sum((w * update(x) for w, x in zip(WEIGHTS, pair, strict=True)), torch.zeros(()))
        return whole if rank is None else full_svd(whole, rank)

    return pairs, ours, peer


def beside(name: str, sides: Sides) -> dict[str, Any]:
    """Runs both sides layer by layer, one after the other."""
    inputs, ours, peer = sides
    seconds = {"renma": 0.0, "peer": 0.0}
    worst = 0.0
    for key, value in inputs.items():
        start = time.process_time()
        layer = ours(key, value)
        middle = time.process_time()
        expected = peer(key, value)
        seconds["renma"] += middle - start
        seconds["peer"] += time.process_time() - middle
        worst = max(worst, ((update(layer) - expected).norm() / expected.norm()).item())
    print(name, seconds, worst, flush=True)
    return {
        "cpu_seconds": {side: round(value, 3) for side, value in seconds.items()},
        "ratio": round(seconds["peer"] / seconds["renma"], 1),
        "largest_deviation": float(f"{worst:.2e}"),
    }


def whole_file(shapes: Shapes, rank: int) -> dict[str, float]:
    """Times renma's tools on two whole half-precision files, disk included."""
    with tempfile.TemporaryDirectory() as folder:
        a, b, c = (Path(folder) / f"{name}.safetensors" for name in "abc")
        for path in (a, b):
            layers = {key: drawn(shape, f"{path.stem} {key}") for key, shape in shapes.items()}
            lora_file.write(path, LoraFile(layers), dtype=torch.float16)
        terms = tuple(f"{path}:{weight}" for path, weight in zip((a, b), WEIGHTS, strict=True))
        runs: dict[str, Callable[[], None]] = {
            "resize": lambda: resize.run(ResizeOptions(file=a, out=c, rank=rank), Silent()),
            "merge_to_rank": lambda: merge.run(
                MergeOptions(files=terms, out=c, rank=RANK), Silent()
            ),
            "merge_exact": lambda: merge.run(MergeOptions(files=terms, out=c), Silent()),
        }
        seconds = {}
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name] = round(time.process_time() - start, 1)
    return seconds


if __name__ == "__main__":
    main()
