"""Help, configuration and preflight answer at once: nothing above the parts brings torch in."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers", "bitsandbytes")


def fresh(code: str) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules(package: str) -> list[str]:
    """A package and every module in it (none of these imports torch on the way)."""
    found = __import__(package, fromlist=["__path__"])
    inside = pkgutil.walk_packages(found.__path__, f"{package}.")
    return [package, *(m.name for m in inside if not m.name.endswith("__main__"))]


@pytest.mark.parametrize("package", ["renma.core", "renma.config", "renma.data", "renma.cli"])
def test_every_module_starts_without_torch(package):
    names = modules(package)
    assert len(names) > 3
    code = f"import {', '.join(names)}, sys; print([m for m in {HEAVY} if m in sys.modules])"
    assert fresh(code).strip() == "[]"


def test_rooms_and_tasks_are_listed_without_torch():
    code = "import renma.train, renma.judge, renma.use.init, sys; print('torch' in sys.modules)"
    assert fresh(code).strip() == "False"


@pytest.mark.timed
def test_help_takes_little_more_than_its_libraries(cost_of):
    code = (
        "import sys; from renma.cli import main; code = main(['--help'])\n"
        f"print(code, [m for m in {HEAVY} if m in sys.modules])"
    )
    said = fresh(code)
    assert said.splitlines()[-1] == "0 []"
    assert "Usage: renma" in said
    assert cost_of(code) < 4
