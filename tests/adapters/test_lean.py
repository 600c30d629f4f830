"""What one adapted layer costs: FLOPs and bytes kept for the backward pass, beside PEFT, LyCORIS.

Counted on shapes alone (fake tensors) by the benchmark's own counters, which are tested first.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "benchmarks" / "adapter_layers.py"


@pytest.fixture(scope="module")
def bench():
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("adapter_layers", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_counters_count_what_the_formulas_say(bench):
    """Frozen: N d^2 multiply-adds each way. PEFT's LoRA: A, B, and two products for each back."""
    d, n, r = 64, 48, 4
    cell = bench.Cell("lora", d, n, r, "fp32")
    frozen = bench.count(cell, "frozen")
    assert frozen == {"flops": 2 * 2 * n * d * d, "kept": 0, "keeps_x": 0}
    chain = bench.count(cell, "peft")
    assert chain["flops"] == frozen["flops"] + 6 * 2 * n * d * r
    assert (chain["kept"], chain["keeps_x"]) == (n * r * 4, n * d * 4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("algo", ["lora", "lora_fa", "dora", "loha", "lokr", "lokr_full", "ia3"])
def test_shapes_alone_give_the_counts_of_a_real_run(bench, algo, precision):
    cell = bench.Cell(algo, 64, 160, 3, precision)
    for name in bench.subjects(cell):
        assert bench.count(cell, name) == bench.count(cell, name, fake=False), name


LIMITS = {"lora": 1.08, "dora": 1.08, "loha": 1.55, "lokr": 1.21, "lokr_full": 1.21}


@pytest.mark.parametrize(("algo", "limit"), LIMITS.items())
def test_flops_beside_the_frozen_layer_alone(bench, algo, limit):
    cell = bench.Cell(algo, 640, 1024, 16, "fp32")
    alone = bench.count(cell, "frozen")["flops"]
    assert round(bench.count(cell, "renma")["flops"] / alone, 2) <= limit


def bytes_of(bench, cell, name):
    found = bench.count(cell, name)
    return found["kept"] + found["keeps_x"]


@pytest.mark.parametrize("peer", ["peft", "lycoris", "lycoris_bypass"])
@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("algo", ["lora", "lora_fa", "loha", "lokr", "lokr_full"])
def test_no_more_bytes_are_kept_than_peers_keep(bench, algo, width, peer):
    cell = bench.Cell(algo, width, 1024, 32, "fp32")
    assert bytes_of(bench, cell, "renma") <= bytes_of(bench, cell, peer)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("tokens", [64, 4096])
def test_lora_fa_keeps_neither_its_input_nor_a_gradient_of_a(bench, tokens, precision):
    rank, width = 8, 320
    cell = bench.Cell("lora_fa", width, tokens, rank, precision)
    found = bench.count(cell, "renma")
    size = 4 if precision == "fp32" else 2
    copies = 0 if precision == "fp32" else 2 * rank * width * size  # A and B, cast
    assert found["keeps_x"] == 0
    assert found["kept"] == tokens * rank * size + copies
    trained = bench.build(cell, "renma").trained
    assert [tuple(tensor.shape) for tensor in trained] == [(width, rank)]  # B alone


# SD 1.5, 64 x 64 latents: channels, tokens, transformer blocks (down, middle and up together)
BLOCKS = ((320, 4096, 2 + 3), (640, 1024, 2 + 3), (1280, 256, 2 + 3), (1280, 64, 1))
TEXT = (768, 77)  # channels and tokens of the caption


def sd15_layers():
    """Yields (input tensor, inputs, outputs, tokens) of every linear layer in transformer blocks.

    Layers with the same input tensor have the same first entry: q, k and v of self-attention, and
    k and v of all cross-attentions, which read the caption.
    """
    for width, tokens, blocks in BLOCKS:
        for block in range(blocks):

            def at(name, block=(width, tokens, block)):
                return (*block, name)

            for _ in "qkv":
                yield at("norm1"), width, width, tokens
            yield at("self-attention"), width, width, tokens
            yield at("norm2"), width, width, tokens
            for _ in "kv":
                yield "caption", TEXT[0], width, TEXT[1]
            yield at("cross-attention"), width, width, tokens
            yield at("norm3"), width, 8 * width, tokens  # twice 4: values and their gates
            yield at("gated"), 4 * width, width, tokens


def kept_in_unet(bench, algo, *, others_keep=()):
    """Bytes that the adapted layers of the U-Net keep in fp32, batch 1, rank 32.

    Counting rule: for each layer what it keeps beside its input, parameters and frozen weight
    (measured on its shape); and each distinct input tensor once if any layer that reads it keeps
    it, but not those that ``others_keep`` names by the last word: the rest of the network needs
    them in any case.
    """
    measured = cache(lambda *of: bench.count(bench.Cell(algo, *of[:3], "fp32", of[3]), "renma"))
    total, inputs = 0, {}
    for source, columns, rows, tokens in sd15_layers():
        found = measured(columns, tokens, 32, rows)
        total += found["kept"]
        if found["keeps_x"] and source[-1] not in others_keep:
            inputs[source] = found["keeps_x"]
    return total + sum(inputs.values())


def test_lora_fa_keeps_30_percent_fewer_bytes_than_lora_over_all_layers_of_sd15(bench):
    assert len(list(sd15_layers())) == 160  # 192 of kohya's count less 32 proj_in and proj_out
    lora, frozen_a = (kept_in_unet(bench, algo) for algo in ("lora", "lora_fa"))
    assert frozen_a <= 0.7 * lora
    # fused attention keeps its output itself; without those inputs too
    attention = ("self-attention", "cross-attention")
    lora, frozen_a = (kept_in_unet(bench, a, others_keep=attention) for a in ("lora", "lora_fa"))
    assert frozen_a <= 0.7 * lora
