"""Puts one checkpoint after another to the same questions, and measures the answers.

Pictures lie in the run's ``cells/``, each drawn once, so judging goes on where it was interrupted
and a run that was judged while it trained is not drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from renma.config.picture_recipe import Recipe, UsedLora
from renma.config.prompts import Prompt
from renma.core import keyed
from renma.core.errors import UserError
from renma.core.events import Report
from renma.data.captions import plain_caption
from renma.data.folder import expand, scan
from renma.data.item import Item
from renma.data.pictures import read_rgb
from renma.drawing.painter import Cells, Device, Painter
from renma.drawing.picture_source import Shelf, Source, lora_name
from renma.drawing.questions import Question, Questions, questions
from renma.judge.folder import RunRecord
from renma.judge.health import health
from renma.judge.scoring.measure import Drawn, Scores, Yardstick
from renma.judge.scoring.subject import FEWEST

if TYPE_CHECKING:
    from renma.families._base import Family
    from renma.judge.encoders._base import Encoder
    from renma.judge.scoring.losses import Losses

MOST = 200
"""Real pictures that are looked at; of more, evenly spaced ones."""
LOOKED_AT = 16
"""Pictures in memory at once; a camera's take 100 MB each."""
WEIGHT = 1.0
"""LoRA weight that checkpoints are judged at."""


@dataclass(frozen=True)
class Manner:
    """How a run is judged.

    Attributes:
        encoder: ``KIND:FOLDER``; empty is the base model's own U-Net.
        pictures: of each of the run's own prompts; None as the run says.
        device: where to compute.
        precision: of the base model; None as the run says.
        batch_size: pictures computed at once.
    """

    encoder: str = ""
    pictures: int | None = None
    device: Device = "auto"
    precision: str | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class Answers:
    """What was drawn for all questions.

    Attributes:
        trigger: files of pictures with the trigger.
        plain: files of pictures without.
        scores: measured of them.
    """

    trigger: list[Path]
    plain: list[Path]
    scores: Scores


class Examiner:
    """Asks and measures.

    Args:
        record: the run.
        report: told progress.
        manner: how it is judged.
        loaded: the base model, if it is in memory already; it carries no LoRA.
        painter: draws (default: into the run's ``cells/``).
        encoder: turns pictures into features (default: as ``manner`` says).

    Raises:
        UserError: nothing can be asked, or the data set is gone.
    """

    def __init__(
        self,
        record: RunRecord,
        report: Report,
        manner: Manner | None = None,
        *,
        loaded: Family | None = None,
        painter: Painter | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.record, self.report, self.manner = record, report, manner or Manner()
        run = record.run
        if self.manner.pictures is not None:
            judge = run.judge.model_copy(update={"pictures": self.manner.pictures})
            run = run.model_copy(update={"judge": judge})
        if run.erase.on:
            raise UserError(
                "was trained from words alone: there are no pictures to judge it by",
                where=record.path / "run.toml",
                remedy=f"See what it draws: renma grid {record.path}",
            )
        sets = scan(expand(run.data, record.path), run.data).sets
        self.training = _some([i for s in sets for i in s.items if not i.subset.is_reg])
        held_out = _some([i for s in sets for i in s.held_out])
        # of one or two pictures nothing can be said
        self.held_out = held_out if len(held_out) >= FEWEST else []
        self.questions: Questions = questions(run, [plain_caption(i) for i in self.training])
        self._loaded, self._painter, self._encoder = loaded, painter, encoder
        self._known: dict[Path, UsedLora] = {}

    @cached_property
    def family(self) -> Family:
        """The base model, with what the run was trained upon."""
        if self._loaded is not None:
            return self._loaded
        from renma.engine.begin import apply_base_weights
        from renma.engine.model import load_family

        run = self.record.run
        family = load_family(
            run.model,
            device=self.manner.device,
            precision=self._basis[0]["precision"],
            base=self.record.path,
        )
        apply_base_weights(family, run.start, self.record.path)
        return family

    @cached_property
    def encoder(self) -> Encoder:
        """Turns pictures into features."""
        if self._encoder is not None:
            return self._encoder
        if self.manner.encoder:
            from renma.judge.encoders._base import encoder_of

            return encoder_of(self.manner.encoder, self.manner.device)
        from renma.judge.encoders.unet import UnetEncoder

        return UnetEncoder(self.family)

    @cached_property
    def base(self) -> Answers:
        """What the base model answers."""
        trigger, plain = self._paint(None)
        scores = self.yardstick.measured(self.yardstick.base)
        self._loss(scores, None)
        return Answers(trigger, plain, scores)

    @cached_property
    def yardstick(self) -> Yardstick:
        """What answers are measured with."""
        self.check()
        held = self._features(self.held_out) if self.held_out else None
        drawn = self._drawn(*self._paint(None))
        numbers = (_numbers(self.questions.trigger), _numbers(self.questions.plain))
        try:
            return Yardstick(self._features(self.training), held, drawn, *numbers)
        except ValueError as error:
            raise UserError(
                f"cannot be judged: {error}",
                where=self.record.path / "run.toml",
                remedy="Ask for what only the pictures show, show more of them, or give --encoder.",
            ) from error

    def check(self) -> None:
        """Makes sure that there are pictures to judge by.

        Raises:
            UserError: there are too few.
        """
        if len(self.training) < FEWEST:
            raise UserError(
                f"{len(self.training)} training pictures are too few to judge by",
                where=self.record.path / "run.toml",
                remedy=f"Likeness needs {FEWEST} at least.",
            )
        asked = (*self.questions.trigger, *self.questions.plain)
        if sum(one.pictures for one in asked) < 2:
            raise UserError(
                "a single picture drawn is too few to judge by",
                where=self.record.path / "run.toml",
                remedy="Raise judge.pictures.",
            )

    def ask(self, checkpoints: Sequence[Path]) -> None:
        """Draws all pictures of the base model and of checkpoints that are not there yet.

        Raises:
            UserError: a file is broken or for another model, there are too few pictures, or no such
                encoder.
        """
        self.check()
        if self.manner.encoder:
            _ = self.encoder  # a mistake in its name is told before hours of drawing
        shots = [*_shots(self.questions.trigger), *_shots(self.questions.plain)]
        self._cells.paint(
            [self._recipe(shot, one) for one in (None, *checkpoints) for shot in shots]
        )

    def draw(
        self, asked: Sequence[tuple[str, Path | None]], pictures: int
    ) -> dict[tuple[str, Path | None], list[Path]]:
        """Draws other prompts than the run's questions, all of them from the same noise.

        Args:
            asked: prompts, each with the checkpoint that draws it; None is the base model.
            pictures: of each.

        Returns:
            The files of each.

        Raises:
            UserError: a checkpoint is broken or for another model.
        """
        unique = list(dict.fromkeys(asked))
        recipes = [self._recipe((text, 0, i), who) for text, who in unique for i in range(pictures)]
        paths = self._cells.paint(recipes)
        rows = [paths[i * pictures : (i + 1) * pictures] for i in range(len(unique))]
        return dict(zip(unique, rows, strict=True))

    def examine(self, checkpoint: Path) -> Answers:
        """Returns what a checkpoint answers.

        Raises:
            UserError: its file is broken or for another model.
        """
        yardstick = self.yardstick  # first: the base model draws before any LoRA does
        trigger, plain = self._paint(checkpoint)
        scores = yardstick.measured(self._drawn(trigger, plain))
        self._loss(scores, checkpoint)
        told = health(checkpoint)
        scores.values["not_finite"] = told.not_finite
        if told.norm is not None:
            scores.values["norm"] = told.norm
        if told.effective_rank is not None:
            scores.values["effective_rank"] = told.effective_rank
        return Answers(trigger, plain, scores)

    def _paint(self, checkpoint: Path | None) -> tuple[list[Path], list[Path]]:
        asked, plain = self.questions.trigger, self.questions.plain
        recipes = [self._recipe(shot, checkpoint) for shot in (*_shots(asked), *_shots(plain))]
        paths = self._cells.paint(recipes)
        count = sum(one.pictures for one in asked)
        return paths[:count], paths[count:]

    @cached_property
    def _cells(self) -> Painter:
        return self._painter or Cells(
            self.record.path / "cells",
            self.report,
            device=self.manner.device,
            batch_size=self.manner.batch_size,
            # with LoRAs that stand below, recipes name them and this model has them inside
            model=None if self._basis[1] else lambda: self.family,
        )

    @cached_property
    def _basis(self) -> tuple[dict[str, Any], tuple[UsedLora, ...], int]:
        any_one = self.record.need_checkpoints()[0].path
        source = Source.of_run(self.record.run, self.record.path, any_one)
        facts = source.facts()
        basis = source.basis(facts)
        if self._loaded is not None:
            basis["precision"] = _precision_of(self._loaded)
        elif self.manner.precision:
            basis["precision"] = self.manner.precision
        shelf = Shelf(None, {})
        standing = shelf.standing(source)
        return basis, standing, facts.native_size

    def _recipe(self, shot: tuple[str, int, int], checkpoint: Path | None) -> Recipe:
        text, number, index = shot
        basis, standing, side = self._basis
        run = self.record.run
        how = run.sample
        prompt = Prompt(
            text=text,
            seed=keyed.key(run.train.seed, "judge", number, index) % 2**31,
            width=side,
            height=side,
            steps=how.steps,
            scale=how.scale,
            sampler=how.sampler,
            rescale=how.rescale,
        )
        loras = standing
        if checkpoint is not None:
            loras = (*standing, self._used(checkpoint))
        return Recipe(**basis, loras=loras, prompt=prompt)

    def _used(self, checkpoint: Path) -> UsedLora:
        if checkpoint not in self._known:  # hashed once, not for every picture
            shelf = Shelf(None, {})
            used = shelf.used(lora_name(checkpoint), checkpoint, WEIGHT, WEIGHT)
            self._known[checkpoint] = used
        return self._known[checkpoint]

    def _drawn(self, trigger: Sequence[Path], plain: Sequence[Path]) -> Drawn:
        features = self._encoded([*trigger, *plain])
        return Drawn(features[: len(trigger)], features[len(trigger) :])

    def _features(self, items: Sequence[Item]) -> np.ndarray:
        return self._encoded([item.path for item in items])

    def _encoded(self, paths: Sequence[Path]) -> np.ndarray:
        parts = [paths[i : i + LOOKED_AT] for i in range(0, len(paths), LOOKED_AT)]
        pictures = ([Image.fromarray(read_rgb(path)) for path in part] for part in parts)
        found = np.concatenate([self.encoder.encode(some) for some in pictures])
        if not np.isfinite(found).all():
            bad = paths[int(np.flatnonzero(~np.isfinite(found).all(1))[0])]
            raise UserError(
                f"{self.encoder.name} sees no numbers in it (NaN)",
                where=bad,
                remedy="Judge in higher precision: --precision fp32.",
            )
        return found

    @cached_property
    def _losses(self) -> Losses:
        from renma.diffusion.schedule import NoiseSchedule
        from renma.judge.scoring.losses import Losses, Real

        items = self.held_out or self.training
        real = [Real(item.path, plain_caption(item)) for item in items]
        terminal = self.record.run.objective.zero_terminal_snr
        return Losses(self.family, real, NoiseSchedule.of(self.family.scheduler_config, terminal))

    def _loss(self, scores: Scores, checkpoint: Path | None) -> None:
        from contextlib import nullcontext

        from renma.engine.network import Network

        network = Network.from_file(self.family, checkpoint) if checkpoint else None
        with network.at() if network else nullcontext():
            each = self._losses.measure()
        scores.each["loss"] = each
        scores.values["loss"] = float(each.mean())


def _precision_of(family: Family) -> str:
    from renma.engine.model import DTYPES

    dtype = next(family.parts()["unet"].parameters()).dtype
    return next((name for name, known in DTYPES.items() if known == dtype), "fp32")


def _numbers(asked: Sequence[Question]) -> list[int]:
    return [number for number, one in enumerate(asked) for _ in range(one.pictures)]


def _shots(asked: Sequence[Question]) -> list[tuple[str, int, int]]:
    return [(q.text, number, i) for number, q in enumerate(asked) for i in range(q.pictures)]


def _some(items: list[Item]) -> list[Item]:
    unique = list({item.digest: item for item in items}.values())
    if len(unique) <= MOST:
        return unique
    return [unique[i * len(unique) // MOST] for i in range(MOST)]
