"""[data]: pictures, captions, repeats, buckets - the keys of the kohya data set file.

Options may stand at three levels: ``[data]`` (there ``[general]``), ``[[data.datasets]]`` and
``[[data.datasets.subsets]]``. The innermost level that names an option wins. Facts about the keys:
kohya-ss/sd-scripts, ``docs/train_README`` and its data set configuration.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from renma.config._base import Section, opt

Channel = Annotated[int, Field(ge=0, le=255, strict=True)]


class SubsetOptions(Section):
    """How the pictures and captions of one folder are used."""

    num_repeats: int = opt(1, kohya="num_repeats", ge=1)
    """How often each picture is shown in one epoch."""
    caption_extension: str = opt(".txt", kohya="caption_extension")
    """File ending of the caption that lies beside a picture under the same name."""
    class_tokens: str = opt("", kohya="class_tokens")
    """Caption of pictures that have no caption file (identifier and class, such as `sks dog`)."""
    shuffle_caption: bool = opt(False, kohya="shuffle_caption")
    """Put the tags in a new order every time a picture is shown."""
    keep_tokens: int = opt(0, kohya="keep_tokens", ge=0)
    """The first n tags stay in front and are never dropped (tags, not CLIP tokens)."""
    caption_separator: str = opt(",", "expert", kohya="caption_separator", min_length=1)
    """What stands between two tags."""
    caption_prefix: str = opt("", "advanced", kohya="caption_prefix")
    """Text put before every caption, with a blank between."""
    caption_suffix: str = opt("", "advanced", kohya="caption_suffix")
    """Text put after every caption, with a blank between."""
    caption_dropout_rate: float = opt(0.0, "advanced", kohya="caption_dropout_rate", ge=0, le=1)
    """Share of showings with the empty caption."""
    caption_dropout_every_n_epochs: int = opt(
        0, "advanced", kohya="caption_dropout_every_n_epochs", ge=0
    )
    """Every n-th epoch uses empty captions only (0 = never)."""
    caption_tag_dropout_rate: float = opt(
        0.0, "advanced", kohya="caption_tag_dropout_rate", ge=0, le=1
    )
    """Chance that a single tag is left out of a showing."""
    flip_aug: bool = opt(False, kohya="flip_aug")
    """Mirror half of the showings; not for asymmetric characters."""
    background: tuple[Channel, Channel, Channel] = opt((255, 255, 255), "advanced")
    """Colour (red, green, blue; 0-255) that transparent pictures are laid upon."""

    @field_validator("caption_extension")
    @classmethod
    def _dot(cls, value: str) -> str:
        return value if value.startswith(".") or not value else f".{value}"


class DatasetOptions(Section):
    """Size of the pictures and of the batch."""

    resolution: tuple[int, int] = opt((512, 512), kohya="resolution")
    """Width and height in pixels, or one number for both; with buckets, their area."""
    batch_size: int = opt(1, kohya="train_batch_size", ge=1)
    """Pictures in one forward pass."""
    enable_bucket: bool = opt(False, kohya="enable_bucket")
    """Sort pictures into buckets of like aspect ratio instead of cropping all to one size."""
    min_bucket_reso: int = opt(256, "advanced", kohya="min_bucket_reso", ge=8)
    """Smallest side of a bucket in pixels."""
    max_bucket_reso: int = opt(1024, "advanced", kohya="max_bucket_reso", ge=8)
    """Largest side of a bucket in pixels."""
    bucket_reso_steps: int = opt(64, "advanced", kohya="bucket_reso_steps", ge=8, multiple_of=8)
    """Bucket sides are multiples of this many pixels."""
    bucket_no_upscale: bool = opt(False, "advanced", kohya="bucket_no_upscale")
    """Never enlarge a picture; every picture then makes its own bucket."""

    @field_validator("resolution", mode="before")
    @classmethod
    def _square(cls, value: object) -> object:
        return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


class Subset(SubsetOptions):
    """One folder of pictures."""

    image_dir: str = opt(..., kohya="image_dir")
    """The folder that directly holds the pictures."""
    is_reg: bool = opt(False, kohya="is_reg")
    """Regularisation pictures: what the class looks like without the subject."""


class Dataset(SubsetOptions, DatasetOptions):
    """Folders that share one size and one batch size."""

    subsets: tuple[Subset, ...] = ()
    """The folders."""


class DataConfig(SubsetOptions, DatasetOptions):
    """Pictures and captions."""

    train_folder: str = opt("", kohya="train_data_dir")
    """Parent of folders named `<repeats>_<name>`, such as `10_aa12 person`."""
    reg_folder: str = opt("", kohya="reg_data_dir")
    """The same for regularisation pictures."""
    bad_pictures: Literal["stop", "skip"] = opt("stop", "advanced")
    """A picture that cannot be read stops the run, or is skipped and named."""
    empty_captions: Literal["stop", "allow"] = opt("stop", "advanced")
    """An empty caption file stops the run, or means the empty caption."""
    max_pixels: int = opt(64_000_000, "expert", ge=1)
    """Pictures with more pixels than this are refused before they are decoded."""
    datasets: tuple[Dataset, ...] = ()
    """Data sets written out; used instead of `train_folder` and `reg_folder`."""
