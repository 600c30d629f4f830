"""Cells to pictures: what to draw, with which LoRA file, how strongly.

Cells that show the same are drawn once: at strength 0 every checkpoint is the base model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from PIL import Image

from renma.core.events import Report
from renma.diffusion.schedule import NoiseSchedule
from renma.engine.begin import apply_base_weights
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.engine.sample import Shot, draw

if TYPE_CHECKING:
    from renma.families._base import Family
    from renma.judge.folder import RunRecord


@dataclass(frozen=True)
class Cell:
    """One picture of a grid or a score."""

    shot: Shot
    checkpoint: Path | None = None
    """LoRA file; none is the base model."""
    unet: float = 1.0
    """LoRA weight in the U-Net."""
    text_encoder: float = 1.0
    """LoRA weight in the text encoder."""

    def effective(self) -> Cell:
        """Returns the cell that shows the same with nothing in it that has no effect."""
        if self.checkpoint is None or self.unet == self.text_encoder == 0:
            return replace(self, checkpoint=None, unet=0.0, text_encoder=0.0)
        return self


class Painter(Protocol):
    """Draws cells; grids and scores need nothing else of the engine."""

    def paint(self, cells: Sequence[Cell]) -> list[Image.Image]:
        """Returns one picture a cell, in order."""
        ...


class EnginePainter:
    """Draws with a loaded model; every LoRA file is read once a call and taken off again.

    Args:
        family: the base model.
        report: told ``sampling`` with pictures done and pictures in all.
        schedule_config: noise schedule to draw with (default: the model's own).
    """

    def __init__(
        self, family: Family, report: Report, schedule_config: Mapping[str, Any] | None = None
    ) -> None:
        self.family, self.report, self.schedule_config = family, report, schedule_config

    def paint(self, cells: Sequence[Cell]) -> list[Image.Image]:
        """Returns one picture a cell, in order.

        Raises:
            UserError: a LoRA file is broken or made for another model.
        """
        wanted = list(dict.fromkeys(cell.effective() for cell in cells))
        drawn: dict[Cell, Image.Image] = {}
        for checkpoint in dict.fromkeys(cell.checkpoint for cell in wanted):
            group = [cell for cell in wanted if cell.checkpoint == checkpoint]
            if checkpoint is None:
                drawn |= self._draw(group, len(drawn), len(wanted))
                continue
            network = Network.from_file(self.family, checkpoint)
            for unet, text_encoder in dict.fromkeys((c.unet, c.text_encoder) for c in group):
                alike = [c for c in group if (c.unet, c.text_encoder) == (unet, text_encoder)]
                with network.at(unet=unet, text_encoder=text_encoder):
                    drawn |= self._draw(alike, len(drawn), len(wanted))
        return [drawn[cell.effective()] for cell in cells]

    def _draw(
        self, cells: list[Cell], before: int, total: int
    ) -> Iterable[tuple[Cell, Image.Image]]:
        def progress(done: int, _: int) -> None:
            self.report.event("sampling", done=before + done, total=total)

        pictures = draw(
            self.family,
            [cell.shot for cell in cells],
            progress=progress,
            schedule_config=self.schedule_config,
        )
        return zip(cells, pictures, strict=True)


def open_painter(folder: RunRecord, report: Report) -> EnginePainter:
    """Returns a painter with the run's model, noise schedule, device, precision and threads."""
    run = folder.run
    torch.set_num_threads(run.train.threads or torch.get_num_threads())
    family = load_family(
        run.model, device=run.train.device, precision=run.train.precision, base=folder.path
    )
    apply_base_weights(family, run.start, folder.path)
    schedule = NoiseSchedule.of(family.scheduler_config, run.objective.zero_terminal_snr)
    return EnginePainter(family, report, schedule.sampler_config())
