"""Judges checkpoints of a run that is training, for its stop rule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.judgement import Judgement
from renma.judge.folder import RunRecord
from renma.judge.scoring.choice import LEAKAGE, merit
from renma.judge.scoring.examiner import Examiner

if TYPE_CHECKING:
    from renma.families._base import Family


class RunReferee:
    """Puts checkpoints to the questions of ``renma judge``, one at a time.

    Args:
        folder: the run's, with its run.toml.
        report: told about pictures that are drawn.

    Raises:
        UserError: there is nothing to ask, or too few pictures to judge by.
    """

    def __init__(self, folder: Path, report: Report) -> None:
        self._folder, self._report = folder, report
        examiner = Examiner(RunRecord.at(folder), report)
        examiner.check()

    def merit(self, checkpoint: Path, step: int, family: Family | None) -> Judgement:
        """Returns likeness less the price of leakage and of lost prompt following.

        Args:
            checkpoint: the LoRA file.
            step: that it was written after.
            family: the base model in memory, without LoRAs; None loads it anew.

        Raises:
            UserError: the file is broken.
        """
        # nothing is kept between calls: the run needs its memory
        examiner = Examiner(RunRecord.at(self._folder), self._report, loaded=family)
        if not checkpoint.is_file():
            raise UserError(f"the checkpoint of step {step} is gone", where=checkpoint)
        scores = examiner.examine(checkpoint).scores
        if scores.values.get("not_finite"):
            raise UserError("holds numbers that are none (NaN)", where=checkpoint)
        errors = [scores.error("likeness") or 0.0, LEAKAGE * (scores.error("leakage") or 0.0)]
        return Judgement(merit(scores, examiner.base.scores), sum(e * e for e in errors) ** 0.5)
