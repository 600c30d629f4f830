"""The loss on held-out pictures: the same noise and timesteps every time, so that it compares."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from renma.train.feed import Fed
from renma.train.objectives.held_out import held_out_draws, held_out_loss

if TYPE_CHECKING:
    from renma.train.loop import Trainer


class Validation:
    """Measures the loss on pictures that training never shows.

    Args:
        batches: the held-out pictures.
    """

    def __init__(self, batches: list[Fed]) -> None:
        self.batches = batches

    def loss(self, trainer: Trainer) -> float:
        """Returns the mean over pictures and timesteps."""
        run, family = trainer.run, trainer.family
        off = partial(trainer.network.at, unet=0.0, text_encoder=0.0)
        total, count = 0.0, 0
        for batch in self.batches:
            names = [f"{epoch} {position}" for epoch, position in batch.places]
            given = (run.train.seed, trainer.schedule, run.objective)
            drawn = held_out_draws(batch.moments, names, *given)
            condition, samples = trainer.conditioned(batch)
            each = held_out_loss(
                family,
                trainer.schedule,
                [draws.to(trainer.device) for draws in drawn],
                condition,
                samples,
                run.objective,
                off,
            )
            total, count = total + each.sum().item(), count + len(names)
        return total / count
