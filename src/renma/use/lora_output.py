"""What every file tool does around its work: say what was read, never write over it, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from renma.core.errors import UserError
from renma.core.events import Report
from renma.engine import layer_facts
from renma.formats import lora_file
from renma.formats.lora_file import LoraFile
from renma.formats.metadata import shown
from renma.use.layer_update import Layer, is_lora


def keep_inputs(out: Path, inputs: Sequence[Path]) -> None:
    """Refuses to write over what is read: a file of the user's would be gone.

    Raises:
        UserError: ``out`` is one of the inputs, under whatever name, or lies in a model's folder.
    """
    if not out.exists():
        return
    for source in inputs:
        inside = source.is_dir() and out.resolve().is_relative_to(source.resolve())
        if inside or (source.exists() and out.samefile(source)):
            raise UserError(
                "is read by this command and would be written over",
                where=out,
                remedy="Give the result another name.",
            )


def read(path: Path, report: Report, *, keeps_embeddings: bool = False) -> LoraFile:
    """Reads a LoRA file whose contents go into another file, and says what does not.

    Args:
        path: the file.
        report: told of embeddings beside the LoRA, and of what was not in the file itself.
        keeps_embeddings: whether they are written again.

    Raises:
        UserError: it is no LoRA file.
    """
    file = lora_file.read(path)
    for text in file.notes:
        report.line(f"{path.name}: {text}")
    if file.embeddings:
        what = "kept as they are" if keeps_embeddings else "left out of the new file"
        report.event("warned", text=f"{path.name}: {_embeddings(file)} are {what}")
    return file


def notes_of(file: LoraFile) -> list[str]:
    """Returns what to say of a file that is only looked at."""
    passed = [f"{_embeddings(file)} are passed over"] if file.embeddings else []
    return [*file.notes, *passed]


def _embeddings(file: LoraFile) -> str:
    names = sorted({name.removeprefix(lora_file.BUNDLE).split(".")[0] for name in file.embeddings})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"embeddings beside the LoRA ({shown(', '.join(names[:3]), 120)}{more})"


def naming_of(files: Sequence[LoraFile], layers: Mapping[str, Layer]) -> str:
    """Returns the naming of a new file: that of the old ones where they agree, else kohya's.

    What diffusers wrote in its older ways is written in its present one. Layers that diffusers
    cannot load are written in kohya's.
    """
    dotted = {"peft", "diffusers-old", "diffusers"}
    found = {"diffusers" if file.naming in dotted else file.naming for file in files}
    naming = found.pop() if len(found) == 1 else "kohya"
    plain = all(map(is_lora, layers.values()))
    return "kohya" if naming == "diffusers" and not plain else naming


def save(path: Path, layers: Mapping[str, Layer], metadata: Mapping[str, str], naming: str) -> None:
    """Writes a LoRA file atomically, its hashes computed anew.

    Raises:
        UserError: a number is too large for its precision; nothing has been written.
    """
    for key, layer in layers.items():
        for suffix, tensor in layer.items():
            if not layer_facts.is_finite(tensor):
                raise UserError(
                    f"not written: '{key}.{suffix}' is too large for {tensor.dtype}",
                    where=path,
                    remedy="Use --precision fp32.",
                )
    lora_file.write(path, LoraFile(dict(layers), dict(metadata), naming), naming)
