"""The aspect buckets of the training that pictures are prepared for."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from renma.config._base import Section
from renma.config.data import Dataset
from renma.core.counted import idle
from renma.core.errors import UserError


class BucketOptions(Section):
    """Which buckets there are, besides the resolution; defaults as in [data]."""

    min_bucket_reso: int = Field(default=256, ge=8)
    """Smallest side of a bucket in pixels."""
    max_bucket_reso: int = Field(default=1024, ge=8)
    """Largest side of a bucket in pixels."""
    bucket_reso_steps: int = Field(default=64, ge=8, multiple_of=8)
    """Bucket sides are multiples of this many pixels."""

    def dataset(self, resolution: tuple[int, int], *, no_upscale: bool = False) -> Dataset:
        """Returns the data set whose buckets are meant.

        Args:
            resolution: width and height of it.
            no_upscale: never enlarge; every picture then makes its own bucket.
        """
        return Dataset(
            resolution=resolution,
            enable_bucket=True,
            bucket_no_upscale=no_upscale,
            min_bucket_reso=self.min_bucket_reso,
            max_bucket_reso=self.max_bucket_reso,
            bucket_reso_steps=self.bucket_reso_steps,
        )


def refuse_idle(options: Section, names: Iterable[str], without: str) -> None:
    """Refuses options that were given although they decide nothing.

    Args:
        options: what was given.
        names: of the options that need another one.
        without: that other one, as it is typed.

    Raises:
        UserError: one of them was given.
    """
    given = [f"--{name.replace('_', '-')}" for name in names if name in options.model_fields_set]
    if given:
        raise UserError(f"{idle(given)} without {without}")
