"""`renma train`: from a run.toml to LoRA files in a run folder.

Everything that can be wrong with the run is found here, before torch is even imported.
"""

from __future__ import annotations

from renma.config.tasks import TrainOptions
from renma.core.events import EventLog, Report
from renma.train.folder import choose, locked, with_places, write_run
from renma.train.plan import prepare
from renma.train.source import Source, load


def run(options: TrainOptions, report: Report) -> None:
    """Trains, or continues, one run.

    Raises:
        UserError: a mistake in the run, its pictures or its folder.
        Interrupted: a signal stopped it after its state was saved.
    """
    file = options.run
    if file is None and options.dataset_config is None and options.out is not None:
        file = options.out / "run.toml"  # `--resume --out DIR` is all that a run needs to go on
    source = load(file, options.dataset_config, options.set)
    folder = choose(source.file, options.out, options.resume)
    prepared = prepare(source.run, source.base)
    with locked(folder):
        datasets = tuple(scanned.dataset for scanned in prepared.scan.sets)
        complete = with_places(source.run, source.base, datasets)
        changes = write_run(folder, complete, options.resume)
        log = EventLog(folder.events, report)
        try:
            for text in changes:
                log.event("warned", text=f"resumed with a changed option, {text}")
            from renma.train.work import train

            train(Source(complete, folder.path, folder.toml), folder, prepared, options.resume, log)
        finally:
            log.close()
