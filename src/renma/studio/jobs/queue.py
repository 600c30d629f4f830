"""The queue: one job at a time, in order; what is running outlives the studio."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from renma.core.errors import MissingError, UserError
from renma.core.store import write_text
from renma.studio.jobs.job import Job

_PAUSE = 0.5
"""Seconds between two looks at the queue."""
MOST = 1000
"""Jobs that may wait at once."""
_OVER = ("done", "stopped", "failed", "died", "cancelled")


class Queue:
    """The jobs of a workspace. Everything about them is read from their folders.

    Args:
        folder: where jobs lie, a folder each.
        work: the folder that jobs work in (default: the studio's own).
    """

    def __init__(self, folder: Path, work: Path | None = None) -> None:
        self.folder, self.work = folder, work
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self.turn = threading.RLock()
        """Held while somebody chooses a folder and asks for a job in it."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="queue", daemon=True)
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Begins to work the queue off."""
        self._thread.start()

    def close(self) -> None:
        """Stops starting jobs; those that run go on."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        for child in self._children:
            if child.poll() is None:
                child.returncode = 0  # it goes on, and nobody here will wait for it

    def all(self) -> list[Job]:
        """Returns every job, in order."""
        found = (Job.read(path) for path in self.folder.iterdir() if path.is_dir())
        return sorted((job for job in found if job is not None), key=lambda job: job.order)

    def get(self, name: str) -> Job:
        """Returns a job.

        Raises:
            UserError: there is none of that name.
        """
        known = name.isascii() and name.isdigit()
        job = Job.read(self.folder / name) if known else None
        if job is None:
            raise MissingError(f"there is no job '{name[:20]}'")
        return job

    def add(
        self,
        task: str,
        options: Mapping[str, Any],
        title: str,
        about: str = "",
        links: Mapping[str, str] | None = None,
    ) -> Job:
        """Puts a job at the end.

        Args:
            task: its name.
            options: of the task, checked.
            title: for people.
            about: the folder it works on.
            links: what it makes.

        Raises:
            UserError: too many are waiting.
        """
        with self._lock:
            jobs = self.all()
            if sum(job.state() == "queued" for job in jobs) >= MOST:
                raise UserError(f"{MOST} jobs are waiting already")
            folder = self.folder / f"{self._last() + 1:05d}"
            order = max((job.order for job in jobs), default=0.0) + 1
            job = Job(folder, task, dict(options), title, order, about, dict(links or {}))
            job.write()
        return job

    def move(self, name: str, before: str | None) -> Job:
        """Puts a waiting job before another one, or at the end."""
        job = self._waiting(name)
        others = [each for each in self.all() if each.id != name]
        if before is None:
            order = max((each.order for each in others), default=0.0) + 1
        else:
            place = [each.id for each in others].index(self.get(before).id)
            low = others[place - 1].order if place else others[0].order - 2
            order = (low + others[place].order) / 2
        moved = Job(job.folder, job.task, job.options, job.title, order, job.about, job.links)
        moved.write()
        return moved

    def stop(self, name: str) -> Job:
        """Asks a job for its end: a waiting one never begins, a training one saves its state.

        Raises:
            UserError: it is over already.
        """
        job = self.get(name)
        with self._lock:
            state = job.state()
            if state == "queued":
                (job.folder / "cancelled").touch()
                return job
        if state != "running":
            raise UserError(f"the job is not running: {state}", where=job.title)
        # the lock is held, so the number is still that of this process and of no other
        os.kill(int((job.started() or {})["pid"]), signal.SIGINT)
        return job

    def again(self, name: str) -> Job:
        """Puts a job that is over into the queue again; a training one goes on where it was.

        Raises:
            UserError: it is not over.
        """
        job = self.get(name)
        if (state := job.state()) not in _OVER:
            raise UserError(f"the job is not over: {state}", where=job.title)
        options = job.options
        out = options.get("out")
        if job.task in ("train", "erase") and out and _has_state(Path(out)):
            options = {"out": out, "resume": True}
        return self.add(job.task, options, job.title, job.about, job.links)

    def remove(self, name: str) -> None:
        """Forgets a job that is over; what it made stays.

        Raises:
            UserError: it is not over.
        """
        job = self.get(name)
        if (state := job.state()) not in _OVER:
            raise UserError(f"the job is not over: {state}", where=job.title)
        with self._lock:
            # a page that still shows it must not mean the next one by its number
            write_text(self.folder / "last", str(self._last()))
            shutil.rmtree(job.folder)

    def _last(self) -> int:
        """Returns the highest number that a job ever had."""
        numbers = [int(p.name) for p in self.folder.iterdir() if p.name.isdigit()]
        with suppress(OSError, ValueError):
            numbers.append(int((self.folder / "last").read_text()))
        return max(numbers, default=0)

    def _waiting(self, name: str) -> Job:
        job = self.get(name)
        if job.state() != "queued":
            raise UserError("only a waiting job can be moved", where=job.title)
        return job

    def _watch(self) -> None:
        while not self._ended.wait(_PAUSE):
            with self._lock:
                self._children = [child for child in self._children if child.poll() is None]
                self._begin_next()

    def _begin_next(self) -> None:
        waiting: Job | None = None
        for job in self.all():
            state = job.state()
            if state == "running":
                return
            if state == "queued" and waiting is None:
                waiting = job
        if waiting is not None:
            self._begin(waiting)

    def _begin(self, job: Job) -> None:
        # -P: what lies in the workspace is never imported, whatever its name is
        command = [sys.executable, "-P", "-m", "renma.studio.jobs.process", str(job.folder)]
        with job.log.open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                cwd=self.work,
                stdout=log,
                stderr=subprocess.STDOUT,
                # a signal to the studio's terminal is not meant for what trains
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self._children.append(child)
        # until it says that it has begun, nobody else may think that nothing runs
        end = time.monotonic() + 30
        while job.started() is None and child.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        if job.started() is None and child.poll() is not None:
            (job.folder / "started.json").write_text(f'{{"pid": {child.pid}, "time": 0}}')


def _has_state(run: Path) -> bool:
    """Says whether a run, or the first of its two stages, saved a state to go on from."""
    return any(any(run.glob(each)) for each in ("state/step-*", "copier/state/step-*"))
