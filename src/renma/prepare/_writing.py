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
from renma.data.notes import shown
from renma.data.pictures import WHITE
from renma.prepare._beside import ENDING, named
from renma.prepare._record import Output
from renma.prepare._sources import Source

IN_THE_WAY = "a file of that name lies there that this step did not make"
"""Why nothing is made of a source; asked again in the next run, when it may be gone."""
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
        ours: names of all pictures that the record holds; other files are never written over.
    """

    work: Work
    out: Path
    beside: Mapping[str, Path]
    format: str
    quality: int
    targets: frozenset[str]
    taken: frozenset[str]
    ours: frozenset[str]

    def open(self) -> Callable[[Source], list[Output] | Unwritable]:
        """Returns the function for one source."""
        make = self.work.open()

        def one(source: Source) -> list[Output] | Unwritable:
            prepared = [self._prepared(source, made) for made in make(source)]
            for each in prepared:
                self._check_free(each)
            try:
                return [self._write(each) for each in prepared]
            except UserError as error:  # a full disk: no fault of this picture
                return Unwritable(error.what, str(error.where), error.remedy)

        return one

    def _prepared(self, source: Source, made: Made) -> _Prepared:
        stem = self._free(source.target + made.suffix, own=not made.suffix)
        ending = _ENDINGS.get(self.format) or _SAME.get(source.path.suffix.lower(), ".png")
        name = f"{stem}{ending}"
        path = self.out / name
        files = {
            option: (named(place, name), encoded(picture, ENDING, 100))
            for option, place in self.beside.items()
            if (picture := made.extra.get(option)) is not None
        }
        files[""] = (path, encoded(made.picture, path.suffix, self.quality))
        return _Prepared(name, made, files)

    def _check_free(self, prepared: _Prepared) -> None:
        """Makes sure that no file of a person is written over.

        What a killed run wrote without noting it has the very bytes that would be written now.
        """
        if prepared.name in self.ours:
            return
        for path, data in prepared.files.values():
            if path.is_dir() or (path.exists() and path.read_bytes() != data):
                remedy = f"Move {shown(path)} away if a picture is wanted there."
                raise UserError(IN_THE_WAY, remedy=remedy)

    def _write(self, prepared: _Prepared) -> Output:
        digests = {option: _written(*file) for option, file in prepared.files.items()}
        beside = {option: digests.get(option, "") for option in self.beside}
        made = prepared.made
        return Output(prepared.name, digests[""], made.box, made.facts, beside)

    def _free(self, stem: str, *, own: bool) -> str:
        """Returns a name that no other source has a right to."""
        while stem.casefold() in self.taken or (not own and stem.casefold() in self.targets):
            stem, own = f"{stem}_", False
        return stem


@dataclass(frozen=True)
class _Prepared:
    """A picture to write: its name, and its files by option; the picture's own is under ""."""

    name: str
    made: Made
    files: dict[str, tuple[Path, bytes]]


def _written(path: Path, data: bytes) -> str:
    """Writes a file and returns the hash of what lies on the disk."""
    write_bytes(path, data)
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
