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
Interpolation = Literal[
    "auto", "lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "box"
]


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
    keep_tokens_separator: str = opt("", "advanced", kohya="keep_tokens_separator")
    """Mark inside captions, such as `|||`: tags before it stay in front, those after a second one
    stay at the end, only those between move. Where it occurs, keep_tokens does not count."""
    caption_separator: str = opt(",", "expert", kohya="caption_separator", min_length=1)
    """What stands between two tags."""
    secondary_separator: str = opt("", "expert", kohya="secondary_separator")
    """Mark that binds tags into one, such as `;;;`: they move and drop together, and the mark
    becomes the caption_separator at the end."""
    enable_wildcard: bool = opt(False, "advanced", kohya="enable_wildcard")
    """Choose one line of a caption of several lines, and one part of {a|b|c}, anew for every
    showing; {{ and }} are plain braces."""
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
    token_warmup_min: int = opt(1, "expert", kohya="token_warmup_min", ge=0)
    """How many movable tags the first step shows, with token_warmup_step."""
    token_warmup_step: float = opt(0.0, "expert", kohya="token_warmup_step", ge=0)
    """Show more and more tags until this step; below 1, a share of all steps (0 = all at once)."""
    flip_aug: bool = opt(False, kohya="flip_aug")
    """Mirror half of the showings; not for asymmetric characters."""
    color_aug: bool = opt(False, "advanced", kohya="color_aug")
    """Shift hue or gamma a little in a third of the showings; not for styles. Latents are then
    computed anew for every showing."""
    random_crop: bool = opt(False, "advanced", kohya="random_crop")
    """Cut a random part instead of the middle: of what overhangs the bucket, or without buckets of
    the picture at its full size. Latents are then computed anew for every showing."""
    face_crop_aug_range: tuple[float, float] | None = opt(
        None, "expert", kohya="face_crop_aug_range"
    )
    """Cut around the face, which is 1/b to 1/a of the short side for [a, b]. Needs file names that
    end in `_cx_cy_w_h` (place and size of the face) and enable_bucket = false."""
    rotate_degrees: float = opt(0.0, "advanced", ge=0, le=45)
    """Turn by up to so many degrees and cut the corners off. A picture turns only as far as it
    still fills its bucket without being enlarged, so this is for pictures of high resolution."""
    resize_interpolation: Interpolation = opt("auto", "expert", kohya="resize_interpolation")
    """How pictures are resized: `auto` shrinks bicubically with antialiasing and enlarges with
    Lanczos."""
    alpha_mask: bool = opt(False, "advanced", kohya="alpha_mask")
    """Transparent parts count less in the loss, or not at all."""
    prior_preservation: bool = opt(False, "advanced", kohya="custom_attributes")
    """Keep these pictures as the base model would draw them: the target is its own prediction, not
    the picture's noise (sd-scripts: diff_output_preservation in custom_attributes)."""
    background: tuple[Channel, Channel, Channel] = opt((255, 255, 255), "advanced")
    """Colour (red, green, blue; 0-255) that transparent pictures are laid upon."""

    @field_validator("caption_extension")
    @classmethod
    def _dot(cls, value: str) -> str:
        return value if value.startswith(".") or not value else f".{value}"

    @field_validator("face_crop_aug_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 1 <= value[0] <= value[1]:
            raise ValueError("give [a, b] with 1 <= a <= b, such as [2, 4]")
        return value


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
    validation_split: float = opt(0.0, "advanced", kohya="validation_split", ge=0, lt=1)
    """Share of the training pictures that is never trained on, but measured (0 = none)."""
    validation_seed: int = opt(0, "expert", kohya="validation_seed", ge=0)
    """Another number holds other pictures out; the run's seed does not matter."""

    @field_validator("resolution", mode="before")
    @classmethod
    def _square(cls, value: object) -> object:
        return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


class Subset(SubsetOptions):
    """One folder of pictures."""

    image_dir: str = opt("", kohya="image_dir")
    """The folder that directly holds the pictures; with metadata_file, what its paths start from
    (default there: the folder it lies in)."""
    metadata_file: str = opt("", "advanced", kohya="in_json")
    """JSON or JSONL file with a caption and tags for each picture, instead of caption files."""
    mask_dir: str = opt("", "advanced", kohya="conditioning_data_dir")
    """Folder of masks under the pictures' names: white counts in the loss, black does not."""
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
    vae_batch_size: int = opt(1, "expert", kohya="vae_batch_size", ge=1)
    """Pictures that a GPU encodes at once; a CPU takes one at a time, so that equal runs are equal
    to the last bit."""
    latents_in_memory: int = opt(1024, "expert", ge=0)
    """MiB of latents kept in memory; the others are read from disk when they are shown."""
    without_effect: tuple[str, ...] = opt((), "expert")
    """Filled in when a data set file of sd-scripts is read: warnings about keys in it that decide
    nothing here."""
    datasets: tuple[Dataset, ...] = ()
    """Data sets written out; used instead of `train_folder` and `reg_folder`."""
