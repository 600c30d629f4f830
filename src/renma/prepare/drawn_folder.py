"""A folder of pictures that were drawn: which are there, which are due, and what each came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from renma.core.counted import counted
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import digest, file_hash, write_atomic, write_bytes, write_text
from renma.data.notes import shown
from renma.data.pictures import read_straight
from renma.formats.infotext import PARAMETERS, infotext, web_name
from renma.prepare._record import Head, Output, Record, Row
from renma.prepare._sheet import MOST, NAME, check_sheet, thumbnail
from renma.prepare._sources import RECORD

VERB = "regularize"
CAPTION = ".txt"
Facts = dict[str, Any]
"""What a picture is drawn from, by name; JSON values."""


class DrawnFolder:
    """One folder of drawn pictures, named 0001.png and so on.

    Args:
        out: the folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.wanted: list[Facts] = []
        self._record = Record(out)
        self._record.read()
        self._due: set[int] = set()
        self._surplus: list[int] = []
        self._drawn = 0
        self._kept: list[str] = []

    @staticmethod
    def check_ours(out: Path) -> None:
        """Makes sure that nothing is mixed with what somebody else put there.

        Raises:
            UserError: the folder holds something else.
        """
        head = Record(out).head()
        if head and head.verb != VERB:
            raise UserError(
                f"was made by `renma prepare {head.verb}`",
                where=out,
                remedy="Choose another with -o.",
            )
        if head is None and out.is_dir() and any(p.name != RECORD for p in out.iterdir()):
            raise UserError(
                "is not empty and was not made by this command",
                where=out,
                remedy=f"Choose another with -o, such as '{out}, drawn'.",
            )
        check_sheet(out)

    def sizes(self) -> dict[int, tuple[int, int]]:
        """Returns width and height of the pictures that were drawn before, by number."""
        return {i: (facts["width"], facts["height"]) for i, facts in self._known().items()}

    def want(self, wanted: Sequence[Facts], *, again: bool) -> None:
        """Says what the folder is to hold.

        Args:
            wanted: picture by picture.
            again: whether what was drawn otherwise is drawn again, and what is too much goes.

        Raises:
            UserError: pictures were drawn otherwise.
        """
        self.wanted = [*wanted]
        self._due = set(range(len(wanted)))
        for index, facts in self._known().items():
            if index >= len(wanted):
                continue
            if facts == wanted[index] or self._by_hand(index):
                self._due.discard(index)
            elif not again:
                raise self._otherwise(index)
        self._surplus = [index for index in self._known() if again and index >= len(wanted)]

    def begin(self, options: dict[str, Any]) -> None:
        """Writes down what is going to be done, and removes what there is too much of."""
        self._record.begin(Head(VERB, options["folder"], options))
        for index in self._surplus:
            row = self._record.rows[_stem(index)]
            kept = {row.outputs[0].name: row.outputs[0].digest} | row.captions
            if not any(_changed(self.out / name, made) for name, made in kept.items()):
                for name in kept:
                    (self.out / name).unlink(missing_ok=True)
                self._record.forget(row.source)

    def due(self, at_once: int) -> list[list[int]]:
        """Returns numbers to draw together, in order.

        What is drawn together follows from what is wanted alone, not from what is there already:
        in a batch with others the last bits of a picture can come out otherwise.
        """
        alike: dict[tuple[object, ...], list[int]] = {}
        for index, facts in enumerate(self.wanted):
            same = tuple(
                v for name, v in facts.items() if name not in ("prompt", "negative", "seed")
            )
            alike.setdefault(same, []).append(index)
        chunks = [
            group[start : start + at_once]
            for group in alike.values()
            for start in range(0, len(group), at_once)
        ]
        return sorted(chunk for chunk in chunks if self._due.intersection(chunk))

    def missing(self, chunk: Sequence[int]) -> list[int]:
        """Returns those of some numbers that are due."""
        return [index for index in chunk if index in self._due]

    def size_of(self, index: int) -> tuple[int, int]:
        """Returns width and height of a picture."""
        return self.wanted[index]["width"], self.wanted[index]["height"]

    def would(self) -> str:
        """Returns what would be drawn, as one line."""
        away = self._away()
        there = len(self.wanted) - len(self._due) - away
        also = f", {there} there already" if there else ""
        line = f"{counted(len(self._due), 'picture')} would be drawn into {self.out}{also}"
        return f"{line}; {self._not_again(away)}" if away else line

    def add(self, index: int, picture: Image.Image, model: str) -> None:
        """Writes a picture and its caption, and then that they are there.

        Args:
            index: its number, from 0.
            picture: mode RGB.
            model: its name, for programs that read pictures' texts.
        """
        facts, name = self.wanted[index], f"{_stem(index)}.png"
        captions: dict[str, str] = {}
        if facts["captions"]:
            text = f"{facts['prompt']}\n".encode()
            caption = f"{_stem(index)}{CAPTION}"
            write_bytes(self.out / caption, text)
            captions[caption] = hashlib.sha256(text).hexdigest()
        info = PngInfo()
        info.add_itxt(PARAMETERS, _parameters(facts, model))
        path = self.out / name
        write_atomic(path, lambda part: picture.save(part, format="PNG", pnginfo=info))
        key = digest(sorted(facts.items()))
        output = Output(name, file_hash(path), facts=facts)
        self._record.add(Row(_stem(index), "", key, (output,), captions))
        self._due.discard(index)
        self._drawn += 1

    def finish(self, report: Report) -> None:
        """Draws the sheet and says what there is."""
        self._record.finish()
        for name in self._kept:
            report.event("warned", text=f"{self.out / name} was changed by hand and is kept")
        if away := self._away():
            report.line(self._not_again(away))
        there = sum((self.out / row.outputs[0].name).exists() for row in self._record.rows.values())
        there -= self._drawn
        before = f", {there} there already" if there else ""
        report.line(f"{self._drawn} drawn{before}: {self.out}")
        self._write_sheet(report)
        report.line(f"look at {self.out / NAME}")

    def _known(self) -> dict[int, Facts]:
        return {int(name) - 1: row.outputs[0].facts for name, row in self._record.rows.items()}

    def _away(self) -> int:
        """Returns how many of the wanted pictures were drawn and removed since."""
        numbers = [index for index in self._known() if index < len(self.wanted)]
        return sum(not (self.out / f"{_stem(index)}.png").exists() for index in numbers)

    def _not_again(self, away: int) -> str:
        """Says that pictures stay away, and how many to ask for to have others for them."""
        wanted = len(self.wanted)
        line = f"{counted(away, 'picture')} removed by hand, not drawn again"
        return f"{line}: --count {wanted} counts what was removed, --count {wanted + away} makes up"

    def _by_hand(self, index: int) -> bool:
        """Says whether a picture that would be drawn otherwise now was painted on since."""
        output = self._record.rows[_stem(index)].outputs[0]
        changed = _changed(self.out / output.name, output.digest)
        if changed:
            self._kept.append(output.name)
        return changed

    def _otherwise(self, index: int) -> UserError:
        """Returns the refusal to mix pictures that were drawn in different ways."""
        wanted, facts = self.wanted[index], self._known()[index]
        name = next(name for name in wanted if facts.get(name) != wanted[name])
        said = f"{name} {_short(facts.get(name))!r}, now {_short(wanted[name])!r}"
        return UserError(
            f"holds pictures that were drawn otherwise: {_stem(index)}.png with {said}",
            where=self.out,
            remedy="Choose another folder with -o, or draw those again with --again.",
        )

    def _write_sheet(self, report: Report) -> None:
        rows = [row for _, row in sorted(self._record.rows.items())]
        rows = [row for row in rows if (self.out / row.outputs[0].name).exists()]
        shown_rows = (
            rows if len(rows) <= MOST else [rows[i * len(rows) // MOST] for i in range(MOST)]
        )
        thumbs = []
        for count, row in enumerate(shown_rows, 1):
            picture = read_straight(self.out / row.outputs[0].name)
            thumbs.append((thumbnail(picture), row.outputs[0]))
            report.event("working", what="the contact sheet", done=count, total=len(shown_rows))
        environment = Environment(
            loader=PackageLoader("renma.prepare"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=lambda value: shown(value) if isinstance(value, str) else value,
        )
        page = environment.get_template("drawn.html").render(
            head=self._record.head(), thumbs=thumbs, total=len(rows)
        )
        check_sheet(self.out)  # it may have come there while the pictures were drawn
        write_text(self.out / NAME, page)


def _stem(index: int) -> str:
    return f"{index + 1:04d}"


def _changed(path: Path, made: str) -> bool:
    return path.exists() and file_hash(path) != made


def _short(value: object) -> object:
    return f"{value[:57]}..." if isinstance(value, str) and len(value) > 60 else value


def _parameters(facts: Facts, model: str) -> str:
    settings: dict[str, Any] = {
        "Steps": facts["steps"],
        "Sampler": web_name(facts["sampler"]),
        "CFG scale": f"{facts['cfg']:g}",
        "Seed": facts["seed"],
        "Size": f"{facts['width']}x{facts['height']}",
        "Model": model,
        "Version": "renma",
    }
    if facts["rescale"]:
        settings["CFG Rescale"] = f"{facts['rescale']:g}"
    return infotext(facts["prompt"], facts["negative"], settings)
