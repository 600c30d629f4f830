"""The fault matrix: its table, and a server of children to be killed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import faults.matrix

HERE = Path(__file__).parent


def load(name: str, path: Path) -> ModuleType:
    """Imports a file that is no package's."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_DRAWN = load("renma_tests_drawn_run", HERE.parent / "train" / "conftest.py")
project, lopsided = _DRAWN.project, _DRAWN.lopsided


@pytest.fixture
def matrix() -> ModuleType:
    """The fault matrix."""
    return faults.matrix


class Forks:
    """Runs jobs of ``fork_server.py`` in children of one warm process."""

    def __init__(self, log: Path) -> None:
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "fork_server.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                text=True,
            )
        self.log = log
        assert self._answer() == "ready"

    def __call__(self, job: str, how: dict[str, Any] | None = None, **args: Any) -> dict[str, Any]:
        """Does a job; ``how`` says when and how it is killed or hindered."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"job": job, "args": args, **(how or {})}) + "\n")
        self.process.stdin.flush()
        return json.loads(self._answer())

    def train(
        self, project: Path, out: str, *values: str, resume: bool = False, **how: Any
    ) -> dict[str, Any]:
        """Trains into ``project/out``."""
        places = {"run": str(project / "run.toml"), "out": str(project / out)}
        return self("train", how, **places, values=list(values), resume=resume)

    def _answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the fork server is gone: {self.log.read_text()[-2000:]}")
        return line.strip()

    def close(self) -> None:
        """Ends the server."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def drawn_run() -> ModuleType:
    """What makes the ``project`` of these tests: its run.toml and its drawn pictures."""
    return _DRAWN


@pytest.fixture(scope="session")
def forks_module() -> ModuleType:
    """The server's own module, for what it and the tests must agree on."""
    return load("renma_tests_fork_server", HERE / "fork_server.py")


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory, _own_cache: None) -> Iterator[Forks]:
    """The server, started once."""
    server = Forks(tmp_path_factory.mktemp("forks") / "log")
    yield server
    server.close()
