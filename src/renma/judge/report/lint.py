"""What ``renma prepare lint --json`` found in the training pictures, where it was kept (no torch).

Lint changes nothing in a folder of pictures, so its answer is where the user put it: a
``lint*.json`` in the run's folder, in its project, or beside the pictures.
"""

from __future__ import annotations

import codecs
import datetime
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from renma.judge.folder import RunRecord

MOST_NAMED = 8
"""Pictures named for one check."""
_LARGEST = 64_000_000
GRAVITIES = {
    "stop": "Training stops at these",
    "mend": "These teach something unwanted",
    "look": "Worth a look",
}


class _Finding(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    code: str
    picture: str
    title: str = ""
    text: str = ""
    gravity: str = "look"
    remedy: str = ""


class _LintFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    folder: str
    pictures: int
    findings: list[_Finding]


@dataclass(frozen=True)
class Check:
    """One thing that was found in some pictures."""

    name: str
    gravity: str
    remedy: str
    count: int
    named: tuple[tuple[str, str], ...]
    """(picture, what was found)."""


@dataclass(frozen=True)
class Lint:
    """One answer of lint."""

    file: str
    folder: str
    pictures: int
    touched: int
    when: str
    stale: bool
    """Whether pictures are newer than the answer."""
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class LintSection:
    """All answers, or how to get one; ``problems`` are files that could not be used."""

    found: tuple[Lint, ...]
    commands: tuple[str, ...]
    problems: tuple[str, ...]


def lint(folder: RunRecord, pictures: Sequence[Path]) -> LintSection:
    """Returns what is known about the training pictures.

    Args:
        folder: the run.
        pictures: the training pictures that are there.
    """
    found, problems = [], []
    for path in _files(folder):
        try:
            found.append(_read(path, pictures))
        except (OSError, ValueError, RecursionError) as error:
            kind = "is no answer of `renma prepare lint --json`"
            reason = error.strerror if isinstance(error, OSError) else kind
            problems.append(f"{path.name}: {reason}")
    return LintSection(tuple(found), tuple(_commands(folder)), tuple(problems))


def _folders(folder: RunRecord) -> dict[str, int]:
    """Returns the side of the square that pictures are trained at, by folder."""
    data = folder.run.data
    if data.train_folder:
        return {data.train_folder: _side(data.resolution)}
    found: dict[str, int] = {}
    for dataset in data.datasets:
        own = dataset if "resolution" in dataset.model_fields_set else data
        names = [s.image_dir for s in dataset.subsets if s.image_dir and not s.is_reg]
        found |= dict.fromkeys(names, _side(own.resolution))
    return found


def _side(resolution: tuple[int, int]) -> int:
    return round(math.sqrt(math.prod(resolution)))


def _commands(folder: RunRecord) -> list[str]:
    sides = _folders(folder)
    files = ["lint.json"] if len(sides) == 1 else [f"lint-{i + 1}.json" for i in range(len(sides))]
    return [
        f"renma prepare lint {shlex.quote(name)} --resolution {side} --json > {file}"
        for (name, side), file in zip(sides.items(), files, strict=True)
    ]


def _files(folder: RunRecord) -> list[Path]:
    places = [folder.path]
    if folder.path.parent.name == "runs":
        places.append(folder.path.parent.parent)
    places += [(folder.path / name).parent for name in _folders(folder)]
    unique = dict.fromkeys(place.resolve() for place in places)
    files = [path for place in unique for path in sorted(place.glob("lint*.json"))]
    return [path for path in files if path.is_file()]


def _read(path: Path, pictures: Sequence[Path]) -> Lint:
    """Returns one answer.

    Raises:
        ValueError: it is none.
    """
    state = path.stat()
    if state.st_size > _LARGEST:
        raise ValueError("too large")
    try:
        file = _LintFile.model_validate(json.loads(_text(path.read_bytes())))
    except ValidationError as error:
        raise ValueError("another form") from error
    newest = max((one.stat().st_mtime for one in pictures if one.is_file()), default=0.0)
    day = datetime.datetime.fromtimestamp(state.st_mtime, datetime.UTC)
    return Lint(
        path.name,
        PurePath(file.folder.replace("\\", "/")).name or file.folder,
        file.pictures,
        len({finding.picture for finding in file.findings}),
        f"{day:%Y-%m-%d}",
        newest > state.st_mtime,
        tuple(_checks(file.findings)),
    )


def _text(data: bytes) -> str:
    # what Windows PowerShell writes with > is UTF-16
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def _checks(findings: Sequence[_Finding]) -> list[Check]:
    by_code: dict[str, list[_Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding)
    return [_check(code, found) for code, found in by_code.items()]


def _check(code: str, found: Sequence[_Finding]) -> Check:
    first: Any = found[0]
    named: dict[str, str] = {}
    for finding in found:
        named.setdefault(finding.picture, finding.text)
    gravity = first.gravity if first.gravity in GRAVITIES else "look"
    # answers of renma 0.1 have no titles
    name = first.title or code.replace("-", " ").capitalize()
    return Check(name, gravity, first.remedy, len(named), tuple(named.items())[:MOST_NAMED])
