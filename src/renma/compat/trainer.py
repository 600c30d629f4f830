"""What both scripts do: translate the command, train as `renma train` does, leave kohya's files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from renma.cli import guarded
from renma.cli.screen import Screen
from renma.compat import manual, report, source
from renma.compat.checkpoints import Mirror
from renma.compat.draft import Draft, Places
from renma.compat.translate import refused, translate
from renma.config.tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Report, Silent
from renma.core.store import write_text
from renma.train import launcher
from renma.train.folder import RunFolder, begun


def main(words: Sequence[str], sdxl: bool) -> int:
    """Trains what a command line of sd-scripts asks for.

    Args:
        words: options after the script's name.
        sdxl: whether it is sdxl_train_network.py's.

    Returns:
        The exit code, as of `renma train`.
    """
    if {"-h", "--help"} & set(words):
        print("\n".join(manual.usage(sdxl)))
        return 0
    return guarded(lambda: _train(words, sdxl))


def _train(words: Sequence[str], sdxl: bool) -> None:
    wanted, words = launcher.split(words)
    launcher.check(wanted=wanted)
    first = os.environ.get("RANK", "0") == "0"
    with Screen() as screen, tempfile.TemporaryDirectory(prefix="renma-") as scratch:
        told: Report = screen if first else Silent()
        here = Path.cwd()
        given = source.of_words(words, sdxl, here, strict=True)
        go_on = str(given.values.get("resume") or "")
        resumed = _resumed(here / go_on) if go_on else None
        if resumed:  # a folder of ours; one of sd-scripts is refused with the others
            given = replace(given, values={**given.values, "resume": None})
        draft = translate(given, Places(here, Path(scratch)))
        if reasons := refused(draft):
            raise UserError(f"cannot be done here: {'; '.join(reasons)}", remedy="Take it out.")
        if not given.has("output_dir"):
            raise UserError("is missing", where="--output_dir", remedy="Say where files go.")
        output = here / given.get("output_dir")
        folder = resumed or folder_of(output, draft.raw["output"]["name"])
        _tell(draft, told)
        if first:
            output.mkdir(parents=True, exist_ok=True)
            told = _mirror(draft, folder, output, told)
            if not resumed:
                write_text(folder.path / "run.given.toml", report.toml(draft, "a command"))
        toml = Path(scratch) / "run.toml"
        write_text(toml, report.toml(draft, "a command"))
        options = TrainOptions(run=toml, out=folder.path, resume=resumed is not None)
        import_module("renma.train.task").run(options, told)


def _mirror(draft: Draft, folder: RunFolder, output: Path, told: Report) -> Mirror:
    name = draft.raw["output"]["name"]
    final = output / f"{name}.safetensors"
    if final.exists() and not begun(folder):
        told.event("warned", text=f"{final} is there already and will be written over")
    return Mirror(folder.lora, output, name, not draft.given.has("output_name"), told)


def folder_of(output: Path, name: str) -> RunFolder:
    """Returns the folder of a new run: NAME.renma, or the next free NAME.renma-002, ...

    Args:
        output: the --output_dir.
        name: the run's name.
    """
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    folder, number = RunFolder(output / f"{name}.renma"), 1
    while begun(folder):
        number += 1
        following = RunFolder(output / f"{name}.renma-{number:03d}")
        if restarted and not begun(following):
            return folder
        folder = following
    return folder


def _resumed(path: Path) -> RunFolder | None:
    """Returns the run's folder that --resume names, None if it is none of ours."""
    folder = RunFolder(path)
    return folder if folder.toml.is_file() and begun(folder) else None


def _tell(draft: Draft, told: Report) -> None:
    for text in draft.warnings:
        told.event("warned", text=text)
    for row in draft.rows.values():
        if row.kind == "without effect":
            told.event("warned", text=f"--{row.option}: {report.fate(row)}")
