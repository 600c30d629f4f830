"""Whether a class named by its dotted path can be there, told without importing its package.

Only what surely fails is refused. Importing is what runs a package's code, and most of those that
bring optimizers import torch, which takes seconds.
"""

from __future__ import annotations

import re
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from renma.config.optimizer import Custom
from renma.config.run import Run
from renma.core.errors import UserError, did_you_mean

_DYNAMIC = re.compile(r"import \*|__getattr__|globals\(\)|vars\(|setattr\(|sys\.modules|exec\(")
"""Signs that a module has more names than its text says."""
_CLASSES = re.compile(r"\b[A-Z]\w+\b")


def check(run: Run) -> None:
    """Refuses an optimizer class of one's own that surely cannot be imported.

    Raises:
        UserError: the package is not installed, or has no such class.
    """
    if not isinstance(run.optimizer, Custom):
        return
    path = run.optimizer.class_path
    package, _, name = path.rpartition(".")
    missing = missing_module(package)
    if missing:
        raise UserError(
            f"cannot import '{package}': No module named '{missing}'",
            where="optimizer.class_path",
            remedy="Install the package, or correct the path.",
        )
    text = _text(_spec(package))
    if text and not _DYNAMIC.search(text) and not re.search(rf"\b{re.escape(name)}\b", text):
        raise UserError(
            f"'{path}' is no optimizer class",
            where="optimizer.class_path",
            remedy=did_you_mean(name, set(_CLASSES.findall(text)))
            or "A class derived from torch.optim.Optimizer.",
        )


def missing_module(package: str) -> str:
    """Returns the first part of a dotted name that surely cannot be imported, or an empty text."""
    names = package.split(".")
    for count in range(1, len(names) + 1):
        part = ".".join(names[:count])
        if part not in sys.modules and _spec(part) is None:
            above = _text(_spec(part.rpartition(".")[0])) if count > 1 else ""
            # a package can put modules into its own name; it has to mention them then
            named = re.search(rf"\b{re.escape(names[count - 1])}\b", above)
            return "" if named else part
    return ""


def _spec(name: str) -> ModuleSpec | None:
    """Returns where a module lies; unlike ``find_spec``, without importing those above it."""
    if not name:
        return None
    path, *deeper = name.split(".")
    try:
        found = find_spec(path)
    except ValueError:  # a module that was made in memory
        return None
    for part in deeper:
        if found is None or found.submodule_search_locations is None:
            return None
        path = f"{path}.{part}"
        found = PathFinder.find_spec(path, list(found.submodule_search_locations))
    return found


def _text(spec: ModuleSpec | None) -> str:
    """Returns the source of a module, empty where it has none."""
    origin = spec.origin if spec else None
    if not origin or not origin.endswith(".py") or not Path(origin).is_file():
        return ""
    return Path(origin).read_text(encoding="utf-8", errors="replace")
