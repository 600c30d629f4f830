"""The folder is the registry: one algorithm is one file, its name is the file's name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from renma.core.errors import UserError, did_you_mean


@cache
def names(package: str) -> tuple[str, ...]:
    """Returns the sorted public module names in a package (files not starting with ``_``).

    A folder is listed once in a process: nothing is added to a package that runs.
    """
    path = importlib.import_module(package).__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")))


def load(package: str, name: str) -> ModuleType:
    """Imports ``package.name``.

    Raises:
        UserError: no such file in the folder.
    """
    known = names(package)
    if name not in known:
        kind = package.rsplit(".", 1)[-1]
        raise UserError(
            f"'{name}' is not one of the {kind}: {', '.join(known)}",
            remedy=did_you_mean(name, known),
        )
    return importlib.import_module(f"{package}.{name}")
