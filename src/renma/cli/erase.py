"""`renma erase`: training that erases or strengthens concepts from words alone (LECO).

It is `renma train` for a run with ``[erase]``, and refuses any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.train import task

if TYPE_CHECKING:
    from renma.core.events import Report


def run(options: TrainOptions, report: Report) -> None:
    """Erases, or goes on with it.

    Raises:
        UserError: the run names no concept, or there is another mistake in it.
        Interrupted: a signal stopped it after its state was saved.
    """
    source = task.source_of(options)
    if not source.run.erase.on:
        raise UserError(
            "names no concept to erase",
            where=source.file,
            remedy="Write [[erase.prompts]] with a 'target', or erase.prompts_file; for pictures "
            "there is `renma train`.",
        )
    task.run(options, report)
