"""Draws what has to be compared and measures every tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from renma.core.events import Report
from renma.judge.absorbing.candidates import Candidate
from renma.judge.absorbing.denoiser import Denoiser
from renma.judge.absorbing.drift import Drift, drift
from renma.judge.absorbing.shares import CHANCE, TOLD, Share, chance, joined, share, told_apart
from renma.judge.encoders._base import Encoder

Asked = tuple[str, Path | None]
"""A prompt, and the checkpoint that draws it; None is the base model."""


class Draws(Protocol):
    """Whoever draws prompts, such as the judge's examiner."""

    def draw(self, asked: Sequence[Asked], pictures: int) -> dict[Asked, list[Path]]:
        """Returns the picture files of each prompt, from the same seeds for all."""
        ...


@dataclass(frozen=True)
class Finding:
    """What was measured of a tag.

    Attributes:
        candidate: the tag.
        told: how well the base model's pictures with and without it can be told apart.
        chance: how often shuffled ones are told apart as well.
        absorbed: how much of it the trigger alone brings.
        answers: how much it still adds beside the trigger.
        keeps: how much of it the LoRA draws without the trigger.
        drift: how far pictures with it, without the trigger, have moved.
        usual: how far those without it have.
    """

    candidate: Candidate
    told: float
    chance: float
    absorbed: Share | None = None
    answers: Share | None = None
    keeps: Share | None = None
    drift: Drift | None = None
    usual: Drift | None = None


class Audit:
    """Asks the base model and one checkpoint.

    Args:
        draws: makes pictures.
        denoiser: says whether pictures show a tag.
        encoder: says how far pictures have moved.
        report: told progress.
        pictures: of each prompt.
        seed: of shuffles.
    """

    def __init__(
        self,
        draws: Draws,
        denoiser: Denoiser,
        encoder: Encoder,
        report: Report,
        *,
        pictures: int,
        seed: int,
    ) -> None:
        self._draws, self._denoiser, self._encoder = draws, denoiser, encoder
        self._report, self._count, self._seed = report, pictures, seed
        self._files: dict[Asked, list[Path]] = {}
        self._features: dict[Asked, np.ndarray] = {}
        self._errors: dict[tuple[Asked, str], np.ndarray] = {}

    def findings(
        self, candidates: Sequence[Candidate], trigger: str, checkpoint: Path
    ) -> list[Finding]:
        """Returns what is found of each tag; only what the base model knows is drawn with the LoRA.

        Raises:
            UserError: the checkpoint is broken or for another model.
        """
        base = [(one.prompt(with_tag=tag), None) for one in candidates for tag in (False, True)]
        self._files |= self._draws.draw(base, self._count)
        known = []
        for one in candidates:
            self._tell("tags of the base model", len(known), len(candidates))
            known.append(self._known(one))
        self._tell("tags of the base model", len(known), len(candidates))
        clear = [f.candidate for f in known if f.told >= TOLD and f.chance <= CHANCE]
        tuned: list[Asked] = [
            (one.prompt(word, with_tag=tag), checkpoint)
            for one in clear
            for word in ("", trigger)
            for tag in (False, True)
        ]
        self._files |= self._draws.draw(tuned, self._count)
        found = []
        for finding in known:
            if finding.candidate in clear:
                self._tell("tags", len(found), len(known))
                finding = self._measured(finding, trigger, checkpoint)
            found.append(finding)
        self._tell("tags", len(known), len(known))
        return found

    def _known(self, one: Candidate) -> Finding:
        """Returns whether the base model knows a tag."""
        with_tag, without = joined(*self._seen(one, *self._base(one)))
        seed = self._seed % 2**63
        return Finding(one, told_apart(with_tag, without), chance(with_tag, without, seed))

    def _measured(self, known: Finding, trigger: str, checkpoint: Path) -> Finding:
        one = known.candidate
        drawn = [
            (one.prompt(word, with_tag=tag), checkpoint)
            for word in (trigger, "")
            for tag in (False, True)
        ]
        base, plain = self._base(one)
        with_tag, without, alone, both, own, told = joined(*self._seen(one, base, plain, *drawn))
        unit = with_tag - without
        return Finding(
            one,
            known.told,
            known.chance,
            share(alone, without, unit),
            share(both, alone, unit),
            share(told, own, unit),
            drift(self._looked(drawn[3]), self._looked(base)),
            drift(self._looked(drawn[2]), self._looked(plain)),
        )

    def _base(self, one: Candidate) -> tuple[Asked, Asked]:
        return (one.prompt(with_tag=True), None), (one.prompt(with_tag=False), None)

    def _seen(self, one: Candidate, *sets: Asked) -> list[np.ndarray]:
        """Returns how much better pictures are denoised with the tag (seeds, timesteps)."""
        plain, told = (one.prompt(with_tag=tag) for tag in (False, True))
        return [self._error(asked, plain) - self._error(asked, told) for asked in sets]

    def _error(self, asked: Asked, prompt: str) -> np.ndarray:
        key = (asked, prompt)
        if key not in self._errors:
            pictures = self._opened(asked)
            self._errors[key] = self._denoiser.errors(pictures, [prompt])[0]
        return self._errors[key]

    def _looked(self, asked: Asked) -> np.ndarray:
        if asked not in self._features:
            self._features[asked] = self._encoder.encode(self._opened(asked))
        return self._features[asked]

    def _opened(self, asked: Asked) -> list[Image.Image]:
        found = []
        for path in self._files[asked]:
            with Image.open(path) as picture:
                found.append(picture.convert("RGB"))
        return found

    def _tell(self, what: str, done: int, total: int) -> None:
        self._report.event("working", done=done, total=total, what=what)
