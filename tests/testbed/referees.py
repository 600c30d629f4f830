"""Referees for tests of the stop rule: their merits are written down."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from renma.config.run_tasks import TrainOptions
from renma.core.events import Report, Silent
from renma.core.judgement import Judgement
from renma.engine.network import Network
from renma.families._base import Family
from renma.train import task
from renma.train.stop import Referee

FEW = "adapter.targets.only=['*mid_block*to_q','*mlp.fc1']"
"""Few layers, of both parts: when a run ends and what is kept does not depend on them."""


class Scripted:
    """Judges by a table.

    Args:
        merits: by step.
        look: called with checkpoint, step and model first.
    """

    def __init__(
        self,
        merits: Mapping[int, float],
        look: Callable[[Path, int, Family | None], object] = lambda *_: None,
    ) -> None:
        self.merits, self.look = merits, look
        self.asked: list[int] = []

    def merit(self, checkpoint: Path, step: int, family: Family | None) -> Judgement:
        """Returns the merit of the table."""
        self.asked.append(step)
        self.look(checkpoint, step, family)
        return Judgement(self.merits[step], 0.01)


def careless(checkpoint: Path, _step: int, family: Family | None) -> None:
    """Draws, and does to the process what no referee should."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    torch.set_num_threads(2)
    assert family is not None
    with torch.no_grad(), Network.from_file(family, checkpoint).at():
        condition = family.encode_text(["aa12"])
        noise = torch.randn(1, 4, 8, 8)
        family.decode_image(family.predict(noise, torch.tensor([500]), condition))


def judged(
    project: Path,
    out: str,
    referee: Referee,
    *values: str,
    resume: bool = False,
    report: Report | None = None,
) -> Path:
    """Trains ``project/run.toml`` with a referee; returns the run's folder."""
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out, resume=resume)
    task.run(options, report or Silent(), lambda _folder, _report: referee)
    return project / out
