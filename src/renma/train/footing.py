"""What a run's memory depends on besides its adapter, read off headers and options."""

from __future__ import annotations

import math
from pathlib import Path

from renma.config import Run, costs
from renma.config.layer_table import Slot
from renma.data.captions import variants
from renma.data.order import Order
from renma.formats.model_facts import ModelFacts
from renma.train.trained import trained_parts

_DRIVER = Path("/proc/driver/nvidia/version")


def footing(run: Run, model: ModelFacts, order: Order, slots: tuple[Slot, ...]) -> costs.Footing:
    """Returns what memory depends on besides the adapter.

    Args:
        run: the run.
        model: its base model.
        order: its batches.
        slots: every layer of the model.
    """
    unet = model.shapes["unet"]
    kept = ["unet", *(part for part in texts_kept(run, order) if part in model.parts)]
    few = run.model.quantize
    packed = {name: costs.few_bits(name, shape, few) for name, shape in unet.items()}
    return costs.Footing(
        table=slots,
        frozen_numbers=sum(math.prod(s) for part in kept for s in model.shapes[part].values()),
        frozen_bytes=4 if run.train.precision == "fp32" else 2,
        quantised_numbers=sum(math.prod(unet[name]) for name, size in packed.items() if size),
        quantised_bytes=sum(packed.values()),
        optimizer=run.optimizer,
        pixels=max(b.size[0] * b.size[1] * len(b.showings) for b in order.epoch(0)),
        outputs=costs.outputs_per_pixel(unet),
        levels=costs.levels_of(unet),
        factor=model.latent_factor,
        checkpointing=run.train.gradient_checkpointing,
        gpu=on_gpu(run),
    )


def on_gpu(run: Run) -> bool:
    """Says whether training will compute on a GPU, as far as that is known without torch."""
    return run.train.device != "cpu" and _DRIVER.exists()


def texts_kept(run: Run, order: Order) -> tuple[str, ...]:
    """Returns the text encoders that stay loaded: trained ones, or where captions are endless."""
    parts = trained_parts(run)
    if set(parts) <= {"unet"} and not endless_captions(order):
        return ()
    return ("text_encoder", "text_encoder_2")


def endless_captions(order: Order) -> bool:
    """Says whether the showings have more captions than can be encoded ahead."""
    return any(variants(item) is None for scanned in order.sets for item in scanned.items)
