"""What a page wants drawn, as options of `renma grid` and `renma sample`; every path is checked."""

from __future__ import annotations

import base64
import binascii
import io
import re
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from renma.config.sample import Sampler
from renma.core.errors import MissingError, UserError
from renma.drawing.prompt_loras import split
from renma.judge.folder import RunRecord
from renma.judge.grid import values
from renma.studio.comparing import DRAWN, GRIDS
from renma.studio.place import Place

_NAME = r"^\w[\w .-]{0,59}$"
_MOST_SIDE = 4096
_HEX = r"^#[0-9a-f]{6}$"
_PNG = "data:image/png;base64,"


class Axis(BaseModel):
    """One direction of a grid."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=40)
    values: str = Field("", max_length=5000)

    def text(self) -> str:
        """Returns it as `renma grid` reads it.

        Raises:
            UserError: a checkpoint is named by its path.
        """
        texts = [self.values]
        if self.name == "checkpoint":
            texts = values.split(self.values, "checkpoint")
        for text in texts if self.name == "checkpoint" else ():
            if "/" in text or "\\" in text or text.lower().endswith(".safetensors"):
                raise UserError(
                    "names a file",
                    where=f"checkpoint={text[:80]}",
                    remedy="Name a step, epoch, all, last, best or base; add other runs above.",
                )
        return f"{self.name}={self.values.strip()}" if self.values.strip() else self.name


class HowDrawn(BaseModel):
    """How pictures are drawn, whatever they show; what is not said is the run's own."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(max_length=1000)
    name: str = Field(pattern=_NAME)
    negative: str = Field("", max_length=5000)
    seed: int | None = Field(None, ge=0, lt=2**53)
    steps: int | None = Field(None, ge=1, le=1000)
    cfg: float | None = Field(None, ge=1, le=1000)
    sampler: Sampler | None = None
    width: int | None = Field(None, ge=64, le=_MOST_SIDE, multiple_of=8)
    height: int | None = Field(None, ge=64, le=_MOST_SIDE, multiple_of=8)

    def drawn_with(self) -> dict[str, Any]:
        """Returns what was said about it."""
        names = ("negative", "seed", "steps", "cfg", "sampler", "width", "height")
        return {n: v for n in names if (v := getattr(self, n)) not in (None, "")}


class GridWish(HowDrawn):
    """A grid."""

    others: list[str] = Field(default_factory=list, max_length=16)
    """Further runs, beside the one that it is about."""
    x: Axis | None = None
    y: Axis | None = None
    z: Axis | None = None
    prompts: list[str] = Field(default_factory=list, max_length=100)
    difference: Literal["base", "column", "row", "sheet"] | None = None
    kind: Literal["png", "html"] = "png"

    def options(self, place: Place) -> dict[str, Any]:
        """Returns options of `renma grid`.

        Raises:
            UserError: a path leads out, or an axis names a file.
        """
        run = place.inside(self.path, write=True)
        texts = (*self.prompts, self.negative, *(a.values for a in (self.x, self.y, self.z) if a))
        for text in texts:
            no_paths(text)
        found = {letter: axis.text() for letter in "xyz" if (axis := getattr(self, letter))}
        found |= self.drawn_with()
        if self.prompts:
            found["prompts"] = self.prompts
        if self.difference:
            found["difference"] = self.difference
        return {
            "sources": [str(run), *(str(place.inside(each)) for each in self.others)],
            **found,
            "lora_dir": str(run / "lora"),
            "out": str(run / GRIDS / f"{self.name}.{self.kind}"),
        }


class Part(BaseModel):
    """A sub-prompt, or a region with its prompt."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field("", max_length=5000)
    weight: float = Field(1.0, ge=-10, le=10)
    lora: str = Field("", max_length=1000)
    """A LoRA file of the workspace."""
    lora_weight: float = Field(1.0, ge=-10, le=10)
    colour: str = Field("", pattern=rf"^$|{_HEX}")
    strength: float = Field(1.0, gt=0, le=1)

    def text(self, place: Place) -> str:
        """Returns the prompt with its LoRA."""
        no_paths(self.prompt)
        if not self.lora:
            return self.prompt.strip()
        file = place.inside(self.lora)
        if file.suffix != ".safetensors" or not file.is_file():
            raise MissingError("there is no LoRA", where=self.lora[:200])
        return f"{self.prompt.strip()} <lora:{file}:{self.lora_weight:g}>".strip()


class DrawWish(HowDrawn):
    """Pictures by regions, or of prompts joined with AND."""

    parts: list[Part] = Field(min_length=1, max_length=12)
    rest: str = Field("", max_length=5000)
    """The prompt of what no region covers."""
    picture: str = Field("", max_length=3_000_000)
    """The coloured regions, a PNG as data address; empty: the prompts are joined with AND."""
    feather: float = Field(8.0, ge=0, le=1024)
    region_way: Literal["windows", "whole", "layers"] = "windows"
    lora_in_negative: bool = False
    count: int = Field(1, ge=1, le=64)

    def folder(self, place: Place) -> Path:
        """Returns where the pictures will lie."""
        return place.inside(self.path, write=True) / DRAWN / self.name

    def options(self, place: Place) -> dict[str, Any]:
        """Returns options of `renma sample`; the regions' picture is not written yet.

        Raises:
            UserError: a path leads out, or a region without colour or prompt.
        """
        run = place.inside(self.path)
        # everything of the run holds but its LoRA, which only the prompts that name it have
        last = RunRecord.at(run).need_checkpoints()[-1].path
        no_paths(self.negative)
        no_paths(self.rest)
        found: dict[str, Any] = {"model": str(run), "lora": [f"{last}:0"], "count": self.count}
        found |= self.drawn_with()
        found["out"] = str(self.folder(place))
        if not self.picture:
            return found | {
                "prompt": [self._joined(place)],
                "lora_in_negative": self.lora_in_negative,
            }
        if not all(part.colour and part.prompt.strip() for part in self.parts):
            raise UserError("a region needs a colour and a prompt")
        regions = [f"{p.colour}:{p.strength:g}={p.text(place)}" for p in self.parts]
        more = {"regions": str(self.folder(place) / "regions.png"), "region": regions}
        more |= {"feather": self.feather, "region_way": self.region_way}
        return found | more | ({"prompt": [self.rest]} if self.rest.strip() else {})

    def _joined(self, place: Place) -> str:
        if not any(part.prompt.strip() for part in self.parts):
            raise UserError("nothing says what to draw")
        texts = [(part.text(place), part.weight) for part in self.parts if part.prompt.strip()]
        return " AND ".join(
            f"{text} :{weight:g}" if weight != 1 else text for text, weight in texts
        )

    def painted(self) -> bytes:
        """Returns the picture of the regions, drawn anew from what was sent.

        Raises:
            UserError: it is no PNG, or too large.
        """
        try:
            data = base64.b64decode(self.picture.removeprefix(_PNG), validate=True)
            with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
                if max(picture.size) > _MOST_SIDE:
                    raise UserError("the picture of regions is too large")
                plain = picture.convert("RGBA")
        except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise UserError("the picture of regions is no PNG") from None
        buffer = io.BytesIO()
        plain.save(buffer, "PNG")
        return buffer.getvalue()


def no_paths(prompt: str) -> None:
    """Refuses LoRAs that a prompt names by a path: those are chosen in the form.

    Raises:
        UserError: one does.
    """
    for part in split(prompt) if re.search(r"<\s*(lora|lyco)", prompt, re.IGNORECASE) else ():
        for tag in part.loras:
            if "/" in tag.name or "\\" in tag.name or tag.name.endswith(".safetensors"):
                raise UserError(
                    "names a LoRA by its path",
                    where=f"'{tag.name[:80]}'",
                    remedy="Choose it from the list beside the prompt.",
                )
