"""Options of the commands that make, plan, train and judge a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from renma.config._base import Section, argument
from renma.core.errors import UserError

RecipeName = Literal[
    "copier", "difference", "dylora", "leco", "leco-enhance", "leco-file", "qlora", "qlora-8bit",
    "quality-up", "relora", "relora-nf4",
]  # fmt: skip
"""The files in recipes/."""


class InitOptions(Section):
    """Options of ``renma init``."""

    folder: Path = argument()
    """The folder to make; it must be new or empty."""
    sample: Literal["character", "style"] | None = None
    """Fill it with one of the picture sets inside renma, to try everything at once."""
    recipe: RecipeName | None = None
    """Make it from a recipe for one of the methods (docs/methods.md): run.toml, and the pictures,
    prompts and LoRA files that it needs."""

    @model_validator(mode="after")
    def _one_of_them(self) -> InitOptions:
        if self.sample and self.recipe:
            raise UserError(
                "a recipe brings its own pictures",
                where=f"--sample {self.sample}",
                remedy="Leave out one of --sample and --recipe.",
            )
        return self


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


class ReportOptions(Section):
    """Options of ``renma report``."""

    folder: Path = argument()
    """The folder of a finished or stopped run; its run.toml or a project folder, where there is
    one run, will do, too."""


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
