"""Pictures shown to a model, a few at a time: those it has not seen yet, spread over workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import file_hash
from renma.data.notes import Notes, shown
from renma.engine.executors import Stage, cores, spread


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
        workers: how many, or None for one a core.
        batch: pictures the model gets at a time.
        max_pixels: pictures with more are refused.
    """

    executor: str = "serial"
    workers: int | None = None
    batch: int = 8
    max_pixels: int = 64_000_000

    def count(self, pictures: int, *, accelerator: bool) -> int:
        """Returns how many workers there are: one for an accelerator, they would only share it."""
        if self.executor == "serial":
            return 1
        most = self.workers or (1 if accelerator else cores())
        return max(1, min(most, -(-pictures // self.batch)))


Parcel = tuple[Picture, ...]
Refused = tuple[str, str]
"""Digest and reason of a picture that cannot be read."""


def pictures_of(paths: Iterable[Path]) -> list[Picture]:
    """Returns pictures with the hashes of their bytes.

    Raises:
        UserError: one cannot be read.
    """
    return [Picture(path, _hash(path)) for path in paths]


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


def _hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=shown(path)) from None
