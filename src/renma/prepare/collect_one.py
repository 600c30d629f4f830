"""Taking in one picture: checked, then copied as it is or saved anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image, ImageOps

from renma.config.prepare.collect import CollectOptions
from renma.core.errors import UserError
from renma.core.store import file_hash, write_bytes
from renma.data.notes import shown
from renma.data.pictures import WHITE, inspect, opened, read_straight, straight
from renma.prepare._record import Output
from renma.prepare._writing import encoded
from renma.prepare.headers import frame_count

_ENDINGS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}
_SAVED = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True)
class Job:
    """One picture to take in.

    Args:
        path: where its bytes lie.
        target: what to name it, without ending, from the folder on.
    """

    path: Path
    target: str


@dataclass(frozen=True)
class Taken:
    """What came of one picture.

    Args:
        outputs: what was written.
        stop: why nothing can be written any more; the whole work ends then.
    """

    outputs: tuple[Output, ...] = ()
    stop: str = ""


class _CannotWrite(Exception):
    """The folder takes no more files: no fault of the picture."""


@dataclass(frozen=True)
class TakeIn:
    """Takes pictures in, in a worker.

    Args:
        options: of the command.
        out: the folder to fill.
        taken: all names without ending that are in use, in one case.
    """

    options: CollectOptions
    out: Path
    taken: frozenset[str]

    def open(self) -> Callable[[Job], Taken]:
        """Returns the function for one picture; it raises UserError for one that is no picture."""
        return self._one

    def _one(self, job: Job) -> Taken:
        try:
            if self.options.convert is None:
                return Taken((self._copied(job),))
            return Taken(tuple(self._converted(job, _SAVED[self.options.convert])))
        except _CannotWrite as error:
            return Taken(stop=str(error))

    def _copied(self, job: Job) -> Output:
        look = inspect(job.path, self.options.max_pixels)
        with opened(job.path, self.options.max_pixels) as picture:
            endings = _ENDINGS[str(picture.format)]
        own = job.path.suffix.lower()
        # a wrong ending keeps some programs from opening the file
        ending = own if own in endings else endings[0]
        facts: dict[str, Any] = {"size": f"{look.width}x{look.height}"}
        if own != ending:
            facts["is"] = ending[1:]
        return self._written(f"{job.target}{ending}", _bytes(job.path), facts)

    def _converted(self, job: Job, ending: str) -> Iterator[Output]:
        if self.options.frames == "first":
            picture = read_straight(job.path, self.options.max_pixels)
            yield self._saved(f"{job.target}{ending}", picture, {})
            return
        every = 1 if self.options.frames == "all" else self.options.frames
        with opened(job.path, self.options.max_pixels) as film:
            count = frame_count(film)
            for index in range(0, count, every):
                film.seek(index)
                picture = straight(ImageOps.exif_transpose(film))
                stem = job.target if count == 1 else self._free(f"{job.target}-f{index:04d}")
                yield self._saved(f"{stem}{ending}", picture, {"frame": index} if count > 1 else {})

    def _saved(self, name: str, picture: Image.Image, facts: dict[str, Any]) -> Output:
        if picture.mode == "RGBA" and self.options.alpha == "white":
            ground = Image.new("RGB", picture.size, WHITE)
            ground.paste(picture, mask=picture.getchannel("A"))
            picture = ground
        data = encoded(picture, PurePosixPath(name).suffix, self.options.quality)
        return self._written(name, data, {"size": f"{picture.width}x{picture.height}", **facts})

    def _written(self, name: str, data: bytes, facts: dict[str, Any]) -> Output:
        try:
            write_bytes(self.out / name, data)
        except UserError as error:
            raise _CannotWrite(error.line()) from None
        return Output(name, file_hash(self.out / name), facts=facts)

    def _free(self, stem: str) -> str:
        while stem.casefold() in self.taken:
            stem += "_"
        return stem


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=shown(path)) from None
