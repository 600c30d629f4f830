"""Pictures shown to a model, a few at a time: those it has not seen yet, spread over workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from renma.core.errors import INTERRUPTED, Interrupted
from renma.core.events import Report
from renma.core.store import file_hash
from renma.data.notes import Notes
from renma.engine.executors import Stage, cores, spread

_SMALL = 100_000_000
"""Bytes of a model that every worker may hold on its own without being asked to."""


@dataclass(frozen=True)
class Picture:
    """A picture to be looked at.

    Args:
        path: the file.
        digest: SHA-256 of its bytes.
    """

    path: Path
    digest: str


@dataclass(frozen=True)
class Spreading:
    """How the work is spread.

    Args:
        executor: serial, processes or ray.
        workers: how many, or None for one a core, if the model is small.
        batch: pictures the model gets at a time.
        max_pixels: pictures with more are refused.
    """

    executor: str = "serial"
    workers: int | None = None
    batch: int = 8
    max_pixels: int = 64_000_000

    def count(self, pictures: int, *, accelerator: bool, size: int) -> int:
        """Returns how many workers there are.

        One for an accelerator, they would only share it; and one, with threads on all cores, for a
        model of so many bytes (``size``) that a copy for each core would fill the memory.
        """
        if self.executor == "serial":
            return 1
        most = self.workers or (1 if accelerator or size > _SMALL else cores())
        return max(1, min(most, -(-pictures // self.batch)))


Parcel = tuple[Picture, ...]
Refused = tuple[str, str]
"""Digest and reason of a picture that cannot be read."""


def pictures_of(paths: Iterable[Path], report: Report) -> list[Picture]:
    """Returns pictures with the hashes of their bytes; those that cannot be read are named."""
    found, notes = [], Notes()
    for path in paths:
        try:
            found.append(Picture(path, file_hash(path)))
        except OSError as error:  # forbidden, or gone since the folder was listed
            notes.add(f"skipped: cannot be read ({error.strerror})", path)
    for line in notes.lines():
        report.event("warned", text=line)
    return found


@contextmanager
def stoppable(what: str) -> Iterator[None]:
    """Says on Ctrl-C what is kept.

    Raises:
        Interrupted: it was pressed.
    """
    try:
        yield
    except KeyboardInterrupt:
        text = f"stopped; {what} so far are kept, the same command goes on"
        raise Interrupted(INTERRUPTED, text) from None


def unseen(pictures: Iterable[Picture], known: Callable[[str], bool]) -> list[Picture]:
    """Returns the pictures that are not known by their digest, equal ones once."""
    return list({p.digest: p for p in pictures if not known(p.digest)}.values())


def look(
    stage: Stage[Parcel, list[Refused]],
    new: Sequence[Picture],
    how: Spreading,
    workers: int,
    report: Report,
) -> dict[str, str]:
    """Runs a stage over pictures and returns the digests of those refused, with the reason.

    Raises:
        UserError: the stage cannot work at all.
    """
    parcels = [tuple(new[at : at + how.batch]) for at in range(0, len(new), how.batch)]
    refused: dict[str, str] = {}
    seen = 0
    for done in spread(stage, parcels, executor=how.executor, workers=workers):
        if done.error:
            raise done.error
        refused |= dict(done.value or [])
        seen += len(parcels[done.index])
        report.event("working", what="pictures", done=seen, total=len(new))
    return refused


def tell(
    name: str,
    pictures: Sequence[Picture],
    new: Sequence[Picture],
    refused: Mapping[str, str],
    report: Report,
) -> None:
    """Tells how many pictures were shown to the model and names those that were not."""
    ran, total = len(new) - len(refused), len({p.digest for p in pictures})
    report.line(f"{name}: {total:,} pictures, {ran:,} run, {total - len(new):,} known")
    notes = Notes()
    for picture in pictures:
        if picture.digest in refused:
            notes.add(f"skipped: {refused[picture.digest]}", picture.path)
    for line in notes.lines():
        report.event("warned", text=line)
