"""Threads that share a list of jobs, each of them computing on one processor alone.

torch splits every operation over its threads and waits for all of them. Thousands of small ones
then spend more time waking threads than computing; whole jobs side by side do not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import torch

Job = TypeVar("Job")


class Team:
    """As many threads as torch uses, started when first needed.

    Results do not depend on their number: each job is computed by one thread from start to end.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._kind = (0, 0)

    def do(self, work: Callable[[Job], None], jobs: Sequence[Job]) -> None:
        """Calls ``work`` with each job, without gradients; an exception of any is raised."""
        threads = torch.get_num_threads()

        def alone(job: Job) -> None:
            with torch.no_grad():  # a thread has its own gradient mode
                work(job)

        if threads == 1:
            for job in jobs:
                alone(job)
            return
        for _ in self._threads(threads).map(alone, jobs):
            pass

    def _threads(self, count: int) -> ThreadPoolExecutor:
        # threads do not survive a fork
        if self._pool is None or self._kind != (os.getpid(), count):
            if self._pool is not None and self._kind[0] == os.getpid():
                self._pool.shutdown()
            self._pool = ThreadPoolExecutor(count, initializer=_compute_alone)
            self._kind = (os.getpid(), count)
            # all of them start now: torch's number is a thread's own, but MKL's is the process'
            meeting = Barrier(count)
            for future in [self._pool.submit(meeting.wait) for _ in range(count)]:
                future.result()
            torch.set_num_threads(count)
        return self._pool

    def __getstate__(self) -> dict[str, Any]:
        """Copies start with no threads."""
        return {"_pool": None, "_kind": (0, 0)}


def _compute_alone() -> None:
    torch.get_num_threads()  # a thread's first look at the number would undo a change before it
    torch.set_num_threads(1)
