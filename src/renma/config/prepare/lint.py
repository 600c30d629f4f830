"""Options of ``renma prepare lint``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from renma.config._base import argument
from renma.config.data import Dataset
from renma.config.prepare._base import Spread


class LintOptions(Spread):
    """Options of ``renma prepare lint``."""

    folder: Path = argument()
    """The folder of pictures; the folders inside it are looked at too. Nothing in it is changed."""
    resolution: int = Field(default=512, ge=64, le=8192)
    """Side of the square whose area the pictures will be trained at; small, blurred and odd shapes
    are judged by it."""
    min_bucket_reso: int | None = Field(default=None, ge=8)
    """Smallest side of the training's buckets (default: half the resolution)."""
    max_bucket_reso: int | None = Field(default=None, ge=8)
    """Largest side of the training's buckets (default: twice the resolution)."""
    bucket_reso_steps: int | None = Field(default=None, ge=8, multiple_of=8)
    """What bucket sides are multiples of (default: 64 pixels; 32 below a resolution of 256, as
    `renma init` writes for mame)."""
    html: Path | None = None
    """Write a page that shows what was found."""
    as_json: bool = Field(default=False, alias="json")
    """Print what was found as JSON, for programs."""
    fix_list: Path | None = None
    """Write a list of the pictures to leave out, one a line, for `renma prepare collect
    --leave-out`; the other findings stand in it as remarks."""
    strict: bool = False
    """End with exit code 2 if anything was found."""
    turned: bool = False
    """Look for copies that are turned or mirrored, too."""
    ignore: tuple[str, ...] = ()
    """A check to leave out, by its name in the report, such as grey; repeatable."""
    caption_extension: str = ".txt"
    """File ending of the caption that lies beside a picture under the same name."""
    max_pixels: int = Field(default=64_000_000, ge=1)
    """Pictures with more are called broken: a small file can hold a huge one."""

    @property
    def dataset(self) -> Dataset:
        """The buckets that the pictures will be trained in."""
        side = self.resolution // 8 * 8
        return Dataset(
            resolution=(side, side),
            enable_bucket=True,
            min_bucket_reso=self.min_bucket_reso or max(8, side // 2),
            max_bucket_reso=self.max_bucket_reso or 2 * side,
            bucket_reso_steps=self.bucket_reso_steps or (64 if side >= 256 else 32),
        )

    @field_validator("caption_extension")
    @classmethod
    def _dot(cls, value: str) -> str:
        return value if value.startswith(".") else f".{value}"
