"""What the loop learns from: pictures with captions here, words alone in another file.

The loop asks for batch 0, 1, 2, ... and gets a lesson for each; what the lesson compares is its own
affair. A lesson is a pure function of its number and the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import torch
from torch import Tensor

from renma.config import Run
from renma.diffusion.schedule import NoiseSchedule
from renma.engine.network import Network
from renma.engine.sample import Encode
from renma.engine.text_states import TextStates
from renma.families._base import Condition, Family
from renma.train.contents import KEY
from renma.train.feed import Fed, Feed
from renma.train.objectives import denoise
from renma.train.objectives.draws import Draws, draw


def schedule_of(run: Run, family: Family) -> NoiseSchedule:
    """Returns the noise schedule that a run trains a model with."""
    return NoiseSchedule.of(family.scheduler_config, run.objective.zero_terminal_snr)


class Lesson(Protocol):
    """One batch of samples."""

    @property
    def names(self) -> list[str]:
        """What was shown, for messages."""
        ...

    @property
    def timesteps(self) -> Tensor:
        """The timestep of each sample, (samples,)."""
        ...

    def loss(self) -> Tensor:
        """Returns the sum of the samples' losses, with gradient."""
        ...


class Lessons(Protocol):
    """The endless row of lessons of a run."""

    @property
    def encode(self) -> Encode | None:
        """How previews turn prompts into conditions; None where the text encoders are there."""
        ...

    def count(self, number: int) -> int:
        """Returns how many samples a batch has."""
        ...

    def lesson(self, number: int, step: int) -> Lesson:
        """Returns a batch.

        Args:
            number: of the batch, counted over the whole run.
            step: optimizer steps done.
        """
        ...

    def fingerprint(self) -> Mapping[str, str]:
        """Returns digests of what is learnt from, by what it is, to notice changes on resume."""
        ...


@dataclass(frozen=True)
class PictureLesson:
    """Pictures at drawn timesteps with drawn noise."""

    lessons: PictureLessons
    batch: Fed
    draws: Draws

    @property
    def names(self) -> list[str]:
        """The pictures."""
        return self.batch.names

    @property
    def timesteps(self) -> Tensor:
        """The timestep of each picture."""
        return self.draws.timesteps

    def loss(self) -> Tensor:
        """Returns the sum over the pictures of what denoising missed."""
        return self.lessons.loss(self.batch, self.draws).sum()


@dataclass(frozen=True)
class PictureLessons:
    """Lessons from pictures and captions.

    Args:
        run: the run.
        family: the frozen model, with ``network`` attached.
        network: what is trained.
        feed: batches by number.
        text: cached caption states, or None if a text encoder is trained.
    """

    run: Run
    family: Family
    network: Network
    feed: Feed
    text: TextStates | None

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule that is trained."""
        return schedule_of(self.run, self.family)

    @property
    def encode(self) -> Encode | None:
        """The cached texts, where the text encoders have left."""
        return self.text.condition if self.text else None

    def count(self, number: int) -> int:
        """Returns how many pictures a batch shows."""
        return self.feed.count(number)

    def lesson(self, number: int, step: int) -> PictureLesson:
        """Returns a batch of pictures."""
        batch = self.feed.batch(number, step)
        return PictureLesson(self, batch, self.draws(batch))

    def fingerprint(self) -> dict[str, str]:
        """Returns the digest of all pictures, masks and captions."""
        return {KEY: self.feed.fingerprint()}

    def draws(self, batch: Fed) -> Draws:
        """Returns timesteps and noise of a batch, on the model's device."""
        seed, objective = self.run.train.seed, self.run.objective
        drawn = draw(batch.moments, batch.places, seed, self.schedule, objective)
        return drawn.to(self.family.device)

    def loss(self, batch: Fed, draws: Draws) -> Tensor:
        """Returns the loss of each picture, (pictures,)."""
        condition, samples = self.conditioned(batch)
        off = partial(self.network.at, unet=0.0, text_encoder=0.0)
        config = self.run.objective
        return denoise.loss(self.family, self.schedule, draws, condition, samples, config, off)

    def conditioned(self, batch: Fed) -> tuple[Condition, denoise.Samples]:
        """Returns what the text says to the U-Net, and what is special about the samples."""
        device = self.family.device
        condition = self._condition(batch)
        preserve = batch.preserve.to(device) if batch.preserve.any() else None
        plain = None
        if preserve is not None and self.text is None:
            with torch.no_grad(), self.network.at(unet=0.0, text_encoder=0.0):
                plain = self._condition(batch)
        masks = None if batch.masks is None else batch.masks.to(device)
        return condition, denoise.Samples(batch.weights.to(device), masks, preserve, plain)

    def _condition(self, batch: Fed) -> Condition:
        encode = self.family.encode_text if self.text is None else self.text.condition
        condition = encode(batch.captions)
        if not self.family.wants_sizes:
            return condition
        return condition.with_sizes(batch.sizes.to(self.family.device))
