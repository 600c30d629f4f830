"""Work on many things, spread: in this process, over processes of this machine, or over Ray.

A stage is a picklable object; each worker opens it once (that is where a model is loaded) and then
works on one thing after another. What a stage does to one thing must not depend on the others, and
must be safe to do twice: then a killed run is simply started again.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from renma.core.errors import UserError
from renma.engine.spawning import allowed, born, cores, keep_to, spawning, surroundings

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
        UserError: the stage cannot be opened, a worker was killed, or Ray is not installed.
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


def _serially(stage: Stage[In, Out], things: Sequence[In]) -> Iterator[Done[Out]]:
    work = stage.open()
    for index, thing in enumerate(things):
        try:
            value = work(thing)
        except UserError as error:
            yield Done(index, error=error)
        else:
            yield Done(index, value)


@dataclass(frozen=True)
class _Outcome:
    """What travels back from a worker; errors do so in parts, because pickle mixes theirs up."""

    value: object = None
    wrong: tuple[str, str | None, str] | None = None
    closed: bool = False
    """Whether the stage itself could not be opened."""


class _Worker:
    """One worker: opens the stage, then works on what it is sent.

    What goes wrong in opening is told with the first thing: a worker that cannot be begun would
    only be seen to be dead, as one that was killed.

    Args:
        stage: pickled.
        threads: it computes with.
    """

    def __init__(self, stage: bytes, threads: int) -> None:
        self._work: Callable[[Any], object] | Exception
        try:
            self._work = pickle.loads(stage).open()
        except Exception as error:
            self._work = error
        keep_to(threads)

    def one(self, thing: object) -> _Outcome:
        """Works on one thing."""
        if isinstance(self._work, UserError):
            return _Outcome(wrong=_parts(self._work), closed=True)
        if isinstance(self._work, Exception):
            raise self._work
        try:
            return _Outcome(self._work(thing))
        except UserError as error:
            return _Outcome(wrong=_parts(error))


def _parts(error: UserError) -> tuple[str, str | None, str]:
    return error.what, None if error.where is None else str(error.where), error.remedy


def _done(index: int, outcome: _Outcome) -> Done:
    """Returns what came of a thing.

    Raises:
        UserError: the stage could not be opened.
    """
    if outcome.wrong is None:
        return Done(index, outcome.value)
    what, where, remedy = outcome.wrong
    error = UserError(what, where=where, remedy=remedy)
    if outcome.closed:
        raise error
    return Done(index, error=error)


_here: list[_Worker] = []
"""The worker of a worker process."""


def _begin(stage: bytes, threads: int) -> None:
    born()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _here.append(_Worker(stage, threads))


def _end_with_parent() -> None:
    """Ends this worker when its parent is gone: a worker would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one(index: int, thing: object) -> tuple[int, _Outcome]:
    return index, _here[0].one(thing)


def _by_processes(stage: Stage[In, Out], things: Sequence[In], workers: int) -> Iterator[Done[Out]]:
    # spawn: a fork of a process with threads (torch, onnxruntime) can hang
    context = multiprocessing.get_context("spawn")
    share = allowed(max(1, cores() // workers))
    orders = (pickle.dumps(stage), share)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=orders)
    variables = surroundings(share, workers)
    waiting: set[Future] = set()
    numbered = iter(enumerate(things))
    try:
        while True:
            while len(waiting) < _AHEAD * workers and (pair := next(numbered, None)):
                with spawning(variables):  # the pool starts a process when there is work for it
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


def _by_ray(stage: Stage[In, Out], things: Sequence[In], workers: int) -> Iterator[Done[Out]]:
    try:
        import ray
        from ray import exceptions
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
        share = _share_of_nodes(ray, workers)
        told = {"env_vars": surroundings(share, workers)}
        actor = ray.remote(_Worker).options(runtime_env=told)
        pickled = pickle.dumps(stage)
        yield from _fed(ray, [actor.remote(pickled, share) for _ in range(workers)], things)
    except exceptions.RayTaskError as error:
        # a defect in the stage, raised as what it is; Ray's own error tells where in the worker
        raise (error.cause if isinstance(error.cause, Exception) else error) from error
    except (
        exceptions.RayActorError,
        exceptions.NodeDiedError,
        exceptions.WorkerCrashedError,
        exceptions.OutOfMemoryError,
        exceptions.LocalRayletDiedError,
        exceptions.ObjectLostError,
    ) as error:
        if getattr(error, "actor_init_failed", False):  # no death: renma is not there, or another
            raise
        raise UserError(
            f"Ray lost a worker ({type(error).__name__})",
            remedy="Start the same command again: what is done stays done.",
        ) from None
    finally:
        if ours:
            ray.shutdown()


def _share_of_nodes(ray: Any, workers: int) -> int:
    """Returns how many threads each of so many workers has in a cluster."""
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    counts = [count for count in nodes if count] or [1]
    return allowed(max(1, min(sum(counts) // workers, *counts)))


def _fed(ray: Any, actors: list[Any], things: Sequence[In]) -> Iterator[Done[Any]]:
    """Keeps every actor supplied and yields what gets ready."""
    numbered = iter(enumerate(things))
    running: dict[Any, tuple[int, Any]] = {}

    def feed(actor: Any) -> None:
        if pair := next(numbered, None):
            index, thing = pair
            running[actor.one.remote(thing)] = index, actor

    for _ in range(_AHEAD):
        for actor in actors:
            feed(actor)
    while running:
        ready, _ = ray.wait(list(running))
        for reference in ready:
            index, actor = running.pop(reference)
            feed(actor)
            yield _done(index, ray.get(reference))
