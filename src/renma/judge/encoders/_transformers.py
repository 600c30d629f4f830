"""Opening a model folder of transformers: whole or not at all, from this disk, in float32."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from renma.core.errors import UserError
from renma.data.pictures import flatten

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

BATCH = 16
"""Pictures or texts that are encoded at a time."""
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_FAILURES = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, EOFError,
    pickle.UnpicklingError, SafetensorError,
)  # fmt: skip
"""What transformers lets through of damaged and foreign folders."""


def model_of(classes: str, folder: Path, device: str, **arguments: Any) -> Any:
    """Returns a model, frozen.

    Args:
        classes: name of transformers' class.
        folder: as its ``save_pretrained`` writes it.
        device: auto, cpu or cuda.
        arguments: of the class.

    Raises:
        UserError: it cannot be opened, weights are missing or of another shape (transformers
            would draw those at random), or the device is not there.
    """
    with _opening(folder):
        import torch
        import transformers

        model, told = getattr(transformers, classes).from_pretrained(
            folder,
            **_LOCAL,
            **arguments,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told instead of raised, like missing ones
        )
    odd = [*told["missing_keys"], *(row[0] for row in told["mismatched_keys"])]
    if odd:
        raise UserError(
            f"lacks {len(odd)} weights of a {classes}, such as {sorted(odd)[0]}",
            where=folder,
            remedy="Take the whole model, saved for this task.",
        )
    return model.to(place(device)).eval().requires_grad_(False)


def processor_of(folder: Path) -> Any:
    """Returns what prepares pictures for a model, computed by Pillow wherever that is known.

    Pillow and torchvision scale a little differently; what is installed must not change scores.

    Raises:
        UserError: the folder does not say how pictures are prepared.
    """
    names = ("preprocessor_config.json", "processor_config.json")
    if not any((folder / name).is_file() for name in names):
        raise UserError(
            "does not say how pictures are prepared",
            where=folder,
            remedy="Put the model's preprocessor_config.json there.",
        )
    with _opening(folder):
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(folder, backend="pil", **_LOCAL)


def prepared(processor: Any, pictures: Sequence[Image.Image], like: Tensor) -> Tensor:
    """Returns what a model gets (pictures, 3, height, width); transparency is put on white."""
    import torch

    flat = [flatten(picture) for picture in pictures]
    rows = processor(images=flat, return_tensors="np")["pixel_values"]
    return torch.from_numpy(rows).to(like)


def place(device: str) -> str:
    """Returns cpu or cuda.

    Raises:
        UserError: there is no such device.
    """
    import torch

    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UserError(
            "torch finds no CUDA device here", where="device", remedy="Say --device cpu."
        )
    return "cuda" if there and device != "cpu" else "cpu"


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """Keeps transformers quiet for a moment, and makes one line of what goes wrong."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is first imported
    from transformers.utils import logging

    loud, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    except _FAILURES as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"cannot be opened: {text}", where=folder) from None
    finally:
        logging.set_verbosity(loud)
        if bars:
            logging.enable_progress_bar()
