"""What a grid is drawn with: models, and the LoRA files of runs or by themselves (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from renma.config.load import load_run
from renma.config.picture_recipe import UsedLora
from renma.config.sample import SampleConfig
from renma.core.errors import UserError
from renma.drawing.picture_source import Shelf, Source, lora_name
from renma.formats.safetensors import read_header
from renma.judge.folder import Checkpoint, RunRecord

MAME = "mame"
_SAYS_BASE = "ss_sd_model_name"


@dataclass(frozen=True, eq=False)
class Home:
    """A model, as LoRAs are drawn on it.

    Attributes:
        basis: what all recipes have in common.
        standing: LoRAs that are always there, such as those that a run was trained upon.
        sdxl: whether it is an SDXL model.
        native_size: side of its pictures in pixels.
        sample: sampler, steps and guidance where nothing else is said.
    """

    basis: Mapping[str, Any]
    standing: tuple[UsedLora, ...]
    sdxl: bool
    native_size: int
    sample: SampleConfig


@dataclass(frozen=True, eq=False)
class Entry:
    """One LoRA file on its model.

    Attributes:
        label: for people, such as ``step 300``.
        path: the file.
        home: the model.
        step: training steps, if a run tells them.
    """

    label: str
    path: Path
    home: Home
    step: int | None = None

    @cached_property
    def lora(self) -> UsedLora:
        """The file with its hash, at full strength."""
        return Shelf(None, {}).used(lora_name(self.path), self.path)


@dataclass(frozen=True)
class Given:
    """What one argument of the command means.

    Attributes:
        name: for people.
        home: the model.
        entries: LoRA files, from the least to the most trained.
        record: the run, if it is one.
    """

    name: str
    home: Home
    entries: tuple[Entry, ...]
    record: RunRecord | None = None


def read(sources: Sequence[Path], model: str, assignments: tuple[str, ...]) -> list[Given]:
    """Returns what the command's arguments mean; labels tell entries of several ones apart.

    Args:
        sources: folders of runs, or LoRA files.
        model: to draw with instead of their own; empty is their own.
        assignments: ``key=value`` of the ``[model]`` section.

    Raises:
        UserError: one is neither, nothing was trained there, or its model is not known.
    """
    found = [_given(path, model, assignments) for path in sources]
    if len(found) < 2:
        return found
    return [
        replace(one, entries=tuple(replace(e, label=f"{one.name}: {e.label}") for e in one.entries))
        if one.record is not None
        else one
        for one in found
    ]


def file_entry(path: Path, model: str, assignments: tuple[str, ...]) -> Entry:
    """Returns a LoRA file on the model it was made for, as far as that is known.

    Args:
        path: the file.
        model: to draw with; empty is its own.
        assignments: ``key=value`` of the ``[model]`` section.

    Raises:
        UserError: it is no safetensors file, or does not say what its model is.
    """
    metadata = read_header(path)[1]
    own = path.resolve().parent.parent
    if not model and (own / "run.toml").is_file() and path.resolve().parent.name == "lora":
        record = RunRecord.open(own)
        home = _home(_run_source(record, "", assignments))
        known = {c.path.resolve(): c.step for c in record.checkpoints()}
        return Entry(lora_name(path), path, home, known.get(path.resolve()))
    if not model and metadata.get(_SAYS_BASE) != MAME:
        named = metadata.get(_SAYS_BASE)
        said = f"names its model '{named}' only" if named else "does not say which model it is for"
        raise UserError(said, where=path, remedy="Say where that model lies with --model.")
    return Entry(lora_name(path), path, _home(Source.of(model or MAME, assignments)))


def _given(path: Path, model: str, assignments: tuple[str, ...]) -> Given:
    if path.is_file() and path.name != "run.toml":
        entry = file_entry(path, model, assignments)
        return Given(entry.label, entry.home, (entry,))
    if path.suffix == ".safetensors":
        raise UserError("there is no such file", where=path)
    record = RunRecord.open(path)
    found = record.need_checkpoints()
    home = _home(_run_source(record, model, assignments, found[-1]))
    entries = tuple(Entry(c.label, c.path, home, c.step) for c in found)
    return Given(record.path.resolve().name, home, entries, record)


def _run_source(
    record: RunRecord, model: str, assignments: tuple[str, ...], last: Checkpoint | None = None
) -> Source:
    run = load_run(record.path / "run.toml", [f"model.{one}" for one in assignments])
    # any LoRA of the run says that its noise schedule is the one that was trained
    path = last.path if last else record.path / "lora"
    source = Source.of_run(run, record.path, path)
    if not model:
        return source
    own = Source.of(model, assignments).model
    place = own.path if own.path == MAME else str(Path(own.path).resolve())
    return replace(source, model=own.model_copy(update={"path": place}))


def _home(source: Source) -> Home:
    facts = source.facts()
    sdxl = facts.family == "sdxl"
    standing = Shelf(None, {}).standing(source)
    return Home(source.basis(facts), standing, sdxl, facts.native_size, source.sample)
