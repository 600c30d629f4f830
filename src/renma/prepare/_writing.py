"""Making and writing the pictures of one source, in a worker."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from renma.core.errors import UserError
from renma.core.store import file_hash, write_bytes
from renma.data.pictures import WHITE
from renma.prepare._beside import named
from renma.prepare._record import Output
from renma.prepare._sources import Source

_ENDINGS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}
_SAME = {".jpg": ".jpg", ".jpeg": ".jpg", ".webp": ".webp"}


@dataclass(frozen=True)
class Made:
    """One picture made of a source.

    Args:
        picture: mode RGB or RGBA.
        suffix: put behind the name, where one source gives several pictures.
        box: left, top, right, bottom of what was cut out of the upright source; pixels.
        facts: what the record and the sheet say about it; JSON values.
        extra: what is written beside it if asked for, by the option that names its folder.
    """

    picture: Image.Image
    suffix: str = ""
    box: tuple[int, int, int, int] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Image.Image] = field(default_factory=dict)


class Work(Protocol):
    """What a verb does to each picture; picklable, because workers get a copy."""

    def key(self) -> Sequence[object]:
        """Returns what the result depends on besides the options: versions, hashes of models."""
        ...

    def open(self) -> Callable[[Source], list[Made]]:
        """Returns the function for one picture; it raises UserError for one to be skipped."""
        ...


@dataclass(frozen=True)
class Unwritable:
    """Why nothing more can be written; it ends the step, where a bad picture is only skipped."""

    what: str
    where: str
    remedy: str


@dataclass(frozen=True)
class WriteStage:
    """Makes and writes the pictures of one source.

    Args:
        work: makes them.
        out: the folder to write into.
        beside: further folders, by the option that names them.
        format: png, jpeg, webp or same.
        quality: of JPEG and WebP.
        targets: names without ending that sources have, in one case.
        taken: names without ending that pictures of other sources have already, in one case.
    """

    work: Work
    out: Path
    beside: Mapping[str, Path]
    format: str
    quality: int
    targets: frozenset[str]
    taken: frozenset[str]

    def open(self) -> Callable[[Source], list[Output] | Unwritable]:
        """Returns the function for one source."""
        make = self.work.open()

        def one(source: Source) -> list[Output] | Unwritable:
            pictures = make(source)
            try:
                return [self._write(source, made) for made in pictures]
            except UserError as error:  # a full disk: no fault of this picture
                return Unwritable(error.what, str(error.where), error.remedy)

        return one

    def _write(self, source: Source, made: Made) -> Output:
        stem = self._free(source.target + made.suffix, own=not made.suffix)
        ending = _ENDINGS.get(self.format) or _SAME.get(source.path.suffix.lower(), ".png")
        name = f"{stem}{ending}"
        beside = {}
        for option, place in self.beside.items():
            picture = made.extra.get(option)
            beside[option] = "" if picture is None else _written(named(place, name), picture)
        written = _written(self.out / name, made.picture, self.quality)
        return Output(name, written, made.box, made.facts, beside)

    def _free(self, stem: str, *, own: bool) -> str:
        """Returns a name that no other source has a right to."""
        while stem.casefold() in self.taken or (not own and stem.casefold() in self.targets):
            stem, own = f"{stem}_", False
        return stem


def _written(path: Path, picture: Image.Image, quality: int = 100) -> str:
    """Writes a picture and returns the hash of what lies on the disk."""
    write_bytes(path, encoded(picture, path.suffix, quality))
    return file_hash(path)


def encoded(picture: Image.Image, ending: str, quality: int) -> bytes:
    """Returns a picture as the bytes of a file; JPEG gets transparency laid on white.

    Args:
        picture: mode RGB or RGBA; L for masks.
        ending: ``.png``, ``.jpg`` or ``.webp``.
        quality: 1 to 100, of JPEG and WebP; WebP is lossless at 100.
    """
    options: dict[str, Any] = {}
    if ending == ".jpg":
        options = {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
        if picture.mode == "RGBA":
            ground = Image.new("RGB", picture.size, WHITE)
            ground.paste(picture, mask=picture.getchannel("A"))
            picture = ground
    elif ending == ".webp":
        options = {"quality": quality, "lossless": quality == 100, "exact": True, "method": 4}
    data = io.BytesIO()
    picture.save(data, _FORMATS[ending], **options)
    return data.getvalue()
