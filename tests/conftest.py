"""Shared by all tests: one thread, a cache of their own, no network."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# a busy machine is no reason for a test to fail: the first draw builds tables that take a second
settings.register_profile("renma", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("renma")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["RENMA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden vectors."""
    return Path(__file__).parent / "golden"


def _cpu_seconds(code: str) -> float:
    """CPU seconds of a fresh interpreter that runs ``code``: the least of five."""
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


@pytest.fixture
def cost_of() -> Callable[[str], float]:
    """CPU time of a fresh interpreter as a multiple of what the libraries' own import takes here.

    The import takes 0.1 seconds on a desktop of 2023, 0.25 on a small rented machine.
    """
    libraries = _cpu_seconds("import cyclopts, pydantic, rich.progress, tomlkit")
    return lambda code: _cpu_seconds(code) / libraries


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder that ``RENMA_REFERENCE`` names: ``real-loras`` and ``spec``."""
    folder = os.environ.get("RENMA_REFERENCE")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RENMA_REFERENCE names no folder of reference files")
    return Path(folder)


@pytest.fixture(scope="session")
def mame():
    """The embedded model, loaded once; tests leave it as they found it."""
    import torch

    from renma.config.model import ModelConfig
    from renma.engine.model import load_family

    torch.set_num_threads(1)
    return load_family(ModelConfig(), device="cpu")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints each promise of the fault matrix and how its tests ended, if any test of it ran.

    Not in the folder of the matrix: where workers run the tests, who prints has read only this file.
    """
    from faults import matrix

    outcomes: dict[str, str] = {}
    for word in ("passed", "skipped", "failed", "error"):  # a failure outweighs what came before
        for report in terminalreporter.stats.get(word, []):
            outcomes[report.nodeid] = "failed" if word == "error" else word
    if any(node.startswith("tests/faults/") for node in outcomes):
        terminalreporter.section("fault matrix")
        for line in matrix.results(outcomes):
            terminalreporter.line(line)
