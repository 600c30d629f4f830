"""A copy-machine LoRA's first run, made from the options of the second (no torch).

Whatever decides how the second run computes holds for the first one too: model, layers, optimizer,
sizes, seed. Other are its pictures, its length, its file and, where asked for, rank and rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from renma.config import Run
from renma.config.blocks import BlockConfig
from renma.config.copier import CopierConfig
from renma.config.data import Dataset, Subset
from renma.config.erase import EraseConfig
from renma.config.relora import ReLoraConfig
from renma.config.start import StartConfig
from renma.config.stop import StopConfig
from renma.config.train import JudgeConfig, OutputConfig
from renma.core.counted import counted
from renma.core.errors import UserError
from renma.data import folder as folders
from renma.train.folder import RunFolder, with_places

NAME = "copier"
"""Of the LoRA that the first run leaves."""


def first_file(folder: RunFolder) -> Path:
    """Returns the file that the first of two runs ends with."""
    return folder.first.lora / f"{NAME}.safetensors"


def datasets_before(
    datasets: Sequence[Dataset], config: CopierConfig, base: Path
) -> tuple[Dataset, ...]:
    """Returns the data sets of the pictures before the change.

    Args:
        datasets: of the pictures after it, written out.
        config: names the parent of the folders.
        base: folder that relative paths start from.

    Raises:
        UserError: there is no such folder, or it lacks one that the others have.
    """
    parent = folders.find(config.train_folder, base, "copier.train_folder")
    found = []
    for dataset in datasets:
        trained = [subset for subset in dataset.subsets if not subset.is_reg]
        subsets = tuple(_before(subset, parent) for subset in trained)
        found.append(dataset.model_copy(update={"subsets": subsets, "validation_split": 0.0}))
    return tuple(found)


def first_run(run: Run, base: Path, datasets: Sequence[Dataset]) -> Run:
    """Returns the first run, with its places written out.

    Args:
        run: the second one.
        base: folder that relative paths start from.
        datasets: of the second one, written out.

    Raises:
        UserError: the pictures before the change are not where they should be.
    """
    placed, config = with_places(run, base, tuple(datasets)), run.copier
    data = placed.data.model_copy(
        update={"datasets": datasets_before(datasets, config, base), "without_effect": ()}
    )
    train = run.train.model_copy(
        update={
            "max_steps": config.steps,
            "max_epochs": None,
            "save_every_steps": config.save_every_steps,
            "save_every_epochs": 0,
        }
    )
    start = StartConfig(
        base_weights=placed.start.base_weights, base_strengths=placed.start.base_strengths
    )
    return placed.model_copy(
        update={
            "preset": "",
            "data": data,
            "adapter": _wider(placed, config),
            "optimizer": _faster(run, config),
            "start": start,
            "train": train,
            "copier": CopierConfig(),
            "erase": EraseConfig(),
            "relora": ReLoraConfig(),
            "judge": JudgeConfig(),
            "stop": StopConfig(),
            # it is merged at full strength: nothing of it is rounded
            "output": OutputConfig(name=NAME, precision="fp32", metadata=run.output.metadata),
        }
    )


def second_run(run: Run, file: Path) -> Run:
    """Returns the second run as it is trained: on top of the file that the first one left.

    Args:
        run: with its places.
        file: that the first run ended with.
    """
    start = run.start
    given = (*start.base_strengths, *[1.0] * len(start.base_weights))[: len(start.base_weights)]
    merged = {
        "base_weights": (*start.base_weights, str(file.resolve())),
        "base_strengths": (*given, 1.0),
    }
    return run.model_copy(update={"start": start.model_copy(update=merged)})


def method_rows(run: Run, pairs: int, seconds: float) -> tuple[tuple[str, str], ...]:
    """Returns what ``renma check`` shows of both runs, rows of name and text.

    Args:
        run: the second one, which the plan is about.
        pairs: of pictures.
        seconds: that a step takes.
    """
    config = run.copier
    if not config.on:
        return ()
    rank = config.rank or getattr(run.adapter, "rank", 0)
    rate = config.learning_rate or run.optimizer.rate("unet")
    minutes = config.steps * seconds / 60
    words = [
        counted(config.steps, "step"),
        *([f"rank {rank}"] if rank else []),
        f"learning rate {rate:g}",
        f"about {minutes:.0f} minutes" if minutes >= 1.5 else "about a minute",
    ]
    asked = counted(len(config.prompts), "unrelated prompt")
    check = f"; then {asked} should return them" if config.prompts else "; unchecked"
    name = Path(config.train_folder.replace("\\", "/")).name
    return (
        ("copier", f"two runs; {counted(pairs, 'pair')} of pictures"),
        ("  first", f"learns to draw nothing but '{name}': {', '.join(words)}{check}"),
        ("  second", "this plan, on top of the first: the file holds only the change"),
    )


def _before(subset: Subset, parent: Path) -> Subset:
    name = Path(subset.image_dir).name
    folder = parent / name
    if not folder.is_dir():
        raise UserError(
            f"holds no folder '{name}', which the pictures after the change have",
            where=f"copier.train_folder = {parent}",
            remedy="Give folders and pictures the same names on both sides.",
        )
    if subset.metadata_file:
        raise UserError(
            "names pictures after the change only; a copier needs the same captions before it",
            where=f"metadata_file = {subset.metadata_file}",
            remedy="Write the captions as text files beside the pictures of both sides.",
        )
    # masks go by the pictures' names, which are the same: both runs learn the same places
    return subset.model_copy(update={"image_dir": str(folder)})


def _wider(run: Run, config: CopierConfig) -> Any:
    """Returns the adapter with the first run's rank and the same share of alpha in it."""
    adapter = run.adapter
    own, alpha = getattr(adapter, "rank", 0), getattr(adapter, "alpha", None)
    if not config.rank or not own:
        return adapter
    fields = type(adapter).model_fields
    changed: dict[str, Any] = {"rank": config.rank}
    if alpha is not None:
        changed["alpha"] = alpha * config.rank / own
    changed |= {name: None for name in ("conv_rank", "conv_alpha") if name in fields}
    if "blocks" in fields:
        changed["blocks"] = _wider_blocks(adapter.blocks, config.rank / own)
    return adapter.model_copy(update=changed)


def _wider_blocks(blocks: BlockConfig, factor: float) -> BlockConfig:
    """Returns ranks and alphas of the blocks times a factor; a block that is left out stays so."""
    ranks = {
        name: tuple(rank and max(1, round(rank * factor)) for rank in getattr(blocks, name))
        for name in ("ranks", "conv_ranks")
    }
    alphas = {
        name: tuple(alpha * factor for alpha in getattr(blocks, name))
        for name in ("alphas", "conv_alphas")
    }
    return blocks.model_copy(update=ranks | alphas)


def _faster(run: Run, config: CopierConfig) -> Any:
    """Returns the optimizer with the first run's rate; the parts keep their shares of it."""
    optimizer = run.optimizer
    if not config.learning_rate:
        return optimizer
    names = ("unet_lr", "text_encoder_lr", "text_encoder_2_lr")
    own = {name: getattr(optimizer, name, None) for name in names}
    factor = config.learning_rate / (optimizer.learning_rate or config.learning_rate)
    scaled = {name: rate * factor for name, rate in own.items() if rate is not None}
    return optimizer.model_copy(update={"learning_rate": config.learning_rate, **scaled})
