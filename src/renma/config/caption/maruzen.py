"""Options of ``renma caption maruzen``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from renma.config._base import argument, short
from renma.config.caption._texts import TextOptions
from renma.core.errors import UserError


class MaruzenOptions(TextOptions):
    """Options of ``renma caption maruzen``."""

    folder: Path = argument()
    """The folder of pictures with their captions, or of 10_name folders, or of a run.toml; or
    metadata of kohya-ss/sd-scripts."""
    trigger: str = ""
    """The trigger word (default: what run.toml says, what most captions begin with, or what the
    folder is called)."""
    kind: Literal["character", "style", "object"] = "character"
    """What the trigger is to stand for. Of a style's captions all tags stay."""
    clothes: Literal["keep", "remove"] = "keep"
    """Keep a character's clothes in the captions, so that they can be changed, or remove those that
    are always there, so that the trigger brings them."""
    share: float = Field(default=0.8, gt=0.5, le=1)
    """From this share of the pictures on, a tag is always there. Pictures that may just hide it
    (closed eyes, a close-up) do not count."""
    keep: tuple[str, ...] = ()
    """A tag that stays, whatever is proposed; `*` stands for any letters; repeatable."""
    remove: tuple[str, ...] = ()
    """A tag that goes, whatever is proposed; repeatable."""
    full: bool = False
    """Show every tag that stays, not only the most frequent ones."""
    apply: bool = False
    """Remove the tags and put the trigger first; `renma caption undo` takes it back. What is
    uncertain stays."""
    diff: bool = False
    """Show every caption that changes, before and after; without --apply, what would change."""
    out: Path | None = short("-o", None)
    """With --apply and metadata: the file to write (default: the metadata itself)."""
    as_json: bool = Field(default=False, alias="json")
    """Print the proposal as JSON, for programs."""

    @model_validator(mode="after")
    def _one_word(self) -> MaruzenOptions:
        if self.separator in self.trigger:
            raise UserError(
                f"the trigger '{self.trigger}' has the separator '{self.separator}' in it",
                where="--trigger",
                remedy="Give one word, or words with blanks between.",
            )
        return self
