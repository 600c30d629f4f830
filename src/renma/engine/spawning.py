"""Starting worker processes: with their share of the cores, and untouched by Ctrl-C.

Libraries read how many threads they may start when they are loaded, which is before a worker can
say anything: so it has to stand in the environment that the worker is born with.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LIMITS = (
    "OMP_NUM_THREADS",  # torch and whatever else is built with OpenMP
    "OPENBLAS_NUM_THREADS",  # numpy
    "MKL_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
_BESIDE = "RENMA_BESIDE_OTHERS"


def cores() -> int:
    """Returns how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share() -> int:
    """Returns how many threads this process should compute with.

    In one of several workers that is its part of the cores; else all, or what OMP_NUM_THREADS says.
    """
    return allowed(cores())


def allowed(threads: int) -> int:
    """Returns so many threads, or fewer where OMP_NUM_THREADS says so."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(threads, int(said)) if said.isdecimal() and int(said) else threads


def beside_others() -> bool:
    """Says whether this process is one of several workers, which would crowd an accelerator."""
    return _BESIDE in os.environ


def surroundings(threads: int, workers: int) -> dict[str, str]:
    """Returns the environment variables that a worker is started with.

    Args:
        threads: that it may compute with.
        workers: how many there are.
    """
    beside = {_BESIDE: "1"} if workers > 1 else {}
    return dict.fromkeys(_LIMITS, str(threads)) | beside


def keep_to(threads: int) -> None:
    """Holds the libraries that this process has loaded already to so many threads."""
    if cv2 := sys.modules.get("cv2"):
        cv2.setNumThreads(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


@contextmanager
def spawning(variables: dict[str, str]) -> Iterator[None]:
    """While it lasts, new processes get these variables and are born deaf to Ctrl-C.

    A Ctrl-C that comes meanwhile is raised at the end: in the middle it would leave a process that
    waits for its orders. :func:`born` is to be called in the process.
    """
    before = {name: os.environ.get(name) for name in variables}
    with _held():
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def born() -> None:
    """Makes a worker ignore Ctrl-C, which a terminal sends to all; the parent ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # what waited is dropped: it is ignored now
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def _held() -> Iterator[None]:
    """Keeps Ctrl-C back: in this thread, and in processes that it starts (they inherit that)."""
    main = threading.current_thread() is threading.main_thread()
    came: list[int] = []
    # another thread may take the signal, so this one's mask alone would not hold it back
    old = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if main else None
    mask = None
    if hasattr(signal, "pthread_sigmask"):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if main:
            signal.signal(signal.SIGINT, signal.SIG_DFL if old is None else old)
        if came:
            signal.raise_signal(signal.SIGINT)
