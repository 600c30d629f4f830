"""Checkpoints where users of sd-scripts look for them: beside the run's folder, by kohya's names.

The run keeps its own files; the copies are hard links where the file system can have them.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from renma.core.events import Report

_NUMBERED = re.compile(r"(?P<name>.*)-(?:(?P<epoch>\d{6})|step(?P<step>\d{8}))$")


class Mirror:
    """A report that keeps a folder equal to the checkpoints of a run.

    Args:
        lora: the run's own checkpoints.
        folder: where the copies go.
        name: the run's name.
        unnamed: whether sd-scripts was given no --output_name: it then calls checkpoints
            `epoch-000001` and `at-step00000100`.
        then: the report that gets every event.
    """

    def __init__(self, lora: Path, folder: Path, name: str, unnamed: bool, then: Report) -> None:
        self._lora, self._folder, self._name = lora, folder, name
        self._unnamed, self._then = unnamed, then
        self._mine = {own for own, path in self._wanted().items() if self._same(own, path)}

    def event(self, kind: str, **data: Any) -> None:
        """Passes an event on, after the files are where they belong."""
        if kind in ("saved", "finished", "interrupted"):
            self.update()
        self._then.event(kind, **data)

    def line(self, text: str) -> None:
        """Passes a line on."""
        self._then.line(text)

    def update(self) -> None:
        """Copies what is new, and removes copies whose checkpoint the run has removed."""
        wanted = self._wanted()
        for name, source in wanted.items():
            if not self._same(name, source):
                self._copy(source, self._folder / name)
        for name in self._mine - wanted.keys():
            with suppress(OSError):
                (self._folder / name).unlink()
        self._mine = set(wanted)

    def _wanted(self) -> dict[str, Path]:
        return {
            self._kohya(path): path
            for path in self._lora.glob("*.safetensors")
            if path.stem == self._name or path.stem.startswith(f"{self._name}-")
        }

    def _kohya(self, path: Path) -> str:
        """Returns a checkpoint's name in sd-scripts."""
        match = _NUMBERED.fullmatch(path.stem)
        if not self._unnamed or match is None:
            return path.name
        number = f"epoch-{match['epoch']}" if match["epoch"] else f"at-step{match['step']}"
        return f"{number}{path.suffix}"

    def _same(self, name: str, source: Path) -> bool:
        """Says whether a copy is what the run has (the very file, or one of its size and time)."""
        copy = self._folder / name
        if not copy.is_file():
            return False
        own, other = source.stat(), copy.stat()
        return os.path.samestat(own, other) or (
            own.st_size == other.st_size and own.st_mtime_ns == other.st_mtime_ns
        )

    def _copy(self, source: Path, target: Path) -> None:
        """Links or copies a file, so that the name always stands for a whole one."""
        part = target.with_name(f".{target.name}.part")
        try:
            part.unlink(missing_ok=True)
            try:
                os.link(source, part)
            except OSError:  # another disk, or a file system without links
                shutil.copy2(source, part)
            part.replace(target)
        except OSError as error:
            text = f"{target}: not copied ({error.strerror}); it lies in {source}"
            self._then.event("warned", text=text)
