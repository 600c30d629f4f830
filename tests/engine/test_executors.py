"""Work spread over this process, over processes and over Ray gives the same (design.md, 6)."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from renma.core.errors import UserError
from renma.engine.executors import Done, spread

_STAGE = """
import os
from dataclasses import dataclass
from renma.core.errors import UserError

@dataclass(frozen=True)
class Square:
    opened: str

    def open(self):
        with open(f"{self.opened}/{os.getpid()}", "a") as file:
            file.write("opened ")
        return self.one

    def one(self, number):
        if number == 13:
            raise UserError("is unlucky", where="the number", remedy="Skip it.")
        if number == -1:
            os.kill(os.getpid(), 9)
        return number * number, os.environ.get("OMP_NUM_THREADS")
"""


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that other processes can import, unlike this one."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "stage_of_squares.py").write_text(_STAGE)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    monkeypatch.delitem(sys.modules, "stage_of_squares", raising=False)
    (tmp_path / "opened").mkdir()
    return importlib.import_module("stage_of_squares")


def _values(found: list[Done]) -> dict[int, object]:
    return {each.index: each.value[0] for each in found if each.error is None}


@pytest.mark.parametrize(
    "executor",
    ["serial", "processes", pytest.param("ray", marks=pytest.mark.filterwarnings("ignore"))],
)
def test_each_thing_once_and_each_worker_opened_once(
    stages: ModuleType, tmp_path: Path, executor: str
) -> None:
    if executor == "ray":
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    opened = tmp_path / "opened"
    things = list(range(40))
    found = list(spread(stages.Square(str(opened)), things, executor=executor, workers=2))
    assert sorted(each.index for each in found) == things
    assert _values(found) == {n: n * n for n in things if n != 13}
    (wrong,) = [each for each in found if each.error]
    assert wrong.error is not None
    assert wrong.index == 13
    assert wrong.error.line() == "the number: is unlucky. Skip it."
    times = [path.read_text() for path in opened.iterdir()]
    assert set(times) == {"opened "}
    assert len(times) == (1 if executor == "serial" else 2)
    assert executor == "serial" or str(os.getpid()) not in {p.name for p in opened.iterdir()}


def test_a_killed_worker_ends_the_work_with_advice(stages: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a worker process was killed.*Start the same command"):
        list(
            spread(
                stages.Square(str(tmp_path / "opened")), [1, -1, 2], executor="processes", workers=2
            )
        )


def test_one_worker_needs_no_process(stages: ModuleType, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    list(spread(stages.Square(str(opened)), [1, 2], executor="processes", workers=1))
    assert [path.name for path in opened.iterdir()] == [str(os.getpid())]


def test_processes_share_the_cores(stages: ModuleType, tmp_path: Path) -> None:
    """A library that starts a thread for each core in each worker slows all of them down."""
    stage = stages.Square(str(tmp_path / "opened"))
    cores = len(os.sched_getaffinity(0))
    for each in spread(stage, [1, 2, 3, 4], executor="processes", workers=2):
        assert each.value is not None
        assert int(each.value[1] or 0) == max(1, cores // 2)


def test_nothing_to_do_opens_nothing(stages: ModuleType, tmp_path: Path) -> None:
    assert not list(
        spread(stages.Square(str(tmp_path / "opened")), [], executor="processes", workers=4)
    )
    assert not list((tmp_path / "opened").iterdir())


def test_ray_that_is_not_there_is_said(
    stages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="Ray is not installed"):
        list(spread(stages.Square(str(tmp_path)), [1], executor="ray", workers=1))
