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
from renma.compat.naming import renamed
from renma.compat.translate import refused, translate
from renma.config.run_tasks import TrainOptions
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
        resumed = None
        if given.values.get("resume"):
            resumed = _resumed(str(given.get("resume")), here)
            given = replace(given, values={**given.values, "resume": None})
        places, draft = Places(here, Path(scratch)), None
        try:
            draft = translate(given, places)
            _begin(draft, resumed, places, told)
        except UserError as error:
            raise renamed(error, given, places, draft) from None


def _begin(draft: Draft, resumed: RunFolder | None, places: Places, told: Report) -> None:
    """Trains what a translated command asks for.

    Args:
        draft: the translation.
        resumed: the run that goes on, or None.
        places: where the command was given, and a folder for its run.toml.
        told: told everything, of several processes in the first alone.
    """
    given, first = draft.given, os.environ.get("RANK", "0") == "0"
    if reasons := refused(draft):
        raise UserError(f"cannot be done here: {'; '.join(reasons)}", remedy="Take it out.")
    if not given.has("output_dir"):
        raise UserError("is missing", where="--output_dir", remedy="Say where files go.")
    output = places.here / given.get("output_dir")
    folder = resumed or folder_of(output, draft.raw["output"]["name"])
    _tell(draft, told)
    if first:
        output.mkdir(parents=True, exist_ok=True)
        told = _mirror(draft, folder, output, told)
        if not resumed:
            write_text(folder.path / "run.given.toml", report.toml(draft, "a command"))
    toml = places.there / "run.toml"
    write_text(toml, report.toml(draft, "a command"))
    options = TrainOptions(run=toml, out=folder.path, resume=resumed is not None)
    import_module("renma.cli.train").run(options, told)


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


def _resumed(name: str, here: Path) -> RunFolder:
    """Returns the run's folder that --resume names.

    Raises:
        UserError: there is none, or it is not one of renma's.
    """
    folder, where = RunFolder(here / name), f"--resume={name}"
    if folder.toml.is_file() and begun(folder):
        return folder
    if not folder.path.is_dir():
        what = "is a file, not a folder" if folder.path.exists() else "there is no such folder"
        raise UserError(what, where=where, remedy=_RUN)
    inside = sorted(p.name for p in folder.path.glob("*.renma*") if begun(RunFolder(p)))
    if inside:
        remedy = f"Did you mean {Path(name) / inside[-1]}?"
        raise UserError("is no run's folder, but holds one", where=where, remedy=remedy)
    theirs = any((folder.path / file).exists() for file in _STATE_OF_THEIRS)
    what = "is a state of sd-scripts, which cannot be read" if theirs else "holds no run of renma"
    remedy = f"{_RUN} --network_weights FILE begins from a LoRA's weights." if theirs else _RUN
    raise UserError(what, where=where, remedy=remedy)


_RUN = "Give the folder NAME.renma in the --output_dir of the run, or take --resume out."
_STATE_OF_THEIRS = ("train_state.json", "optimizer.bin", "random_states_0.pkl")
"""Files in a state folder that sd-scripts (accelerate) wrote."""


def _tell(draft: Draft, told: Report) -> None:
    for text in draft.warnings:
        told.event("warned", text=text)
    for row in draft.rows.values():
        if row.kind == "without effect":
            told.event("warned", text=f"--{row.option}: {report.fate(row)}")
