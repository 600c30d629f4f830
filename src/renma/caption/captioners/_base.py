"""A captioner opened: pictures in, captions out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from renma.core import json_file, keyed, registry
from renma.core.errors import UserError
from renma.core.store import digest, file_hash
from renma.core.text_file import decode

if TYPE_CHECKING:
    from PIL import Image

HERE = "renma.caption.captioners"
_PARTS = frozenset({".json", ".safetensors", ".bin", ".txt", ".model", ".jinja"})
"""Endings of files that decide what a model says."""


@dataclass(frozen=True)
class Manner:
    """How captions are made.

    Args:
        prompt: beginning or question, or None for the model's own.
        beams: captions followed at a time; 0 draws at random.
        top_p: chance of the words that are drawn from.
        seed: of the draws.
        max_length: tokens.
        min_length: tokens.
    """

    prompt: str | None
    beams: int
    top_p: float
    seed: int
    max_length: int
    min_length: int

    def words(self) -> dict[str, Any]:
        """Returns the arguments of transformers' ``generate``."""
        limits = {"max_new_tokens": self.max_length, "min_new_tokens": self.min_length}
        if not self.beams:
            return {**limits, "do_sample": True, "top_p": self.top_p, "num_beams": 1}
        return {**limits, "do_sample": False, "num_beams": self.beams}


class Way(Protocol):
    """What a module of this folder says."""

    TYPES: tuple[str, ...]
    """Values of ``model_type`` in config.json."""
    PROMPT: str
    """What it is asked where nobody says; empty where it needs no question."""
    ONE_BY_ONE: bool
    """Whether it is shown one picture at a time."""
    load: Callable[[Path, Mapping[str, Any]], tuple[Any, Any]]
    """Returns model and processor of a folder, given arguments of ``from_pretrained``."""
    ask: Callable[[Any, Sequence[Image.Image], str], Mapping[str, Any]]
    """Returns the model's inputs of pictures and a prompt."""
    read: Callable[[Any, Any, Mapping[str, Any], str], list[str]]
    """Returns the captions of generated token ids (pictures, tokens)."""


def way_of(folder: Path) -> Way:
    """Returns the module that knows a model.

    Raises:
        UserError: the folder holds no model, or one that is not known.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(
            "holds no model: there is no config.json",
            where=folder,
            remedy="Give the folder of a captioner as transformers saves it, such as BLIP's.",
        )
    config = json_file.parse(decode(file.read_bytes(), file)[0], file)
    kind = config.get("model_type") if isinstance(config, dict) else None
    ways = [cast(Way, registry.load(HERE, name)) for name in registry.names(HERE)]
    for way in ways:
        if kind in way.TYPES:
            return way
    known = ", ".join(sorted(each for way in ways for each in way.TYPES))
    raise UserError(
        f"'{kind}' is no captioner that is known", where=file, remedy=f"Known: {known}."
    )


def folder_digest(folder: Path) -> str:
    """Returns what changes when any file of a model does."""
    files = sorted(f for f in folder.iterdir() if f.is_file() and f.suffix.lower() in _PARTS)
    return digest([part for file in files for part in (file.name, file_hash(file))])


class Captioner:
    """An open captioner.

    Args:
        folder: of the model.
        manner: how captions are made.
        device: auto, cpu or cuda.
        precision: auto, fp32, bf16 or fp16.
        threads: processor threads it may use.

    Raises:
        UserError: the folder holds no such model, or the device is not there.
    """

    def __init__(
        self, folder: Path, manner: Manner, device: str, precision: str, threads: int
    ) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is first imported
        import torch

        torch.set_num_threads(threads)
        self._way, self._manner = way_of(folder), manner
        self.device = _device(device)
        kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        usual = "bf16" if self.device == "cuda" else "fp32"
        self._dtype = kinds[usual if precision == "auto" else precision]
        how = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._model, self._processor = self._way.load(folder, how)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"cannot be opened: {text}", where=folder) from None
        self._model = self._model.to(self.device, self._dtype).eval()
        self._prompt = self._way.PROMPT if manner.prompt is None else manner.prompt

    def captions(self, pictures: Sequence[tuple[Image.Image, str]]) -> list[str]:
        """Returns the captions of pictures, each with the digest of its bytes.

        What is drawn at random follows from seed and digest alone.
        """
        import torch

        alone = self._way.ONE_BY_ONE or not self._manner.beams
        size = 1 if alone else len(pictures)
        found: list[str] = []
        for at in range(0, len(pictures), size):
            part = pictures[at : at + size]
            with torch.random.fork_rng(), torch.inference_mode():
                torch.manual_seed(keyed.key(self._manner.seed, "describe", part[0][1]))
                found += self._describe([picture for picture, _ in part])
        return [" ".join(text.split()) for text in found]

    def _describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        inputs = self._way.ask(self._processor, pictures, self._prompt)
        placed = {key: self._placed(value) for key, value in inputs.items()}
        ids = self._model.generate(**placed, **self._manner.words())
        return self._way.read(self._processor, ids, placed, self._prompt)

    def _placed(self, value: Any) -> Any:
        import torch

        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self.device, self._dtype if value.is_floating_point() else value.dtype)


def _device(wanted: str) -> str:
    import torch

    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise UserError(
            "torch finds no CUDA device here", where="device", remedy="Say --device cpu."
        )
    return "cuda" if there and wanted != "cpu" else "cpu"
