"""``renma caption describe``: a captioner looks at pictures, its sentences become captions.

What it said of a picture is kept, by the bytes of both and the way it was asked, so that a killed
run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

from PIL import Image

from renma.caption.captioners._base import Captioner, Manner, folder_digest, way_of
from renma.caption.deliver import Delivery, idle_options
from renma.caption.looking import (
    Parcel,
    Picture,
    Refused,
    Spreading,
    look,
    pictures_of,
    stoppable,
    tell,
    unseen,
)
from renma.config.caption.describe import DescribeOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import Store, digest
from renma.data.pictures import read_rgb
from renma.engine.executors import cores

VERSION = 1
"""Raise it when the same picture and model would give another caption."""


class Told:
    """The kept captions of one model asked in one manner."""

    def __init__(self, base: str) -> None:
        self._store, self._base = Store("described", ".txt"), base

    def known(self, picture: str) -> bool:
        """Says whether the picture of a digest was described."""
        return self._path(picture).is_file()

    def put(self, picture: str, text: str) -> None:
        """Keeps a caption."""
        raw = text.encode()
        self._store.put(self._key(picture), lambda path: path.write_bytes(raw), len(raw))

    def get(self, picture: str) -> str:
        """Returns a kept caption."""
        return self._path(picture).read_text(encoding="utf-8")

    def _key(self, picture: str) -> str:
        return digest([self._base, picture])

    def _path(self, picture: str) -> Path:
        return self._store.path(self._key(picture))


@dataclass(frozen=True)
class Describing:
    """The stage that describes a few pictures at a time and keeps what was said."""

    folder: Path
    base: str
    manner: Manner
    device: str
    precision: str
    threads: int
    max_pixels: int

    def open(self) -> Callable[[Parcel], list[Refused]]:
        """Returns the function that describes pictures and tells which could not be read."""
        captioner = Captioner(self.folder, self.manner, self.device, self.precision, self.threads)
        told = Told(self.base)

        def work(parcel: Parcel) -> list[Refused]:
            good: list[tuple[Image.Image, str]] = []
            refused: list[Refused] = []
            for picture in parcel:
                try:
                    pixels = read_rgb(picture.path, max_pixels=self.max_pixels)
                    good.append((Image.fromarray(pixels), picture.digest))
                except UserError as error:
                    refused.append((picture.digest, error.what))
            for (_, key), text in zip(good, captioner.captions(good), strict=True):
                told.put(key, text)
            return refused

        return work


def run(options: DescribeOptions, report: Report) -> None:
    """Describes the pictures of a folder.

    Raises:
        UserError: no pictures, no such model, or captions that cannot be read or written.
        Interrupted: Ctrl-C while the model looks; what it said so far is kept.
    """
    way_of(options.model)
    for text in without_effect(options):
        report.event("warned", text=text)
    delivery = Delivery(options, "caption", report)
    if not delivery.pictures:
        return
    pictures = pictures_of(delivery.pictures, report)
    manner = Manner(
        prompt=options.prompt,
        beams=options.num_beams if options.method == "beams" else 0,
        top_p=options.top_p,
        seed=options.seed,
        max_length=options.max_length,
        min_length=options.min_length,
    )
    base = digest([VERSION, folder_digest(options.model), options.precision, *astuple(manner)])
    told = Told(base)
    with stoppable("captions"):
        refused = _look(options, pictures, manner, base, report)
    said = {
        picture.path: (told.get(picture.digest),)
        for picture in pictures
        if picture.digest not in refused
    }
    delivery.write(said, "describe")


def without_effect(options: DescribeOptions) -> list[str]:
    """Returns a line for every option that the chosen method does not look at."""
    unused = ("top_p", "seed") if options.method == "beams" else ("num_beams",)
    lines = [
        f"--{name.replace('_', '-')} has no effect with --method {options.method}"
        for name in unused
        if name in options.model_fields_set
    ]
    return [*idle_options(options), *lines]


def _look(
    options: DescribeOptions, pictures: list[Picture], manner: Manner, base: str, report: Report
) -> dict[str, str]:
    how = Spreading(options.executor, options.workers, options.batch, options.max_pixels)
    new = unseen(pictures, Told(base).known)
    refused: dict[str, str] = {}
    if new:
        workers = how.count(
            len(new), accelerator=options.device == "cuda", size=_size(options.model)
        )
        stage = Describing(
            options.model,
            base,
            manner,
            options.device,
            options.precision,
            max(1, cores() // workers),
            options.max_pixels,
        )
        refused = look(stage, new, how, workers, report)
    tell(options.model.resolve().name, pictures, new, refused, report)
    return refused


def _size(folder: Path) -> int:
    """Returns the bytes of a model's folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
