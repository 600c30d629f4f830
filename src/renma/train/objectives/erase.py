"""Erasing and enhancing concepts: the model's answer to words becomes its answer to others.

    loss = mean((e(target) - (e(neutral) -+ guidance (e(positive) - e(unconditional))))^2)

with minus to erase and plus to enhance. On the right everything is the frozen model's (LECO,
p1atdev; after ESD, arXiv 2303.07345, equation 6). All answers are about the same latents at the
same timestep, so a v-prediction model's velocities take the place of its noise as they are:
the one is the other scaled, plus what is common to all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from renma.config.erase import ErasePrompt
from renma.families._base import Condition, Family

Off = Callable[[], AbstractContextManager[object]]
"""Gives a context in which the trained network does not act."""
Say = Callable[[Sequence[str]], Condition]
"""From texts to the condition of all samples under the first text, then under the second, ..."""


def loss(
    family: Family, concept: ErasePrompt, inputs: Tensor, timesteps: Tensor, say: Say, off: Off
) -> Tensor:
    """Returns the loss of each sample, (samples,) in float32.

    Args:
        family: the model with the trained network attached.
        concept: what is to look like what.
        inputs: latents as the model is shown them, (samples, channels, h, w).
        timesteps: of them, (samples,).
        say: the conditions of texts.
        off: gives a context in which the model is frozen.
    """
    with torch.no_grad(), off():
        goal = wanted(concept, answers(family, concept.frozen_texts, inputs, timesteps, say))
    own = answers(family, (concept.target,), inputs, timesteps, say)[concept.target]
    return (own - goal).square().mean(dim=(1, 2, 3))


def answers(
    family: Family, texts: Sequence[str], inputs: Tensor, timesteps: Tensor, say: Say
) -> dict[str, Tensor]:
    """Returns what the model predicts for each text, shaped like ``inputs``, in one batch."""
    count = len(texts)
    output = family.predict(torch.cat([inputs] * count), timesteps.repeat(count), say(texts))
    return dict(zip(texts, output.float().chunk(count), strict=True))


def wanted(concept: ErasePrompt, answers: dict[str, Tensor]) -> Tensor:
    """Returns the prediction that the target is to get.

    Args:
        concept: what is to look like what.
        answers: the frozen model's, by text.
    """
    if not concept.guidance_scale:
        return answers[concept.like]
    sign = 1 if concept.action == "enhance" else -1
    concept_alone = answers[concept.away] - answers[concept.unconditional]
    return answers[concept.like] + sign * concept.guidance_scale * concept_alone
