"""The loss on held-out pictures: the same noise and timesteps every time, so that it compares."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from renma.config import Run
from renma.train.feed import HeldOut
from renma.train.lessons import Lessons, PictureLessons
from renma.train.objectives.held_out import held_out_draws, held_out_loss

if TYPE_CHECKING:
    from renma.train.loop import Trainer


class Validation:
    """Measures the loss on pictures that training never shows.

    Args:
        lessons: say what the model is told about a picture.
        batches: the held-out pictures.
    """

    def __init__(self, lessons: PictureLessons, batches: HeldOut) -> None:
        self.lessons, self.batches = lessons, batches

    @classmethod
    def of(cls, lessons: Lessons, run: Run) -> Validation | None:
        """Returns what a run measures, or None if nothing is held out; no latents are read yet."""
        if not isinstance(lessons, PictureLessons):
            return None
        batches = lessons.feed.held_out(run.train.max_validation_batches)
        return cls(lessons, batches) if len(batches) else None

    @torch.no_grad()
    def loss(self, trainer: Trainer) -> float:
        """Returns the mean over pictures and timesteps."""
        run, family = trainer.run, trainer.family
        off = partial(trainer.network.at, unet=0.0, text_encoder=0.0)
        total, count = 0.0, 0
        for batch in self.batches:
            given = (run.train.seed, trainer.schedule, run.objective)
            drawn = held_out_draws(batch.moments, batch.digests, *given)
            condition, samples = self.lessons.conditioned(batch)
            each = held_out_loss(
                family,
                trainer.schedule,
                [draws.to(trainer.device) for draws in drawn],
                condition,
                samples,
                run.objective,
                off,
            )
            total, count = total + each.sum().item(), count + len(batch.names)
        return total / count
