"""What a run trains, and for how many steps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from renma.config import Run, layer_table
from renma.config import estimate as arithmetic
from renma.config.adapter import AdapterSection
from renma.core.errors import UserError
from renma.data.order import Order


def total_steps(run: Run, order: Order) -> int:
    """Returns the optimizer steps of the whole run; epochs decide where they are given."""
    if run.train.max_epochs is None:
        return run.train.max_steps
    batches = order.batches_in(run.train.max_epochs)
    return arithmetic.steps_of(batches, batches_per_step(run))


def batches_per_step(run: Run) -> int:
    """Returns the batches of one optimizer step, over all processes."""
    return run.train.gradient_accumulation_steps * max(1, run.train.processes)


def trained_parts(run: Run) -> tuple[str, ...]:
    """Returns which parts are trained: switched on and with a learning rate above 0.

    SDXL's second text encoder is among them for every family; others have no layers there.

    Raises:
        UserError: none is.
    """
    text = run.train.text_encoder
    wanted = {"unet": run.train.unet, "text_encoder": text, "text_encoder_2": text}
    parts = tuple(part for part, on in wanted.items() if on and run.optimizer.rate(part) > 0)
    if not parts:
        raise UserError(
            "nothing would be trained: U-Net and text encoder are off or have learning rate 0",
            where="train.unet",
            remedy="Set train.unet = true and optimizer.learning_rate.",
        )
    return parts


def trained_layers(
    run: Run, adapter: AdapterSection, table: Iterable[layer_table.Slot], base: Path
) -> list[layer_table.Choice]:
    """Returns the layers of the trained parts that an adapter changes, each with its options.

    Raises:
        UserError: there are none.
    """
    parts = trained_parts(run)
    found = [c for c in layer_table.choose(adapter, table, base) if c[0].part in parts]
    if not found:
        raise UserError(
            f"the chosen layers are all outside of what is trained ({', '.join(parts)})",
            where="adapter.targets",
            remedy="Look at targets, and at unet and text_encoder in [train].",
        )
    return found
