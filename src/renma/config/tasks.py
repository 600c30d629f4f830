"""The table of tasks: one row is a command, a form and a manual page.

A task is a function ``run(options, report)`` in the module named by ``room``; this table knows the
name only, so that listing tasks imports none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from renma.config._base import Section
from renma.core.errors import UserError


def argument(default: Any = ...) -> Any:
    """Returns a field that the command line takes by its place, without a name."""
    return Field(default, json_schema_extra={"positional": True})


class InitOptions(Section):
    """Options of ``renma init``."""

    folder: Path = argument()
    """The folder to make; it must be new or empty."""
    sample: Literal["character", "style"] | None = None
    """Fill it with one of the picture sets inside renma, to try everything at once."""


class _RunSource(Section):
    """Where the description of a run comes from."""

    run: Path | None = argument(None)
    """The run.toml; paths in it are seen from the folder it lies in."""
    set: tuple[str, ...] = ()
    """Change one option for this time: section.key=value, such as adapter.rank=8; repeatable."""
    dataset_config: Path | None = None
    """A data set file of kohya-ss/sd-scripts (settings.toml), used instead of [data]."""

    @model_validator(mode="after")
    def _needs_one(self) -> _RunSource:
        again = getattr(self, "resume", False) and getattr(self, "out", None)
        if self.run is None and self.dataset_config is None and not again:
            raise UserError(
                "nothing says what to train",
                remedy="Give a run.toml, or a data set file with --dataset-config.",
            )
        return self


class CheckOptions(_RunSource):
    """Options of ``renma check``."""

    as_json: bool = Field(default=False, alias="json")
    """Print the plan as JSON, for programs."""


class TrainOptions(_RunSource):
    """Options of ``renma train``."""

    out: Path | None = None
    """The folder for everything the run writes (default: runs/001, ... beside the run.toml)."""
    resume: bool = False
    """Go on from the last saved state of the run's folder."""


class GridOptions(Section):
    """Options of ``renma grid``."""

    folder: Path = argument()
    """The folder of a finished or stopped run."""
    weights: tuple[float, ...] = ()
    """A LoRA weight to show; repeatable (default: [judge] weights of the run)."""
    prompts: tuple[str, ...] = ()
    """A prompt to show; repeatable (default: the run's own prompts)."""
    out: Path | None = None
    """The picture to write (default: grid.png in the run's folder)."""


class JudgeOptions(Section):
    """Options of ``renma judge``."""

    folder: Path = argument()
    """The folder of a finished or stopped run."""


class ReportOptions(Section):
    """Options of ``renma report``."""

    folder: Path = argument()
    """The folder of a finished or stopped run."""


class DemoOptions(Section):
    """Options of ``renma demo``."""

    out: Path
    """The folder for the pictures, the LoRA, the grid and the report."""
    steps: int | None = Field(default=None, ge=1)
    """Training steps, to make the demonstration shorter or longer."""
    seed: int = Field(default=42, ge=0)
    """The number that every random draw follows from."""


@dataclass(frozen=True)
class Task:
    """One thing renma can do.

    Attributes:
        name: the command.
        room: the module whose ``run(options, report)`` does it.
        options: what it can be told.
        summary: one line of help.
        example: a command line that works.
    """

    name: str
    room: str
    options: type[Section]
    summary: str
    example: str


TASKS = (
    Task(
        "demo",
        "renma.cli.demo",
        DemoOptions,
        "Show everything at once: pictures, training, grid, report. Minutes, no downloads.",
        "renma demo --out demo",
    ),
    Task(
        "init",
        "renma.use.init",
        InitOptions,
        "Make a folder for your pictures, with a run.toml that explains itself.",
        "renma init mine --sample character",
    ),
    Task(
        "check",
        "renma.train.check",
        CheckOptions,
        "Show the plan before a step is taken: pictures, buckets, steps, time, memory, mistakes.",
        "renma check mine/run.toml",
    ),
    Task(
        "train",
        "renma.train.task",
        TrainOptions,
        "Train the LoRA. Ctrl-C saves; --resume goes on.",
        "renma train mine/run.toml --set adapter.rank=8",
    ),
    Task(
        "grid",
        "renma.judge.grid",
        GridOptions,
        "Draw every checkpoint at several LoRA weights, with and without the trigger word.",
        "renma grid mine/runs/001 --weights 0.5 --weights 1",
    ),
    Task(
        "judge",
        "renma.judge.score",
        JudgeOptions,
        "Measure likeness and leakage of every checkpoint and name the best.",
        "renma judge mine/runs/001",
    ),
    Task(
        "report",
        "renma.judge.report",
        ReportOptions,
        "Put settings, curves, samples, grid and verdict into one HTML file.",
        "renma report mine/runs/001",
    ),
)
"""Every task, in the order of the work."""
