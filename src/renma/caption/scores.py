"""What taggers say of pictures: every score kept, so that thresholds can change for nothing.

Scores are kept by the bytes of the picture and of the model: a killed run goes on where it was, and
the same picture in another folder is known. Scores below ``LOWEST`` are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from renma.caption.looking import Parcel, Picture, Refused, Spreading, look, tell, unseen
from renma.config.caption.tag import LOWEST
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import Store, digest
from renma.data.pictures import read_rgb
from renma.engine.executors import cores
from renma.engine.taggers._base import Tagger
from renma.engine.taggers._session import Session, Settings

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
"""Raise it when the same picture and model would give other scores."""


class Scores:
    """The kept scores of one tagger under some settings.

    Args:
        tagger: the files.
        settings: how it is run; the device does not count.
    """

    def __init__(self, tagger: Tagger, settings: Settings) -> None:
        self._store = Store("tags", ".npy")
        how = (settings.outputs, settings.input_values)
        self._base = (VERSION, Image.__version__, tagger.digest(), *how)

    def known(self, picture: str) -> bool:
        """Says whether the picture of a digest was looked at."""
        return self._store.path(self._key(picture)).is_file()

    def put(self, picture: str, row: np.ndarray) -> None:
        """Keeps the probabilities (tags,) of a picture."""
        import numpy as np

        (places,) = np.nonzero(row >= LOWEST)
        kept = np.stack([places.astype(np.float32), row[places]])  # (2, tags kept)

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, kept)

        self._store.put(self._key(picture), write, kept.nbytes)

    def get(self, picture: str) -> dict[int, float]:
        """Returns the kept scores of a picture: index of the tag to its score."""
        import numpy as np

        places, values = np.load(self._store.path(self._key(picture)))
        return dict(zip(places.astype(int).tolist(), values.tolist(), strict=True))

    def _key(self, picture: str) -> str:
        return digest([*self._base, picture])


@dataclass(frozen=True)
class Scoring:
    """The stage that looks at a few pictures at a time and keeps their scores."""

    tagger: Tagger
    settings: Settings
    threads: int
    max_pixels: int

    def open(self) -> Callable[[Parcel], list[Refused]]:
        """Returns the function that scores pictures and tells which could not be read."""
        session = Session(self.tagger, self.settings, self.threads)
        scores = Scores(self.tagger, self.settings)

        def work(parcel: Parcel) -> list[Refused]:
            with ThreadPoolExecutor(self.threads) as pool:
                read = list(pool.map(lambda each: self._prepared(session, each), parcel))
            seen = list(zip(parcel, read, strict=True))
            good = [(picture, x) for picture, x in seen if not isinstance(x, str)]
            if good:
                self._score(session, scores, good)
            return [(picture.digest, x) for picture, x in seen if isinstance(x, str)]

        return work

    def _prepared(self, session: Session, picture: Picture) -> np.ndarray | str:
        try:
            return session.prepare(read_rgb(picture.path, max_pixels=self.max_pixels))
        except UserError as error:
            return error.what

    @staticmethod
    def _score(session: Session, scores: Scores, good: list[tuple[Picture, np.ndarray]]) -> None:
        import numpy as np

        rows = session.probabilities(np.stack([x for _, x in good]))
        for (picture, _), row in zip(good, rows, strict=True):
            scores.put(picture.digest, row)


def score(
    tagger: Tagger,
    pictures: Sequence[Picture],
    settings: Settings,
    how: Spreading,
    report: Report,
) -> dict[str, str]:
    """Looks at the pictures that were not looked at yet; the report is told how many.

    Returns:
        Digest to reason of the pictures that cannot be read.

    Raises:
        UserError: the tagger cannot be used.
    """
    new = unseen(pictures, Scores(tagger, settings).known)
    refused: dict[str, str] = {}
    if new:
        first = Session(tagger, settings, cores())
        report.line(f"{tagger.name}: {len(tagger.tags()):,} tags, {first.said()}")
        workers = how.count(len(new), accelerator=first.device != "cpu", size=tagger.size())
        del first  # each worker opens its own
        stage = Scoring(tagger, settings, max(1, cores() // workers), how.max_pixels)
        refused = look(stage, new, how, workers, report)
    tell(tagger.name, pictures, new, refused, report)
    return refused
