"""Work spread over this process, over processes and over Ray gives the same (design.md, 6)."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from types import ModuleType

import pytest

from renma.core.errors import UserError
from renma.engine.executors import Done, spread

_QUIET = pytest.mark.filterwarnings("ignore")  # of Ray's own
_STAGE = """
import os
import time
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
        if number == -2:
            raise ZeroDivisionError("a defect")
        if number == -3:
            time.sleep(2)
        return number * number, os.environ.get("OMP_NUM_THREADS")

@dataclass(frozen=True)
class Shut:
    mistake: bool

    def open(self):
        if self.mistake:
            raise UserError("is no network", where="a.onnx", remedy="Give another.")
        return self.nothing_of_that_name

@dataclass(frozen=True)
class Threads:
    early: bool  # whether the libraries are loaded before the first thing is worked on

    def open(self):
        if self.early:
            import cv2, torch
        return self.one

    def one(self, thing):
        import cv2, torch
        from renma.engine.spawning import share
        return cv2.getNumThreads(), torch.get_num_threads(), share()
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A module that other processes can import, unlike this one."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "stage_of_squares.py").write_text(_STAGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder))
        patch.delitem(sys.modules, "stage_of_squares", raising=False)
        yield importlib.import_module("stage_of_squares")


@pytest.fixture
def stages(code: ModuleType, tmp_path: Path) -> ModuleType:
    """The same, and a place to write to."""
    (tmp_path / "opened").mkdir()
    return code


@pytest.fixture(scope="module")
def cluster(code: ModuleType) -> Iterator[None]:
    """A running Ray, as on a cluster: starting one takes longer than all that is tested here."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def _values(found: list[Done]) -> dict[int, object]:
    return {each.index: each.value[0] for each in found if each.value is not None}


@pytest.mark.parametrize(
    "executor",
    ["serial", "processes", pytest.param("ray", marks=_QUIET)],
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


@pytest.fixture(params=["processes", "ray"])
def executor(request: pytest.FixtureRequest) -> str:
    """The ways that start workers."""
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return request.param


@_QUIET
def test_a_stage_that_cannot_be_opened_says_why(stages: ModuleType, executor: str) -> None:
    """A wrong model is the user's mistake: one line, and not that memory ran out."""
    with pytest.raises(UserError) as caught:
        list(spread(stages.Shut(mistake=True), [1, 2, 3], executor=executor, workers=2))
    assert caught.value.line() == "a.onnx: is no network. Give another."


@_QUIET
def test_defects_are_raised_as_what_they_are(stages: ModuleType, executor: str) -> None:
    """In open and later; the worker's own traceback is told."""
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        list(spread(stages.Shut(mistake=False), [1, 2, 3], executor=executor, workers=2))
    with pytest.raises(ZeroDivisionError, match="a defect") as caught:
        list(spread(stages.Square("/tmp"), [-2, 2], executor=executor, workers=2))
    assert "stage_of_squares.py" in str(caught.value.__cause__)


@_QUIET
@pytest.mark.usefixtures("cluster")
def test_a_worker_that_ray_lost_is_said(stages: ModuleType, tmp_path: Path) -> None:
    stage = stages.Square(str(tmp_path / "opened"))
    with pytest.raises(UserError, match="Ray lost a worker"):
        list(spread(stage, [1, -1, 2], executor="ray", workers=2))


@_QUIET
@pytest.mark.parametrize("early", [True, False])
def test_libraries_start_no_more_threads_than_their_share(
    stages: ModuleType, monkeypatch: pytest.MonkeyPatch, executor: str, early: bool
) -> None:
    """What OpenCV, PyTorch and onnxruntime say themselves, whenever they are loaded."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    want = max(1, len(os.sched_getaffinity(0)) // 2)
    done = list(spread(stages.Threads(early), range(3), executor=executor, workers=2))
    assert [each.value for each in done] == [(want,) * 3] * 3
    assert "OMP_NUM_THREADS" not in os.environ


def test_what_the_user_says_of_threads_is_never_exceeded(
    stages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("renma.engine.executors.cores", lambda: 64)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    done = list(spread(stages.Threads(early=True), [1, 2], executor="processes", workers=2))
    assert [each.value for each in done] == [(1, 1, 1)] * 2
    assert os.environ["OMP_NUM_THREADS"] == "1"


_SLOW = """
import os, signal, sys, time
from pathlib import Path
from renma.engine.executors import spread
import stage_of_squares

if __name__ == "__main__":
    # a shell starts what runs in its background deaf to Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for done in spread(stage_of_squares.Square("."), [-3] * 4, executor="processes", workers=2):
            pass
        print("through")
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.mark.parametrize("after", [0.02, 0.1, 0.3])
def test_ctrl_c_while_workers_start_leaves_no_tracebacks(
    stages: ModuleType, tmp_path: Path, after: float
) -> None:
    """Row F7: a terminal sends it to every process, also to those that are just being born."""
    (tmp_path / "slow.py").write_text(_SLOW)
    command = [sys.executable, str(tmp_path / "slow.py")]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 30
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(children.read_text().split()) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)  # the second child is the first worker; one only tracks resources
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    out, said = process.communicate(timeout=30)
    assert said == ""
    assert out == "stopped\n"


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
