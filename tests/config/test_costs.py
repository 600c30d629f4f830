"""Memory of training beside what was measured on Stable Diffusion 1.5 (A14, E7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from renma.config import costs
from renma.config.adapter import Lora
from renma.config.layer_table import choose
from renma.config.optimizer import AdamW


def test_activations_are_as_measured_on_sd15(published):
    """10,500 bytes a pixel in fp32 were measured with LoRA on the transformer blocks."""
    found = published["sd1"]
    unet = {name: tuple(t.shape) for name, t in found.modules["unet"].state_dict().items()}
    pixels = 512 * 512
    chosen = choose(Lora(rank=4), found.table)
    stand = costs.Footing(
        table=tuple(found.table),
        frozen_numbers=0,
        frozen_bytes=4,
        optimizer=AdamW(),
        pixels=pixels,
        outputs=costs.outputs_per_pixel(unet),
        levels=4,
        factor=8,
        checkpointing=False,
    )
    assert costs.memory(chosen, stand).activations * 2**20 / pixels == pytest.approx(
        10_500, rel=0.02
    )
    half = replace(stand, frozen_bytes=2, checkpointing=True)
    ratio = costs.memory(chosen, half).activations / costs.memory(chosen, stand).activations
    assert ratio == pytest.approx(0.5 * 0.55)
    assert (
        costs.memory(chosen, replace(half, gpu=True)).activations
        < 0.6 * costs.memory(chosen, half).activations
    )


def test_sdxl_keeps_more_a_pixel_than_sd15(published):
    """Its transformers are up to ten layers deep; both U-Nets begin with 320 channels."""
    each = {}
    for name in ("sd1", "sd2", "sdxl"):
        rows = published[name].modules["unet"].state_dict().items()
        each[name] = costs.outputs_per_pixel({key: tuple(t.shape) for key, t in rows})
    assert each["sd2"] == pytest.approx(each["sd1"])
    assert 1.8 < each["sdxl"] / each["sd1"] < 2.2


def test_encoding_needs_more_for_larger_pictures_and_the_weights_at_least():
    vae = {"encoder.conv_in.weight": (128, 3, 3, 3), "x": (1000, 1000)}
    small, large = (costs.caching_bytes(vae, side * side) for side in (256, 1024))
    weights = 4 * (128 * 27 + 10**6)
    assert (large - weights) / (small - weights) == pytest.approx(16)
    assert small > weights
