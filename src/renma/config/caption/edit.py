"""Options of ``renma caption edit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from renma.config.caption._texts import EditingOptions
from renma.core.errors import UserError

Place = Literal["first", "last"] | Annotated[int, Field(ge=1)]


class EditOptions(EditingOptions):
    """Options of ``renma caption edit``; the edits are made in the order of this list."""

    keep: int = Field(default=0, ge=0)
    """So many tags from the first stay as they are and in front, whatever is asked for."""
    search: tuple[str, ...] = ()
    """A regular expression to replace wherever it fits in a caption's line; repeatable, each with
    its --with."""
    with_: tuple[str, ...] = Field(default=(), alias="with")
    r"""What takes the place of --search; \1 is its first group. Empty removes."""
    underscores: Literal["to-spaces", "to-underscores"] | None = None
    """Write long_hair as long hair (faces such as ^_^ stay), or the other way round."""
    parentheses: Literal["escape", "unescape"] | None = None
    r"""Write saber (fate) as saber \(fate\), as web UIs want it, or the other way round."""
    remove: tuple[str, ...] = ()
    """A tag to remove; `*` stands for any letters; repeatable."""
    replace: tuple[str, ...] = ()
    r"""A tag to put in another's place: old=new; a `*` in new is what it stood for in old, and
    a tag's own equals sign is written \=; repeatable."""
    implications: Path | None = None
    """A file with lines such as white shirt=shirt: the first tag says the second one too."""
    implied: Literal["drop", "add"] = "drop"
    """What to do with tags that another tag implies."""
    dedupe: bool = False
    """Write every tag once, where it first stands."""
    sort: Literal["alphabet", "frequency", "length"] | None = None
    """Order the tags: by letters, those of most captions first, or the shortest first."""
    reverse: bool = False
    """Sort the other way round."""
    add: tuple[str, ...] = ()
    """A tag to add where a caption lacks it; repeatable."""
    at: Place = "last"
    """Where added tags stand: first, last, or the place counted from 1."""
    prepend: tuple[str, ...] = ()
    """A tag that stands first afterwards, wherever it stood before; repeatable."""
    append: tuple[str, ...] = ()
    """A tag that stands last afterwards, wherever it stood before; repeatable."""
    truncate_tokens: int | None = Field(default=None, ge=1)
    """Drop the last tags until this many CLIP tokens are left (a row has room for 75)."""
    utf8: bool = False
    """Also write files of other encodings anew, as UTF-8, whose text does not change."""

    @model_validator(mode="after")
    def _pairs(self) -> EditOptions:
        if len(self.search) != len(self.with_):
            raise UserError(
                f"--search is given {len(self.search)} times and --with {len(self.with_)} times",
                remedy='Give each --search its --with; --with "" removes.',
            )
        return self
