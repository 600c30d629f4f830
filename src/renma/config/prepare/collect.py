"""Options of ``renma prepare collect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from renma.config._base import argument, short
from renma.config.prepare._base import Spread
from renma.core.errors import UserError

Every = Annotated[int, Field(ge=1)]


class CollectOptions(Spread):
    """Options of ``renma prepare collect``."""

    folders: tuple[Path, ...] = argument()
    """Where the pictures are: folders, zip and tar archives, single pictures. They are never
    changed."""
    out: Path = short("-o")
    """The folder to fill. Pictures that it already holds from the same source are not copied
    again; more sources may be added later."""
    convert: Literal["png", "jpeg", "webp"] | None = None
    """Save every picture anew in this format: upright, in sRGB, 8 bits a channel. Without it the
    files are copied as they are."""
    quality: int = Field(default=95, ge=1, le=100)
    """Of JPEG and WebP; WebP at 100 loses nothing."""
    alpha: Literal["keep", "white"] = "keep"
    """With --convert: keep transparent parts, or lay them on white. JPEG is always on white."""
    frames: Literal["first", "all"] | Every = "first"
    """With --convert: what to take of animated pictures and of files with several pages: the first
    frame, all, or every n-th."""
    keep_folders: bool = False
    """Keep the folders that the pictures lie in (default: all into one folder)."""
    drop_duplicates: Literal["exact", "near"] | None = None
    """Leave out files with the same bytes, or pictures that are nearly the same, too; the largest
    stays. Pictures that differ in one place, such as an expression, are no copies."""
    leave_out: Path | None = None
    """A list of pictures not to take, one a line, as `renma prepare lint --fix-list` writes it."""
    max_pixels: int = Field(default=64_000_000, ge=1)
    """Pictures with more are left out and named: a small file can hold a huge one."""
    max_files: int = Field(default=200_000, ge=1)
    """An archive with more files is refused."""
    max_unpacked: int = Field(default=32_768, ge=1)
    """MiB; an archive that holds more is refused."""
    max_ratio: float = Field(default=100.0, ge=1)
    """An archive that grows more than so many times is refused: pictures hardly shrink."""
    dry_run: bool = False
    """Only say what would be done."""

    @model_validator(mode="after")
    def _consistent(self) -> CollectOptions:
        if not self.folders:
            raise UserError(
                "nothing says where the pictures are",
                remedy="Give folders, archives or pictures: renma prepare collect FOLDER -o OUT.",
            )
        for name in ("alpha", "frames"):
            if self.convert is None and name in self.model_fields_set:
                raise UserError(
                    "has no effect on files that are copied as they are",
                    where=f"--{name}",
                    remedy="Add --convert png.",
                )
        return self
