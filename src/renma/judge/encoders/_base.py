"""What every encoder is, and the encoder that a person names: ``clip:FOLDER``, ``FOLDER``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from renma.core import json_file, registry
from renma.core.errors import UserError, did_you_mean
from renma.core.text_file import decode

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

HERE = "renma.judge.encoders"


class Encoder(Protocol):
    """Turns pictures into features; how near two of them lie says how alike pictures are."""

    name: str
    """As it is said in verdicts."""

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Returns features (pictures, d), float32, a row for each picture, not normalised."""
        ...


class Kind(Protocol):
    """What a module of this folder says whose encoders lie in files."""

    FILES: str
    """What the files are, for people."""
    fits: Callable[[Path, Mapping[str, Any]], bool]
    """Says whether a path is of this kind, given the path and what its config.json holds."""
    opened: Callable[[Path, str], Encoder]
    """Opens a path on a device (auto, cpu, cuda); raises UserError where it cannot be."""


def encoder_of(text: str, device: str = "auto") -> Encoder:
    """Returns the encoder that a person names.

    Args:
        text: ``KIND:FOLDER``, such as ``dino:models/dinov2-small``; or a folder alone, whose kind
            is then told from its files.
        device: auto, cpu or cuda.

    Raises:
        UserError: no such kind or folder, or the folder holds nothing of the kind.
    """
    name, path = _split(text)
    if not path.exists():
        raise UserError(
            "there is no such encoder",
            where=path,
            remedy="Give its folder; nothing is downloaded.",
        )
    if name is None:
        name = _guessed(path)
    return kinds()[name].opened(path, device)


def kinds() -> dict[str, Kind]:
    """Returns the kinds that lie in files, by name."""
    modules = {name: registry.load(HERE, name) for name in registry.names(HERE)}
    return {n: cast(Kind, m) for n, m in modules.items() if hasattr(m, "opened")}


def config_of(path: Path) -> dict[str, Any]:
    """Returns what a folder's config.json holds; nothing where there is none.

    Raises:
        UserError: it is no JSON.
    """
    file = path / "config.json"
    if not file.is_file():
        return {}
    config = json_file.parse(decode(file.read_bytes(), file)[0], file)
    return config if isinstance(config, dict) else {}


def _split(text: str) -> tuple[str | None, Path]:
    """Returns kind, or None, and path; a drive's letter (``C:``) is no kind."""
    whole = Path(text)
    name, sign, rest = text.partition(":")
    if whole.exists() or not sign:
        if text in kinds() and not whole.exists():
            raise UserError(f"'{text}' needs a folder", remedy=f"Such as {text}:models/my-{text}.")
        return None, whole
    if name in kinds():
        return name, Path(rest)
    if len(name) > 1 and "/" not in name and "\\" not in name:
        raise UserError(
            f"'{name}' is no kind of encoder",
            where=text,
            remedy=did_you_mean(name, kinds()) or f"Known: {', '.join(kinds())}.",
        )
    return None, whole


def _guessed(path: Path) -> str:
    config = config_of(path)
    for name, kind in kinds().items():
        if kind.fits(path, config):
            return name
    known = "; ".join(f"{name}: {kind.FILES}" for name, kind in kinds().items())
    raise UserError("is no encoder that is known", where=path, remedy=f"Known are {known}.")
