"""LoRAs merged into a copy of a base model, which then needs no LoRA any more.

W becomes W + sum over files of weight * (W' - W), each W' from the base weight alone, so the order
of the files does not matter; computed in float32, stored in the model's own precision. A folder
gives a folder, a single-file checkpoint a single file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

import renma
from renma.config.file_tasks import MergeOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import write_atomic
from renma.formats import layer_limits
from renma.formats.checkpoint import Place, WeightFile
from renma.formats.lora_file import LoraFile
from renma.use import model_stream
from renma.use.model_stream import Model, Reader

Entry = tuple[Path, float, LoraFile]
_WEIGHTS = frozenset({".safetensors", ".bin", ".ckpt", ".pt", ".msgpack", ".onnx", ".h5"})


class _Merger:
    """Changes the weights of one file.

    Args:
        entries: file, weight and content of each LoRA.
        source: the file's weights.
        tell: called once a merged layer.
    """

    def __init__(
        self, entries: Sequence[Entry], source: WeightFile, tell: Callable[[], None]
    ) -> None:
        self.entries, self.tell = entries, tell
        changed = {key for _, _, file in entries for key in file.layers}
        self._layers: dict[str, dict[str, Place]] = {}
        self._keys: dict[str, list[str]] = {}  # of a tensor: three where it holds q, k and v
        for place in source.places:
            if place.key in changed and place.kind in {"weight", "bias"}:
                self._layers.setdefault(place.key, {})[place.kind] = place
                self._keys.setdefault(place.tensor, []).append(place.key)
        self._told: set[str] = set()
        self._ready: dict[str, Tensor | None] = {}  # of the last layers: what was not asked for yet

    def change(self, tensor: str, read: Reader) -> Tensor | None:
        """Returns one tensor of the merged file; None if it stays as it is."""
        if tensor not in self._keys:
            return None
        if tensor not in self._ready:  # weight and bias are worked out together
            self._ready = {}  # what an odd order of the file has left is not kept
            self._ready = self._changed(self._keys[tensor], read)
        return self._ready.pop(tensor)

    def _changed(self, keys: Sequence[str], read: Reader) -> dict[str, Tensor | None]:
        stored = {p.tensor: read(p.tensor) for key in keys for p in self._layers[key].values()}
        new: dict[str, Tensor | None] = dict.fromkeys(stored)
        for key in keys:
            places = self._layers[key]
            old = {kind: place.of(stored[place.tensor]) for kind, place in places.items()}
            acting = [entry for entry in self.entries if key in entry[2].layers]
            bias = old["bias"].float() if "bias" in old else None
            made = _merged(key, old["weight"].float(), bias, acting)
            if (bias is None) != (made[1] is None):
                raise UserError(f"'{key}' changes a bias that the model does not have")
            for kind, result in zip(("weight", "bias"), made, strict=True):
                if result is None or (kind == "bias" and bias is not None and result.equal(bias)):
                    continue
                place = places[kind]
                whole = new[place.tensor]
                if whole is None:  # rows of other layers keep their bits
                    whole = new[place.tensor] = _wide(stored[place.tensor])
                place.of(whole).copy_(result)
            if key not in self._told:
                self._told.add(key)
                self.tell()
        return new


def _wide(stored: Tensor) -> Tensor:
    """Returns a copy in which nothing is lost, in float32 or wider."""
    return stored.to(stored.dtype if stored.itemsize > 4 else torch.float32, copy=True)


def run(options: MergeOptions, entries: Sequence[Entry], report: Report) -> None:
    """Writes the merged model into a new folder or file, whole or not at all.

    Raises:
        UserError: there is something already, or a layer does not fit the model.
    """
    base = model_stream.model(options.base)
    _need_new(options.out, base)
    acting = [entry for entry in entries if entry[1]]
    for path, _, file in acting:
        if lost := model_stream.missing(file.layers, base):
            raise UserError(
                f"changes {len(lost)} layers that the model does not have, such as '{lost[0]}'",
                where=path,
                remedy="Is it a LoRA for this base model?",
            )
    keys = {key for _, _, file in acting for key in file.layers}
    tell = _Count(len(keys), report)
    if base.path.is_dir():
        _write_folder(base, options, acting, tell)
    else:
        source = base.files[0]
        merger = _Merger(acting, source, tell)
        write_atomic(
            options.out,
            lambda part: model_stream.rewrite(source, part, options.precision, merger.change),
        )
        if any(name.startswith("model_ema.") for name in source.header):
            report.line("the averaged weights (model_ema.*) beside the U-Net stay as they were")
    what = " + ".join(f"{weight:g} x {path.name}" for path, weight, _ in entries)
    report.line(f"merged {what} into {len(keys)} layers of {base.path.name}")
    report.line(f"wrote {options.out}")


class _Count:
    """Tells how many layers are done."""

    def __init__(self, total: int, report: Report) -> None:
        self.done, self.total, self.report = 0, total, report

    def __call__(self) -> None:
        """One layer more."""
        self.done += 1
        self.report.event("working", done=self.done, total=self.total, what="layers")


def _write_folder(
    base: Model, options: MergeOptions, entries: Sequence[Entry], tell: Callable[[], None]
) -> None:
    work = options.out.with_name(f".{options.out.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    try:
        _copy(base.path, work, base.parts)
        for source in base.files:
            target = work / source.path.relative_to(base.path)
            merger = _Merger(entries, source, tell)
            model_stream.rewrite(source, target, options.precision, merger.change)
        if options.out.is_dir():
            options.out.rmdir()
        work.replace(options.out)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=options.out) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _merged(
    key: str, weight: Tensor, bias: Tensor | None, entries: Sequence[Entry]
) -> tuple[Tensor, Tensor | None]:
    """Returns base + sum of the changes that each LoRA makes to the base."""
    total, total_bias = weight, bias
    for path, strength, file in entries:
        layer_limits.check(key, file.layers[key], path)
        try:
            one, one_bias = renma.merged_weight(weight, bias, file.layers[key], strength)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"'{key}' does not fit the model: {reason}", where=path) from None
        if len(entries) == 1:
            return one, one_bias
        total = total + (one - weight)
        if bias is not None and total_bias is not None and one_bias is not None:
            total_bias = total_bias + (one_bias - bias)
        elif one_bias is not None:
            total_bias = one_bias if total_bias is None else total_bias + one_bias
    return total, total_bias


def _need_new(out: Path, base: Model) -> None:
    single = base.path.is_file()
    if single != (out.suffix == ".safetensors"):
        what = "a .safetensors file" if single else "a folder"
        raise UserError(
            f"is not the name of {what}",
            where=out,
            remedy=f"{base.path.name} is one, so -o is too.",
        )
    if out.exists() and (single or not out.is_dir() or any(out.iterdir())):
        raise UserError(
            "is there already, and nothing is overwritten",
            where=out,
            remedy=f"With --base, -o names a new {'file' if single else 'folder'}.",
        )


def _copy(folder: Path, work: Path, parts: Collection[str]) -> None:
    """Copies everything but the weights that are written anew, in all the forms they lie there."""
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if not path.is_file() or any(word.startswith(".") for word in place.parts):
            continue
        if place.parts[0] in parts and path.suffix in _WEIGHTS:
            continue
        target = work / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
