"""The base model with a run's LoRA in it, beside the LoRA, where ``relora.merged`` asks for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from renma.config import Run, load_run
from renma.core.errors import UserError
from renma.core.events import Report

FOLDER = "merged"
"""In a run's folder."""


def write(folder: Path, report: Report) -> None:
    """Writes ``merged/NAME`` as the base is one: a folder or a single file.

    What is there stays if it is newer than the LoRA. A failure is said; the LoRA is there.

    Args:
        folder: of a run that is over.
        report: told what is done.
    """
    run = load_run(folder / "run.toml")
    lora = folder / "lora" / f"{run.output.name}.safetensors"
    if not (run.relora.every_steps and run.relora.merged and lora.exists()):
        return
    place = run.model.place(folder)
    target = folder / FOLDER / (run.output.name + (".safetensors" if place.is_file() else ""))
    if target.exists() and target.stat().st_mtime >= lora.stat().st_mtime:
        return
    try:
        _replace(target, run, folder, place, lora, report)
    except UserError as error:
        report.event("warned", text=f"no merged model: {error.line()}")
    except OSError as error:
        report.event(
            "warned", text=f"no merged model: {target} cannot be written ({error.strerror})"
        )


def _replace(target: Path, run: Run, folder: Path, place: Path, lora: Path, report: Report) -> None:
    # only here: most runs end with a LoRA alone
    from renma.config.file_tasks import MergeOptions
    from renma.use import merge

    strengths = (*run.start.base_strengths, *[1.0] * len(run.start.base_weights))
    first = zip(run.start.base_weights, strengths, strict=False)
    files = [f"{folder / name}:{strength:g}" for name, strength in first]
    _remove(target)  # of an earlier LoRA
    merge.run(MergeOptions(files=(*files, f"{lora}:1"), out=target, base=str(place)), report)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
