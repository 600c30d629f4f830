"""`renma train`: training, and where a run asks for it, a judge meanwhile and a merged model after.

The rooms do not know one another; here the judge is handed to the trainer, and what was trained to
those who work with finished files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from renma.cli import merged_model
from renma.config.run_tasks import TrainOptions
from renma.train import task

if TYPE_CHECKING:
    from renma.core.events import Report
    from renma.train.stop import Referee


def run(options: TrainOptions, report: Report) -> None:
    """Trains, or continues, one run.

    Raises:
        UserError: a mistake in the run, its pictures or its folder.
        Interrupted: a signal stopped it after its state was saved.
    """
    folder = task.run(options, report, appoint)
    if folder is not None:
        merged_model.write(folder.path, report)


def appoint(folder: Path, report: Report) -> Referee:
    """Returns who judges the checkpoints of a run.

    Args:
        folder: of the run, its run.toml written.
        report: told what is drawn.

    Raises:
        UserError: there is nothing to judge by.
    """
    # only here: most runs are not judged while they train, and judging needs torch
    from renma.judge.referee import RunReferee

    return RunReferee(folder, report)
