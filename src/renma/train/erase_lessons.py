"""Lessons from words alone: unfinished pictures of the target, drawn with the LoRA as it is now.

Everything random about a lesson is a function of the run's seed and the lesson's number, and the
pictures of those and the weights, so a resumed run learns what an undisturbed one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from renma.config import Run
from renma.config.erase import ErasePrompt
from renma.core import keyed
from renma.diffusion.schedule import NoiseSchedule
from renma.engine.course import Course, Place, walk
from renma.engine.network import Network
from renma.engine.offload import evaluating
from renma.engine.sample import Encode, guided
from renma.engine.text_states import TextStates
from renma.families._base import Condition, Family
from renma.train.erase_settings import grain_of
from renma.train.lessons import schedule_of
from renma.train.objectives import erase


@dataclass(frozen=True)
class Draw:
    """All that is random about a lesson.

    Attributes:
        concept: which concept it is about.
        gone: numbers of steps, ascending, after which the pictures are learnt from.
        width: in pixels.
        height: in pixels.
        seeds: of the pictures' noise.
        sizes: (pictures, 6) what SDXL is told about the pictures.
    """

    concept: ErasePrompt
    gone: tuple[int, ...]
    width: int
    height: int
    seeds: tuple[int, ...]
    sizes: Tensor


@dataclass(frozen=True)
class EraseLesson:
    """Unfinished pictures of one concept's target.

    Attributes:
        lessons: whose lesson it is.
        drawn: how it came to be.
        inputs: (samples, channels, h, w), all pictures at the first place, then at the second, ...
        steps: (samples,) the timesteps as the sampler has them.
    """

    lessons: EraseLessons
    drawn: Draw
    inputs: Tensor
    steps: Tensor

    @property
    def names(self) -> list[str]:
        """The target, for each sample."""
        return [f"'{self.drawn.concept.target}'"] * len(self.inputs)

    @property
    def timesteps(self) -> Tensor:
        """The nearest whole timestep of each sample."""
        return self.steps.round().long()

    def loss(self) -> Tensor:
        """Returns the sum over the samples of how far the target's prediction is from its goal."""
        own, places = self.lessons, len(self.drawn.gone)
        off = partial(own.network.at, unet=0.0, text_encoder=0.0)
        say = partial(own.say, sizes=self.drawn.sizes.repeat(places, 1))
        concept = self.drawn.concept
        return erase.loss(own.family, concept, self.inputs, self.steps, say, off).sum()


@dataclass(frozen=True)
class EraseLessons:
    """Lessons from the concepts of a run.

    Args:
        run: the run, its concepts written out.
        family: the frozen model, with ``network`` attached.
        network: what is trained.
        text: the states of all texts.
    """

    run: Run
    family: Family
    network: Network
    text: TextStates

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule of the ways."""
        return schedule_of(self.run, self.family)

    @property
    def encode(self) -> Encode:
        """The cached texts: the text encoders have left."""
        return self.text.condition

    def count(self, number: int) -> int:
        """Returns how many samples a lesson has."""
        return self._concept(number).batch_size * self.run.erase.points

    def fingerprint(self) -> dict[str, str]:
        """Returns nothing: all that is learnt from stands in the run itself."""
        return {}

    def lesson(self, number: int, step: int) -> EraseLesson:  # noqa: ARG002
        """Returns a lesson; the network must act as it does after the steps done so far."""
        drawn = self.draw(number)
        places = self.places(drawn)
        count = len(drawn.seeds)
        steps = torch.cat([place.timestep.reshape(1).expand(count) for place in places])
        inputs = torch.cat([place.inputs for place in places])
        return EraseLesson(self, drawn, inputs, steps)

    def draw(self, number: int) -> Draw:
        """Returns everything random about a lesson."""
        concept, config, seed = self._concept(number), self.run.erase, self.run.train.seed
        first, last = config.range
        picked = keyed.rng(seed, "erase places", number).sample(
            range(first, last + 1), config.points
        )
        native = self.family.native_size
        side = concept.side(native)
        width, height = side, side
        if concept.dynamic_resolution:
            sides = dynamic_sides(side, native)
            rng = keyed.rng(seed, "erase size", number)
            width, height = rng.choice(sides), rng.choice(sides)
        seeds = [keyed.key(seed, "erase noise", number, i) for i in range(concept.batch_size)]
        told = [self._told(concept, width, height, number, place) for place in range(len(seeds))]
        return Draw(concept, tuple(sorted(picked)), width, height, tuple(seeds), torch.tensor(told))

    @torch.no_grad()
    def places(self, drawn: Draw) -> list[Place]:
        """Returns the places of a lesson's way, gone with the network as it is."""
        concept, config = drawn.concept, self.run.erase
        texts = [concept.target]
        if config.guidance > 1 and concept.unconditional != concept.target:
            texts.insert(0, concept.unconditional)
        condition = self.say(texts, drawn.sizes)

        def predict(inputs: Tensor, timestep: Tensor) -> Tensor:
            rows = torch.cat([inputs] * len(texts))
            output = self.family.predict(rows, timestep.expand(len(rows)), condition)
            if len(texts) == 1:
                return output
            without, with_text = output.chunk(2)
            return guided(without, with_text, config.guidance)

        course = Course(drawn.width, drawn.height, config.sampler, config.steps)
        given = (drawn.seeds, predict, self.schedule.sampler_config())
        found: list[Place] = []
        with evaluating(self.family):
            for place in walk(self.family, course, *given):
                if place.gone in drawn.gone:
                    found.append(place)
                if place.gone == drawn.gone[-1]:  # the rest of the way is not needed
                    break
        return found

    def say(self, texts: Sequence[str], sizes: Tensor) -> Condition:
        """Returns the condition of all samples under the first text, then the second, ...

        Args:
            texts: the texts.
            sizes: (samples, 6) what the model is told about each.
        """
        count, device = len(sizes), self.family.device
        condition = self.text.condition([text for text in texts for _ in range(count)])
        if not self.family.wants_sizes:
            return condition
        return condition.with_sizes(sizes.repeat(len(texts), 1).to(device))

    def _concept(self, number: int) -> ErasePrompt:
        return keyed.rng(self.run.train.seed, "erase prompt", number).choice(self.run.erase.prompts)

    def _told(
        self, concept: ErasePrompt, width: int, height: int, number: int, place: int
    ) -> list[int]:
        """Returns original height and width, top and left of the crop, height and width."""
        if not concept.dynamic_crops:
            return [height, width, 0, 0, height, width]
        rng = keyed.rng(self.run.train.seed, "erase crop", number, place)
        grown = rng.uniform(1, 3)
        high, wide = int(height * grown), int(width * grown)
        return [
            high,
            wide,
            rng.randint(0, high - height),
            rng.randint(0, wide - width),
            height,
            width,
        ]


def dynamic_sides(side: int, native: int) -> range:
    """Returns the sides that ``dynamic_resolution`` draws from: half of a side to the whole.

    Args:
        side: in pixels.
        native: the model's own side.
    """
    grain = grain_of(native)
    return range(max(grain, side // 2 // grain * grain), side + 1, grain)
