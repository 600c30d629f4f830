"""Options of ``renma prepare regularize``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from renma.config._base import Section, argument, short, word
from renma.config.prepare._parsed import Size
from renma.config.sample import Sampler


class RegularizeOptions(Section):
    """Options of ``renma prepare regularize``."""

    folder: Path = argument()
    """The folder of a project, or its run.toml. Nothing in it is changed but what is added."""
    out: Path | None = short("-o", None)
    """The folder to make (default: `reg/1_person` in the project, where the class is a person).
    Pictures that it already holds are not drawn again."""
    prompt: tuple[str, ...] = ()
    """What the class looks like without the subject; repeatable, they take turns. sd-scripts'
    options (--n, --w, --h, --d, --l, --s, --ss) may follow (default: the class in the name of the
    picture folder or in class_tokens: `person` of `10_aa12 person`; else judge.class_prompts)."""
    prompts: Path | None = None
    """Such prompts in a file: .txt (a line each), .toml or .json."""
    negative: str = ""
    """What to avoid, where a prompt says nothing else."""
    count: int | None = Field(default=None, ge=1, le=1_000_000)
    """How many pictures of each class (default: as many as an epoch shows training pictures,
    repeats counted, so that it shows every one of them once). More can be added later."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the first picture; the others count up."""
    size: Size | None = word(None)
    """Width and height (default: the sizes that the training pictures are trained at, each in its
    share)."""
    steps: int | None = Field(default=None, ge=1, le=1000)
    """Sampling steps (default: the run's [sample])."""
    cfg: float | None = Field(default=None, ge=1, le=1000)
    """Guidance (default: the run's [sample])."""
    sampler: Sampler | None = None
    """The sampler (default: the run's [sample])."""
    rescale: float | None = Field(default=None, ge=0, le=1)
    """Guidance rescale (default: the run's [sample])."""
    no_captions: bool = False
    """Write no caption files: the name of the folder is the caption then."""
    again: bool = False
    """Draw those pictures again that other options or another model made, instead of refusing to
    mix them with others; what is more than --count goes."""
    set: tuple[str, ...] = ()
    """Change one option of the run for this time: section.key=value, such as model.clip_skip=2;
    repeatable."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where to compute (default: as the run does)."""
    precision: Literal["fp32", "fp16", "bf16"] | None = None
    """Precision of the weights (default: the run's)."""
    batch_size: int = Field(default=1, ge=1, le=1024)
    """Pictures computed at once. One by one, a picture is the same to the last bit however many
    there are; several at once are faster on a GPU."""
    dry_run: bool = False
    """Only say what would be drawn."""
