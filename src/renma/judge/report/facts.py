"""What a report tells in words and numbers: plan, files, versions, units (no torch)."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import renma
from renma.core.errors import UserError
from renma.core.store import file_hash
from renma.formats.safetensors import read_header
from renma.judge.folder import Checkpoint, RunRecord
from renma.judge.numbers import is_number

LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "pillow")
LONGEST_VALUE = 600  # characters of one metadata entry
MOST_ENTRIES = 200
MOST_METHOD = 12
"""Rows that a plan tells of the run's method."""
_HOME = re.compile(
    r"(?<![\w.~-])(?:/home/|/Users/|[A-Za-z]:[\\/]+Users[\\/]+)[^/\\\s'\":;,]+"
    r"|(?<![\w.~-])/root(?![\w.-])"
)
"""A home folder of anybody on any system, JSON's doubled backslashes among them."""


@dataclass(frozen=True)
class File:
    """One LoRA file of the run."""

    name: str
    label: str
    size: str
    sha256: str


def percent(share: object) -> str:
    """Returns a share as whole percentage, or a dash where nothing was measured."""
    if not is_number(share):
        return "–"
    return f"{share * 100:.0f} %" if abs(share) < 1e9 else f"{share * 100:.1e} %"


def duration(seconds: object) -> str:
    """Returns ``8 s``, ``2 min 05 s`` or ``3 h 20 min``."""
    if not is_number(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(number: object) -> str:
    """Returns bytes as ``9.5 MB`` (decimal, as file managers show)."""
    if not is_number(number):
        return "–"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number:.0f} bytes"


def plan_rows(plan: object) -> list[tuple[str, str]]:
    """Returns (what, how much) of a plan; what it does not name is left out."""
    if not isinstance(plan, dict):
        return []
    known = [(label, show(plan[key])) for key, label, show in _PLAN if _known(plan.get(key))]
    return known + _method_rows(plan.get("method"))


def measured_rows(finished: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns (what, how much) of what a run told when it finished."""
    known = (("Time", "seconds", duration), ("Peak memory", "peak_memory_mib", _mebibytes))
    return [
        (label, show(found)) for label, key, show in known if is_number(found := finished.get(key))
    ]


def files(folder: RunRecord) -> list[File]:
    """Returns the run's LoRA files, the most trained first."""
    return [_file(folder.path, checkpoint) for checkpoint in reversed(folder.checkpoints())]


def file_metadata(path: Path) -> list[tuple[str, str]]:
    """Returns the metadata written in a LoRA file; long values are cut.

    The file may be anybody's: nothing here is trusted, the page escapes it.
    """
    try:
        _, rows = read_header(path)
    except UserError as error:
        return [("not readable", error.what)]
    found = [(cut(k), cut(v)) for k, v in sorted(rows.items()) if k != "renma_run"]
    rest = len(found) - MOST_ENTRIES
    return [*found[:MOST_ENTRIES], *([("and more", f"{rest} entries")] if rest > 0 else [])]


def versions(started: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns what the run was trained with and what wrote the report."""
    trained = [
        ("trained with renma", started.get("version")),
        ("trained with torch", started.get("torch")),
        ("threads", started.get("threads")),
        ("report by renma", renma.__version__),
        ("Python", platform.python_version()),
    ]
    found = [(name, _version(name)) for name in LIBRARIES]
    return [(name, str(value)) for name, value in (*trained, *found) if value]


def without_home(text: str) -> str:
    """Returns text with home folders written as ``~``: a report is made to be sent around.

    Runs come from other machines, too, so whatever looks like a home folder is taken for one.
    """
    home = str(Path.home())
    if len(home) > 1:
        for written in {home, home.replace("\\", "\\\\"), home.replace("\\", "/")}:
            text = re.sub(rf"{re.escape(written)}(?![\w.-])", "~", text)
    return _HOME.sub("~", text)


def cut(text: str, longest: int = LONGEST_VALUE) -> str:
    """Returns a text, or its beginning and how long it is."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} signs)"


def _file(folder: Path, checkpoint: Checkpoint) -> File:
    path = checkpoint.path
    name = path.relative_to(folder).as_posix()
    return File(name, checkpoint.label, size(path.stat().st_size), file_hash(path))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _method_rows(rows: object) -> list[tuple[str, str]]:
    """Returns what a plan tells of the run's method, as far as it is pairs of texts."""
    pairs = [tuple(row) for row in rows if isinstance(row, list)] if isinstance(rows, list) else []
    return [
        (cut(row[0]), cut(row[1]))
        for row in pairs[:MOST_METHOD]
        if len(row) == 2 and all(isinstance(text, str) for text in row)
    ]


def _known(value: object) -> bool:
    return value not in (None, "", (), [], {})


def _count(number: object) -> str:
    return f"{number:,}".replace(",", " ") if isinstance(number, int) else f"{number}"


def _buckets(counts: object) -> str:
    if not isinstance(counts, dict):
        return str(counts)
    return ", ".join(f"{str(name).replace('x', '×')}: {count}" for name, count in counts.items())


def _decimal(number: object) -> str:
    return f"{number:g}" if is_number(number) else str(number)


def _mebibytes(number: object) -> str:
    return f"{number:.0f} MiB" if is_number(number) else str(number)


_PLAN: tuple[tuple[str, str, Callable[[object], str]], ...] = (
    ("pictures", "Pictures", _count),
    ("reg_pictures", "Regularisation pictures", _count),
    ("held_out", "Held-out pictures", _count),
    ("showings_per_epoch", "Showings an epoch", _count),
    ("batches_per_epoch", "Batches an epoch", _count),
    ("epochs", "Epochs", _decimal),
    ("steps", "Steps", _count),
    ("buckets", "Buckets (pictures)", _buckets),
    ("parameters", "Trained parameters", _count),
    ("file_bytes", "LoRA file", size),
    ("memory_mib", "Memory, estimated", _mebibytes),
    ("seconds", "Time, estimated", duration),
)
