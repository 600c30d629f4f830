"""What a tagger is made of: the model's file, its list of tags, and the contract between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from renma.core import registry
from renma.core.errors import UserError
from renma.core.store import digest, file_hash

if TYPE_CHECKING:
    import numpy as np

HERE = "renma.engine.taggers"
SHIPPED = Path(__file__).parents[2] / "assets" / "tagger"
_BESIDE = ("_data", ".data")
"""What ONNX files of more than 2 GB put behind their name for the file that holds the weights."""


@dataclass(frozen=True)
class Tag:
    """One tag that a tagger knows.

    Args:
        name: as the tagger's list spells it.
        category: general, character, copyright, artist, meta, model, rating or quality.
    """

    name: str
    category: str = "general"


@dataclass(frozen=True)
class Form:
    """What numbers of a picture a model wants.

    Args:
        side: pixels of its square.
        channels_first: (3, side, side) instead of (side, side, 3).
        values: byte (0 to 255), unit (0 to 1) or signed (-1 to 1).
    """

    side: int
    channels_first: bool
    values: str


class Contract(Protocol):
    """What a module of this folder says."""

    LISTS: tuple[str, ...]
    """Names of the file that lists the tags."""
    SIDE: int
    """Pixels of the square where the model does not say."""
    CHANNELS: str
    """Their order, for people."""
    prepare: Callable[[np.ndarray, int], np.ndarray]
    """Makes of RGB (height, width, 3), uint8, the square (side, side, 3), 0 to 255."""
    read_tags: Callable[[Path], tuple[Tag, ...]]
    """Reads the list; raises UserError where it is none."""
    values_of: Callable[[bool], str]
    """Says what pixel values the model wants, given whether its channels come first."""


@dataclass(frozen=True)
class Tagger:
    """A tagger on disk; picklable.

    Args:
        model: the ONNX file.
        tag_list: the file that lists its tags.
        contract: name of the module here that knows it.
        threshold: of its own, or None.
    """

    model: Path
    tag_list: Path
    contract: str
    threshold: float | None = None

    @property
    def name(self) -> str:
        """What to call it: models are named by their folder, as all files are ``model.onnx``."""
        if self.model.parent == SHIPPED:
            return "renma's tagger"
        return self.model.parent.name if self.model.stem == "model" else self.model.stem

    def tags(self) -> tuple[Tag, ...]:
        """Returns its tags in the order of the model's numbers.

        Raises:
            UserError: the list is none.
        """
        return contract(self.contract).read_tags(self.tag_list)

    def digest(self) -> str:
        """Returns what changes when the model or its list does."""
        first, *weights = self._weights()
        return digest([self.contract, *map(file_hash, (first, self.tag_list, *weights))])

    def size(self) -> int:
        """Returns the bytes of the model, with weights that lie in a file of their own."""
        return sum(path.stat().st_size for path in self._weights())

    def _weights(self) -> list[Path]:
        beside = [self.model.with_name(self.model.name + tail) for tail in _BESIDE]
        return [self.model, *(path for path in beside if path.is_file())]


def contract(name: str) -> Contract:
    """Returns the module of a contract."""
    return cast(Contract, registry.load(HERE, name))


def find(given: str | None) -> Tagger:
    """Returns the tagger that an argument means; None means the one inside renma.

    Args:
        given: a file or folder, perhaps with ``:0.4`` behind it.

    Raises:
        UserError: there is none, or no list of tags lies beside it, or several do.
    """
    if given is None:
        return Tagger(SHIPPED / "model.onnx", SHIPPED / "selected_tags.csv", "wd14")
    path, threshold = _split(given)
    model = _model(path)
    found = [
        Tagger(model, file, name, threshold)
        for name in registry.names(HERE)
        for file in _lists(model, contract(name).LISTS)
    ]
    own = [each for each in found if each.tag_list.stem == model.stem]
    found = own or found
    if not found:
        raise UserError(
            "has no list of tags beside it",
            where=model,
            remedy="Put there what came with the model: selected_tags.csv (WD14), "
            "tag_mapping.json (CL-tagger) or tags.txt (DeepDanbooru).",
        )
    if len(found) > 1:
        names = ", ".join(each.tag_list.name for each in found)
        raise UserError(
            f"has several lists of tags beside it ({names})",
            where=model,
            remedy="Keep each tagger in a folder of its own.",
        )
    return found[0]


def _split(given: str) -> tuple[Path, float | None]:
    whole = Path(given)
    head, sign, tail = given.rpartition(":")
    if whole.exists() or not sign or not head:
        return whole, None
    try:
        threshold = float(tail)
    except ValueError:
        return whole, None
    if not 0.01 <= threshold <= 1:
        raise UserError("a threshold lies between 0.01 and 1", where=given)
    return Path(head), threshold


def _model(path: Path) -> Path:
    if not path.exists():
        raise UserError(
            "there is no such tagger",
            where=path,
            remedy="Give an .onnx file or its folder; nothing is downloaded.",
        )
    if path.is_file():
        if path.suffix.lower() != ".onnx":
            raise UserError(
                "is no .onnx file", where=path, remedy="Taggers are taken as ONNX files only."
            )
        return path
    models = sorted(each for each in path.iterdir() if each.suffix.lower() == ".onnx")
    chosen = [each for each in models if each.name == "model.onnx"] or models
    if len(chosen) == 1:
        return chosen[0]
    what = "holds several .onnx files" if models else "holds no .onnx file"
    raise UserError(what, where=path, remedy="Give the file itself." if models else "")


def _lists(model: Path, names: tuple[str, ...]) -> list[Path]:
    """Returns the lists beside a model: by their usual names, or named like the model."""
    own = [f"{model.stem}{Path(name).suffix}" for name in names]
    places = dict.fromkeys(model.with_name(name) for name in (*names, *own))
    return [place for place in places if place.is_file()]
