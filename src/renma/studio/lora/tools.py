"""What is made of LoRA files: a tool's form from the page, as options of the task that does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from renma.config import validate
from renma.core.errors import MissingError, UserError
from renma.studio import forms
from renma.studio.lora.change import new_file
from renma.studio.place import Place

Tool = Literal["merge", "resize", "convert", "extract", "cut", "verify"]
_READ = {"file", "tuned", "base", "model"}


class Part(BaseModel):
    """One LoRA of a sum."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(max_length=1000)
    weight: float = Field(1.0, ge=-100, le=100, allow_inf_nan=False)


class Work(BaseModel):
    """A tool with what it is told; names as the task's own options."""

    model_config = ConfigDict(extra="forbid")

    tool: Tool
    options: dict[str, str | int | float | bool | None] = Field(default_factory=dict, max_length=30)
    files: list[Part] = Field(default_factory=list, max_length=50)

    @property
    def task(self) -> str:
        """The name of the task."""
        return f"file {self.tool}"


def options(work: Work, place: Place) -> dict[str, Any]:
    """Returns the options of the job, checked; every path is whole.

    Raises:
        OutsideError: a path leads out of the workspace.
        UserError: something is missing, taken, or does not fit.
    """
    given = {name: v for name, v in work.options.items() if v is not None and v != ""}
    found: dict[str, Any] = {n: v for n, v in given.items() if n not in _READ and n != "out"}
    for name in _READ & given.keys():
        found[name] = "mame" if given[name] == "mame" else str(_there(str(given[name]), place))
    if "out" in given:
        folder = work.tool == "merge" and "base" in found and not Path(found["base"]).is_file()
        found["out"] = str((_new_folder if folder else new_file)(str(given["out"]), place))
    if work.tool == "merge":
        found["files"] = [f"{_there(p.file, place)}:{p.weight:g}" for p in work.files]
        if not work.files:
            raise UserError("no file is chosen", remedy="Add at least one.")
    elif work.files:
        raise UserError(f"'{work.task}' takes one file")
    checked = validate(forms.options_of(work.task).options, found, work.task)
    return checked.model_dump(mode="json", by_alias=True, exclude_unset=True)


def about(work: Work) -> str:
    """Returns the file that a tool makes or looks at, as the page named it."""
    return str(work.options.get("out") or work.options.get("file") or "")


def line(work: Work, made: dict[str, Any], place: Place) -> str:
    """Returns the command that does the same, in the workspace."""
    short = {name: _short(value, place.root) for name, value in made.items()}
    return forms.command_line(work.task, short)


def _short(value: Any, root: Path) -> Any:
    if isinstance(value, list):
        return [_short(each, root) for each in value]
    return value.replace(f"{root}/", "") if isinstance(value, str) else value


def _there(name: str, place: Place) -> Path:
    path = place.inside(name)
    if not name or not path.exists():
        raise MissingError("there is no such file", where=name[:200])
    return path


def _new_folder(name: str, place: Place) -> Path:
    """Returns the path of a model that is to be made as a folder, as its base is one.

    Raises:
        OutsideError: the place may not be written.
        UserError: it is taken, or named like a file.
    """
    out = place.inside(name, write=True)
    if out.suffix.lower() == ".safetensors" or out.name.startswith("."):
        raise UserError(
            "is no name of a folder", where=name[:200], remedy="The base is one, so this is too."
        )
    if out.exists():
        raise UserError("is there already", where=name[:200], remedy="Choose another name.")
    return out
