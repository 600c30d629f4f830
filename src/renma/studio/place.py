"""The folders that the studio may touch, and the one check of every path that comes from the web.

A place is written with slashes and seen from the workspace: ``mine/train/1_aa12/00.png``. Folders
of models that were named at the start are read as ``@NAME/...``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from renma.core.errors import UserError

OWN = ".renma-studio"
"""The studio's own folder in the workspace: jobs, thumbnails, the token."""
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d|clock\$)(?:\.|$)", re.IGNORECASE)
_LONGEST = 1000


class OutsideError(UserError):
    """A path that leaves the folders the studio may touch, or is no path at all."""


@dataclass(frozen=True)
class Place:
    """The workspace and the folders of models.

    Attributes:
        root: the workspace, resolved.
        models: folders that are only read, by name.
    """

    root: Path
    models: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def made(cls, root: Path, models: Iterable[Path] = ()) -> Place:
        """Returns the place, with its own folder made.

        Raises:
            UserError: a folder is missing or cannot be written.
        """
        named = {}
        for folder in models:
            if not folder.is_dir():
                raise UserError("there is no such folder", where=f"--models {folder}")
            named[folder.resolve().name] = folder.resolve()
        place = cls(root.resolve(), named)
        try:
            place.own.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot be written ({error.strerror})", where=root) from None
        return place

    @property
    def own(self) -> Path:
        """The studio's own folder."""
        return self.root / OWN

    def inside(self, given: str, *, write: bool = False) -> Path:
        """Returns the path that a text from the web means.

        Args:
            given: seen from the workspace, or ``@NAME/...``.
            write: whether something will be written there.

        Raises:
            OutsideError: it is absolute, leaves its folder by ``..`` or a link, names a device, or
                is the studio's own.
        """
        parts = _parts(given)
        root = self.root
        if parts and parts[0].startswith("@"):
            name = parts[0][1:]
            if write or name not in self.models:
                raise OutsideError("is no folder of this studio", where=_shown(given))
            root, parts = self.models[name], parts[1:]
        elif parts and parts[0].casefold() == OWN:
            raise OutsideError("belongs to the studio itself", where=_shown(given))
        path = root.joinpath(*parts)
        real = Path(os.path.realpath(path))
        if real != root and root not in real.parents:
            raise OutsideError("leads out of the workspace", where=_shown(given))
        if self.own in (real, *real.parents):
            raise OutsideError("belongs to the studio itself", where=_shown(given))
        return path

    def own_files(self, folder: Path, names: Iterable[str]) -> Path:
        """Returns a folder that was asked for, after a look at files in it that will be read.

        Raises:
            OutsideError: one is a link that leads out of the workspace.
        """
        for name in names:
            if (path := folder / name).exists():
                self.inside(self.shown(path))
        return folder

    def shown(self, path: Path) -> str:
        """Returns a path as the web sees it.

        Raises:
            OutsideError: it lies in none of the folders.
        """
        for prefix, root in (("", self.root), *((f"@{n}/", p) for n, p in self.models.items())):
            if path == root or root in path.parents:
                rest = path.relative_to(root).as_posix()
                return prefix + ("" if rest == "." else rest)
        raise OutsideError("leads out of the workspace", where=path.name)


def _parts(given: str) -> list[str]:
    """Returns the parts of a path that may be looked for.

    Raises:
        OutsideError: a form that no path inside a folder has, on any system.
    """
    odd = "\\" in given or any(ord(sign) < 32 for sign in given) or len(given) > _LONGEST
    if odd or given.startswith(("/", "~")) or PureWindowsPath(given).drive:
        raise OutsideError("is no path inside the workspace", where=_shown(given))
    parts = [part for part in given.split("/") if part not in ("", ".")]
    for part in parts:
        if part == ".." or _DEVICES.match(part) or part != part.rstrip(". ") or ":" in part:
            raise OutsideError("is no path inside the workspace", where=_shown(given))
    return parts


def _shown(given: str) -> str:
    """Returns what was asked for, safe to print."""
    return repr(given[:80])
