"""The process of a job: ``python -m renma.studio.jobs.process FOLDER``.

It does what the command of the task does; only the options come from a file instead of words, so
nothing that was typed into a page can become another option.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path

from filelock import FileLock, Timeout

from renma.cli.app import guarded
from renma.cli.screen import Screen
from renma.config import validate
from renma.config.tasks import TASKS
from renma.core.errors import DEFECT
from renma.core.events import EventLog
from renma.core.store import write_text
from renma.studio.jobs.job import Job


def main(folder: Path) -> int:
    """Does a job; its exit code is written beside it.

    Args:
        folder: of the job.
    """
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return DEFECT  # somebody does it already
    with lock:
        if any((folder / name).exists() for name in ("ended.json", "cancelled")):
            return DEFECT  # it is over, or was taken back meanwhile
        _tell(folder / "started.json", {"pid": os.getpid(), "time": time.time()})
        code = guarded(lambda: _work(folder))
        sys.stdout.flush()
        _tell(folder / "ended.json", {"code": code, "time": time.time()})
    return code


def _work(folder: Path) -> None:
    job = Job.read(folder)
    assert job is not None, f"{folder} holds no job"
    task = next(task for task in TASKS if task.name == job.task)
    checked = validate(task.options, job.options, task.name)
    with Screen() as screen:
        log = EventLog(job.events, screen)
        try:
            import_module(task.room).run(checked, log)
        finally:
            log.close()


def _tell(path: Path, row: dict[str, object]) -> None:
    write_text(path, json.dumps(row))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
