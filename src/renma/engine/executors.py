"""Work on many things, spread: in this process, over processes of this machine, or over Ray.

A stage is a picklable object; each worker opens it once (that is where a model is loaded) and then
works on one thing after another. What a stage does to one thing must not depend on the others, and
must be safe to do twice: then a killed run is simply started again.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from renma.core.errors import UserError

In = TypeVar("In")
Out = TypeVar("Out")
InOf = TypeVar("InOf", contravariant=True)
OutOf = TypeVar("OutOf", covariant=True)
_AHEAD = 4
"""Things waiting for each worker: it never idles, and a stop has little to throw away."""


class Stage(Protocol[InOf, OutOf]):
    """What is done to each thing."""

    def open(self) -> Callable[[InOf], OutOf]:
        """Returns the function for one thing; called once in each worker."""
        ...


@dataclass(frozen=True)
class Done(Generic[Out]):
    """What came of one thing.

    Args:
        index: its place in the sequence.
        value: what the stage returned.
        error: the mistake that the stage raised instead.
    """

    index: int
    value: Out | None = None
    error: UserError | None = None


def spread(
    stage: Stage[In, Out], things: Sequence[In], *, executor: str, workers: int | None = None
) -> Iterator[Done[Out]]:
    """Yields what comes of each thing, as it gets ready (``serial``: in order).

    Args:
        stage: what to do; a :class:`UserError` it raises concerns that thing alone.
        things: picklable.
        executor: ``serial``, ``processes`` or ``ray``.
        workers: how many at a time (default: the cores this process may use).

    Raises:
        UserError: a worker was killed, or Ray is not installed.
    """
    if not things:
        return
    count = min(workers or cores(), len(things))
    if executor == "ray":
        yield from _by_ray(stage, things, count)
    elif executor == "serial" or count == 1:
        yield from _serially(stage, things)
    else:
        yield from _by_processes(stage, things, count)


def cores() -> int:
    """Returns how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serially(stage: Stage[In, Out], things: Sequence[In]) -> Iterator[Done[Out]]:
    work = stage.open()
    for index, thing in enumerate(things):
        try:
            value = work(thing)
        except UserError as error:
            yield Done(index, error=error)
        else:
            yield Done(index, value)


_opened: list[Callable[[Any], object]] = []
"""The one stage of a worker process, opened by its initializer."""


def _begin(stage: Stage[Any, Any], threads: int) -> None:
    # Ctrl-C goes to all processes of a terminal; the parent ends the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    _opened.append(stage.open())


def _end_with_parent() -> None:
    """Ends this worker when its parent is gone: a worker would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


_Outcome = tuple[int, object, "tuple[str, str | None, str] | None"]
"""What travels back from a worker: index, value, or what, where and remedy of a mistake."""


def _one(index: int, thing: object) -> _Outcome:
    return _tried(_opened[0], index, thing)


def _tried(work: Callable[[Any], object], index: int, thing: object) -> _Outcome:
    try:
        return index, work(thing), None
    except UserError as error:
        where = None if error.where is None else str(error.where)
        return index, None, (error.what, where, error.remedy)


def _by_processes(stage: Stage[In, Out], things: Sequence[In], workers: int) -> Iterator[Done[Out]]:
    # spawn: a fork of a process with threads (torch, onnxruntime) can hang
    context = multiprocessing.get_context("spawn")
    share = max(1, cores() // workers)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(stage, share))
    waiting: set[Future] = set()
    numbered = iter(enumerate(things))
    try:
        while True:
            while len(waiting) < _AHEAD * workers and (pair := next(numbered, None)):
                waiting.add(pool.submit(_one, *pair))
            if not waiting:
                return
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ready:
                yield _done(*future.result())
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed, most often because memory ran out",
            remedy="Start the same command again: what is done stays done. "
            "With --workers 1 it takes less memory.",
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _done(index: int, value: object, wrong: tuple[str, str | None, str] | None) -> Done:
    if wrong is None:
        return Done(index, value)
    what, where, remedy = wrong
    return Done(index, error=UserError(what, where=where, remedy=remedy))


def _by_ray(stage: Stage[In, Out], things: Sequence[In], workers: int) -> Iterator[Done[Out]]:
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError:
        raise UserError(
            "Ray is not installed",
            where="--executor ray",
            remedy="Install it with `pip install 'renma[ray]'`, or take --executor processes.",
        ) from None
    ours = not ray.is_initialized()
    if ours:  # RAY_ADDRESS in the environment names a cluster; without it one is made here
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        actor = ray.remote(_Worker)
        yield from _fed(ray, [actor.remote(stage) for _ in range(workers)], things)
    except RayError as error:
        raise UserError(
            f"Ray lost a worker ({type(error).__name__})",
            remedy="Start the same command again: what is done stays done.",
        ) from None
    finally:
        if ours:
            ray.shutdown()


class _Worker:
    """One actor of Ray: opens the stage once, then works on what it is sent."""

    def __init__(self, stage: Stage[object, object]) -> None:
        self._work = stage.open()

    def one(self, index: int, thing: object) -> _Outcome:
        """Works on one thing."""
        return _tried(self._work, index, thing)


def _fed(ray: Any, actors: list[Any], things: Sequence[In]) -> Iterator[Done[Any]]:
    """Keeps every actor supplied and yields what gets ready."""
    numbered = iter(enumerate(things))
    running: dict[Any, Any] = {}

    def feed(actor: Any) -> None:
        if pair := next(numbered, None):
            running[actor.one.remote(*pair)] = actor

    for _ in range(_AHEAD):
        for actor in actors:
            feed(actor)
    while running:
        ready, _ = ray.wait(list(running))
        for reference in ready:
            feed(running.pop(reference))
            yield _done(*ray.get(reference))
