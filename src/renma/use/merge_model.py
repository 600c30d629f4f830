"""LoRAs merged into a copy of a base model, which then needs no LoRA any more.

W becomes W + sum over files of weight * (W' - W), each W' from the base weight alone, so the order
of the files does not matter; computed in float32, stored in the model's own precision.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

import renma
from renma.config.file_tasks import MergeOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.formats.lora_file import LoraFile
from renma.use import model_stream
from renma.use.model_stream import PartFile, Reader

Entry = tuple[Path, float, LoraFile]
_WEIGHTS = frozenset({".safetensors", ".bin", ".ckpt", ".pt", ".msgpack", ".onnx", ".h5"})


class _Merger:
    """Changes the weights of one part.

    Args:
        entries: file, weight and content of each LoRA.
        source: the part's weights.
        tell: called once a merged layer.
    """

    def __init__(
        self, entries: Sequence[Entry], source: PartFile, tell: Callable[[], None]
    ) -> None:
        self.entries, self.source, self.tell = entries, source, tell
        self._ready: dict[str, Tensor] = {}  # the half of a weight and bias not asked for yet

    def change(self, name: str, read: Reader) -> Tensor:
        """Returns one tensor of the merged part."""
        if name in self._ready:
            return self._ready.pop(name)
        key, module = self.source.key(name), self.source.module(name)
        acting = [entry for entry in self.entries if key in entry[2].layers]
        if not acting or name.removeprefix(module) not in {".weight", ".bias"}:
            return read(name)
        pair = f"{module}.weight", f"{module}.bias"
        weight = read(pair[0]).float()
        bias = read(pair[1]).float() if pair[1] in self.source.header else None
        merged = _merged(key, weight, bias, acting)
        if (bias is None) != (merged[1] is None):
            raise UserError(f"'{key}' changes a bias that the model does not have")
        self._ready = {n: t for n, t in zip(pair, merged, strict=True) if t is not None}
        self.tell()
        return self._ready.pop(name)


def run(options: MergeOptions, entries: Sequence[Entry], report: Report) -> None:
    """Writes the merged model into a new folder, whole or not at all.

    Raises:
        UserError: the folder is not empty, or a layer does not fit the model.
    """
    folder = model_stream.folder_of(options.base)
    parts = model_stream.of_folder(folder)
    _need_new(options.out)
    acting = [entry for entry in entries if entry[1]]
    for path, _, file in acting:
        if lost := model_stream.missing(file.layers, parts):
            raise UserError(
                f"changes {len(lost)} layers that the model does not have, such as '{lost[0]}'",
                where=path,
                remedy="Is it a LoRA for this base model?",
            )
    keys = {key for _, _, file in acting for key in file.layers}
    work = options.out.with_name(f".{options.out.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    try:
        _copy(folder, work, parts)
        _write(parts, folder, work, options.precision, acting, _Count(len(keys), report))
        if options.out.is_dir():
            options.out.rmdir()
        work.replace(options.out)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=options.out) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    what = " + ".join(f"{weight:g} x {path.name}" for path, weight, _ in entries)
    report.line(f"merged {what} into {len(keys)} layers of {folder.name}")
    report.line(f"wrote {options.out}")


class _Count:
    """Tells how many layers are done."""

    def __init__(self, total: int, report: Report) -> None:
        self.done, self.total, self.report = 0, total, report

    def __call__(self) -> None:
        """One layer more."""
        self.done += 1
        self.report.event("caching", done=self.done, total=self.total, what="layers")


def _write(
    parts: Mapping[str, PartFile],
    folder: Path,
    work: Path,
    precision: str,
    entries: Sequence[Entry],
    tell: Callable[[], None],
) -> None:
    for source in parts.values():
        merger = _Merger(entries, source, tell)
        target = work / source.path.relative_to(folder)
        model_stream.rewrite(source, target, precision, merger.change)


def _merged(
    key: str, weight: Tensor, bias: Tensor | None, entries: Sequence[Entry]
) -> tuple[Tensor, Tensor | None]:
    """Returns base + sum of the changes that each LoRA makes to the base."""
    total, total_bias = weight.clone(), None if bias is None else bias.clone()
    for path, strength, file in entries:
        try:
            one, one_bias = renma.merged_weight(weight, bias, file.layers[key], strength)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"'{key}' does not fit the model: {reason}", where=path) from None
        if len(entries) == 1:
            return one, one_bias
        total += one - weight
        if bias is not None and total_bias is not None and one_bias is not None:
            total_bias += one_bias - bias
        elif one_bias is not None:
            total_bias = one_bias if total_bias is None else total_bias + one_bias
    return total, total_bias


def _need_new(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(
            "is there already, and nothing is overwritten",
            where=out,
            remedy="With --base, -o names a new folder.",
        )


def _copy(folder: Path, work: Path, parts: Mapping[str, PartFile]) -> None:
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
