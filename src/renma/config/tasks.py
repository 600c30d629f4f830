"""The table of tasks: one row is a command, a form and a manual page.

A task is a function ``run(options, report)`` in the module named by ``room``; this table knows the
name only, so that listing tasks imports none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from renma.config import file_tasks as files
from renma.config._base import Section, argument
from renma.config._task import Task
from renma.config.caption.tasks import CAPTION_TASKS
from renma.config.compat_tasks import ImportKohyaOptions
from renma.config.prepare.tasks import PREPARE_TASKS
from renma.core.errors import UserError


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
    captions: bool = False
    """Show what each picture's caption says when it is first shown, with its tokens."""


class TrainOptions(_RunSource):
    """Options of ``renma train``."""

    out: Path | None = None
    """The folder for everything the run writes (default: runs/001, ... beside the run.toml)."""
    resume: bool = False
    """Go on from the last saved state of the run's folder."""
    allow_change: tuple[str, ...] = ()
    """With --resume: an option or section that may differ from now on, such as
    optimizer.learning_rate; repeatable."""


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


class MemoryOptions(_RunSource):
    """Options of ``renma plan memory``."""

    ranks: tuple[int, ...] = ()
    """Ranks to compare; repeatable (default: the run's own)."""
    as_json: bool = Field(default=False, alias="json")
    """Print the table as JSON, for programs."""


class LayersOptions(_RunSource):
    """Options of ``renma plan layers``."""

    each: bool = False
    """Show every layer by its name and size, not only the blocks."""
    as_json: bool = Field(default=False, alias="json")
    """Print the table as JSON, for programs."""


TASKS: tuple[Task, ...] = (
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
    *PREPARE_TASKS,
    *CAPTION_TASKS,
    Task(
        "check",
        "renma.train.check",
        CheckOptions,
        "Show the plan before a step is taken: pictures, buckets, steps, time, memory, mistakes.",
        "renma check mine/run.toml",
    ),
    Task(
        "plan memory",
        "renma.train.memory_plan",
        MemoryOptions,
        "Weigh every algorithm before training: parameters, gradients, state, activations.",
        "renma plan memory mine/run.toml --ranks 4 --ranks 32",
    ),
    Task(
        "plan layers",
        "renma.train.layer_plan",
        LayersOptions,
        "Show the model's blocks and layers: their sizes, what is trained of them, rank and rate.",
        "renma plan layers mine/run.toml --set adapter.blocks.up_rates=sine",
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
    Task(
        "import-kohya",
        "renma.compat.import_kohya",
        ImportKohyaOptions,
        "Turn a command, config file or preset of kohya-ss/sd-scripts into a run.toml.",
        "renma import-kohya train.sh -o mine/run.toml --report",
    ),
    Task(
        "file show",
        "renma.use.show",
        files.ShowOptions,
        "Show what a LoRA file is: algorithm, ranks, layers, strength by block, metadata, tags.",
        "renma file show lora.safetensors",
    ),
    Task(
        "file edit",
        "renma.use.edit",
        files.EditOptions,
        "Change or remove metadata; the weights stay as they are.",
        "renma file edit lora.safetensors --set modelspec.title=Mine --remove 'ss_tag*'",
    ),
    Task(
        "file verify",
        "renma.use.verify",
        files.VerifyOptions,
        "Check that a file is whole, safe, finite and fits a model.",
        "renma file verify lora.safetensors",
    ),
    Task(
        "file convert",
        "renma.use.convert",
        files.ConvertOptions,
        "Write a LoRA in another naming, or in a form that other programs can load.",
        "renma file convert lora.safetensors out.safetensors --to diffusers",
    ),
    Task(
        "file merge",
        "renma.use.merge",
        files.MergeOptions,
        "Add LoRAs up into one, or into a model; the sum is exact unless a rank is given.",
        "renma file merge a.safetensors:0.7 b.safetensors:0.4 -o both.safetensors",
    ),
    Task(
        "file resize",
        "renma.use.resize",
        files.ResizeOptions,
        "Give a LoRA the best approximation of another rank.",
        "renma file resize lora.safetensors small.safetensors --rank 8",
    ),
    Task(
        "file extract",
        "renma.use.extract",
        files.ExtractOptions,
        "Make a LoRA of the difference between two models.",
        "renma file extract base tuned difference.safetensors --rank 32",
    ),
    Task(
        "file cut",
        "renma.use.cut",
        files.CutOptions,
        "Take a smaller rank out of a DyLoRA file.",
        "renma file cut dylora.safetensors rank4.safetensors --rank 4",
    ),
)
"""Every task, in the order of the work."""
