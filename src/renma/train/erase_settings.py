"""What [erase] decides about the rest of a run where nobody says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from renma.config import Run
from renma.config.erase import ErasePrompt
from renma.config.erase_prompts import prompts
from renma.config.sample import SampleConfig
from renma.config.train import TrainConfig
from renma.core.errors import UserError

_PREVIEWS = 6
"""Preview pictures at most, where the run names no prompts."""
_GRAIN = 64
"""Sides that are drawn anew are multiples of it; for small models of an eighth of their own."""
_TIMES = 5
"""How often they are drawn."""


def settled(run: Run, written: Mapping[str, Any], base: Path) -> Run:
    """Returns a run that erases with its concepts written out; any other run as it is.

    Only the U-Net is trained, never in fp16 unless it is asked for (and then refused with the
    reason), and the targets are previewed.

    Args:
        run: the run.
        written: its file with ``--set`` over it, without a preset.
        base: folder that relative paths start from.

    Raises:
        UserError: a mistake in the file of concepts, or a text encoder that is to be trained.
    """
    if not run.erase.on:
        return run
    train = written.get("train", {})
    if run.train.text_encoder and "text_encoder" in train:
        raise UserError(
            "cannot be trained by [erase]: what the words say is what stays, the frozen answers to "
            "them are the goal",
            where="train.text_encoder = true",
            remedy="Leave it out.",
        )
    concepts = prompts(run.erase, base)
    return run.model_copy(
        update={
            "erase": run.erase.model_copy(update={"prompts": concepts, "prompts_file": ""}),
            "train": _train(run.train, train),
            "sample": _sample(run.sample, concepts, run.train.max_steps),
        }
    )


def _train(train: TrainConfig, written: Mapping[str, Any]) -> TrainConfig:
    update: dict[str, Any] = {"text_encoder": False}
    if train.precision == "fp16" and written.get("precision", "auto") == "auto":
        update["precision"] = "fp32"  # an older GPU's choice for other runs
    return train.model_copy(update=update)


def _sample(sample: SampleConfig, concepts: tuple[ErasePrompt, ...], steps: int) -> SampleConfig:
    """Returns previews of the targets, and of something else that should stay as it is."""
    if sample.prompts or sample.prompts_file:
        return sample
    often: dict[str, Any] = {}
    if {"every_steps", "every_epochs", "at_first"}.isdisjoint(sample.model_fields_set):
        often = {"every_steps": max(1, steps // _TIMES), "at_first": True}
    elif not (sample.every_steps or sample.at_first):
        return sample
    targets = list(dict.fromkeys(_line(one.target) for one in concepts))
    others = dict.fromkeys(_line(one.like) for one in concepts)
    others = [text for text in others if text not in targets]
    return sample.model_copy(update={"prompts": (*targets[: _PREVIEWS - 1], *others[:1]), **often})


def grain_of(native: int) -> int:
    """Returns what sides drawn anew are multiples of, in pixels.

    Args:
        native: the model's own side.
    """
    return min(_GRAIN, native // 8)


def _line(text: str) -> str:
    """Returns a text as a prompt line in which nothing is an option."""
    return " ".join(text.split()).replace(" --", " ")
