"""What the files in [start] mean for the plan: do they fit, what of [adapter] do they overrule.

kohya's naming is read off the header, so that a check needs no torch; other namings need it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from renma.config import Run
from renma.config.layer_table import Slot
from renma.core.counted import idle
from renma.core.errors import UserError
from renma.core.place import is_there
from renma.formats.safetensors import read_header
from renma.train.given import given

Layers = dict[str, dict[str, tuple[int, ...]]]
"""Layer key to suffix to shape."""

_KOHYA = re.compile(r"(lora_(unet|te\d?)_[^.]+)\.(.+)")
_KEPT = frozenset({
    "algo", "dropout", "rank_dropout", "module_dropout", "dora_norm_gradient", "unit", "blocks",
    "max_norm", "lr_ratio", "unet_lr_ratio", "text_encoder_lr_ratio", "min_timestep_rank",
    "timestep_rank_power",
})  # fmt: skip
"""Options of [adapter] that stay in force beside a file's own ranks."""
_MARKS = {
    "lora_down.weight": "lora", "hada_w1_a": "loha", "lokr_w1": "lokr", "lokr_w1_a": "lokr",
    "on_input": "ia3", "mora": "mora", "a1.weight": "glora", "oft_blocks": "oft", "diff": "full",
    "w_norm": "full",
}  # fmt: skip
_PARTS = {"unet": "unet", "te2": "text_encoder_2"}
_LIKE_LORA = frozenset({"lora", "lora_fa", "dylora"})


def check(run: Run, base: Path, table: Iterable[Slot]) -> None:
    """Looks into every file that training begins from.

    Raises:
        UserError: one is missing, no LoRA, made for another model, or of another form.
    """
    slots = {slot.name: slot for slot in table}
    start = run.start
    named = [("base_weights", name) for name in start.base_weights]
    for key, name in [*named, ("weights", start.weights)]:
        if name and not is_there(base / name):
            raise UserError(
                "there is no such file",
                where=f"start.{key} = {name}",
                remedy=f"Paths start at the folder of the run file, {base}.",
            )
    for name in start.base_weights:
        _check_fit(_layers(base / name), slots, base / name)
    if start.weights:
        path = base / start.weights
        layers = _layers(path)
        _check_fit(layers, slots, path)
        if not start.ranks_from_file:
            _check_form(run, layers, path)


def trained_numbers(run: Run, base: Path, parts: Iterable[str]) -> int:
    """Returns how many numbers a network with a file's own layers and ranks trains."""
    total = 0
    for key, tensors in _layers(base / run.start.weights).items():
        part = _PARTS.get(key.split("_")[1], "text_encoder")
        if part in parts:
            frozen = {"lora_down.weight"} if run.adapter.algorithm == "lora_fa" else set()
            total += sum(math.prod(s) for n, s in tensors.items() if s and n not in frozen)
    return total


def overruled(run: Run) -> list[str]:
    """Returns a line if options of [adapter] have no effect because a file decides."""
    if not run.start.ranks_from_file:
        return []
    dead = sorted(given(run.adapter) - _KEPT)
    if not dead:
        return []
    return [f"adapter.{idle(dead)}: start.ranks_from_file is true."]


def _layers(path: Path) -> Layers:
    """Returns names and shapes of a LoRA file.

    Raises:
        UserError: it is no LoRA.
    """
    header, _ = read_header(path)
    found: Layers = {}
    for name, row in header.items():
        match = _KOHYA.fullmatch(name)
        if match is None:
            from renma.formats import lora_file

            read = lora_file.read(path).layers
            return {k: {n: tuple(t.shape) for n, t in row.items()} for k, row in read.items()}
        found.setdefault(match[1], {})[match[3]] = tuple(row["shape"])
    return found


def _check_fit(layers: Layers, slots: Mapping[str, Slot], path: Path) -> None:
    for key, tensors in layers.items():
        slot = slots.get(key)
        down, up = tensors.get("lora_down.weight"), tensors.get("lora_up.weight")
        core = "lora_mid.weight" in tensors
        if slot is None:
            what = f"changes a layer '{key}' that this model does not have"
        elif (
            down
            and up
            and (math.prod(down[1:]), up[0])
            != (
                slot.inputs if core else slot.columns,
                slot.outputs,
            )
        ):
            what = f"was made for a layer '{key}' of another size"
        else:
            continue
        raise UserError(what, where=path, remedy="Is it a LoRA for this base model?")


def _check_form(run: Run, layers: Layers, path: Path) -> None:
    own = run.adapter.algorithm
    for key, tensors in layers.items():
        kind = next((algo for mark, algo in _MARKS.items() if mark in tensors), own)
        if kind != own and not (kind == "lora" and own in _LIKE_LORA) and "w_norm" not in tensors:
            raise UserError(
                f"holds {kind}, and adapter.algo is {own}",
                where=path,
                remedy=f"Set adapter.algo = '{kind}', or start.ranks_from_file = true.",
            )
        rank = tensors.get("lora_down.weight", (0,))[0]
        plain = not (run.adapter.blocks.ranks or getattr(run.adapter, "conv_rank", None))
        wanted = getattr(run.adapter, "rank", rank)
        if rank and plain and rank != wanted:
            raise UserError(
                f"has rank {rank} in '{key}', and adapter.rank is {wanted}",
                where=path,
                remedy="start.ranks_from_file = true takes ranks and alphas from the file.",
            )
