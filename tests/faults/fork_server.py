"""A process that has imported torch once and forks a child for every job, to be killed at will.

Started by the ``forks`` fixture; one JSON line in, one out. A child costs hundredths of a second
where a fresh ``renma`` costs seconds, so hundreds of kills fit into a test run.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

DONE, TOLD = 0, 2


def main() -> None:
    """Serves jobs until standard input ends."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what jobs print goes to the log, not into the answers
    warm_up()
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(serve(json.loads(line))) + "\n")
        answers.flush()


def warm_up() -> None:
    """Imports what jobs need, so that children find it in memory."""
    import bitsandbytes  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401

    import renma.train.work  # noqa: F401
    from renma.config.model import ModelConfig
    from renma.engine.model import load_family

    load_family(ModelConfig(), device="cpu")


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Runs one job in a child and says how it ended: exit status, what it told, events counted.

    The job named ``beside`` runs at the same time; its answer stands under that name too.
    """
    child, pipe = start(request)
    other = start(request["beside"]) if "beside" in request else None
    wait(child, request.get("kill_after"))
    answer = end(child, pipe)
    return {**answer, "beside": end(*other)} if other else answer


def start(request: dict[str, Any]) -> tuple[int, int]:
    """Forks a child that does a job; returns its id and the pipe it tells on."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        run(request, writing)
    os.close(writing)
    return child, reading


def end(child: int, pipe: int) -> dict[str, Any]:
    """Waits for a child and returns how it ended."""
    with os.fdopen(pipe, encoding="utf-8") as file:
        told = [json.loads(line) for line in file]
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"status": status, **{key: value for row in told for key, value in row.items()}}


def wait(child: int, kill_after: float | None) -> None:
    """Kills a child after a time, unless it ends before."""
    if kill_after is None:
        return
    deadline = time.monotonic() + kill_after
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)


def run(request: dict[str, Any], told: int) -> None:
    """Does the job in the child and leaves it."""
    code = DONE
    os.environ |= request.get("environment", {})
    if cache := request.get("cache"):
        os.environ["RENMA_CACHE"] = cache
    if step := request.get("killed_before_step"):
        kill_before(step)
    counter = Counter(request, told)
    try:
        JOBS[request["job"]](**request["args"])
    except SystemExit as error:
        code = int(error.code or 0)
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        code = getattr(error, "exit_code", TOLD)
        name = type(error).__name__
        tell(told, error=name, text=str(error) if code != 1 else traceback.format_exc())
    tell(told, events=counter.count, seen=counter.seen)
    os._exit(code)


def tell(pipe: int, **data: Any) -> None:
    os.write(pipe, (json.dumps(data) + "\n").encode())


def kill_before(number: int) -> None:
    """Has this process kill itself at the start of a step."""
    from renma.train.loop import Trainer

    step = Trainer.step

    def last(self: Trainer):
        if self.counters.step == number - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self)

    Trainer.step = last


class Counter:
    """Counts what a child does to files under a folder, and kills it at the chosen one.

    Python announces opening for writing, renaming, removing, making folders through audit hooks
    *before* they happen; fsync is announced by wrapping it. Nothing in renma knows of it.
    """

    ANNOUNCED = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")

    def __init__(self, request: dict[str, Any], told: int) -> None:
        self.count, self.told, self.seen = 0, told, []
        self.at, self.folder = request.get("at_event"), request.get("folder")
        self.number = request.get("at_event_signal", signal.SIGKILL)
        if self.folder:
            sys.addaudithook(self.hook)
            fsync = os.fsync

            def counted(handle: int) -> None:
                self.hit("fsync", str(Path(f"/proc/self/fd/{handle}").readlink()))
                fsync(handle)

            os.fsync = counted
        if limit := request.get("file_limit"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            deadly = request.get("limit_kills")
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if deadly else signal.SIG_IGN)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in self.ANNOUNCED or not isinstance(args[0], str | os.PathLike):
            return
        if event == "open" and not (
            isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            return
        self.hit(event, str(args[0]))

    def hit(self, event: str, path: str) -> None:
        if not path.startswith(str(self.folder)):
            return
        self.count += 1
        self.seen.append(f"{event} {Path(path).name[:12]}".strip())
        if self.count == self.at:
            os.kill(os.getpid(), self.number)


def train(
    run: str, out: str, values: list[str], resume: bool = False, allow: list[str] = ()
) -> None:
    """`renma train`."""
    from renma.config.run_tasks import TrainOptions
    from renma.core.events import Silent
    from renma.train import task

    options = TrainOptions(
        run=Path(run), out=Path(out), set=tuple(values), resume=resume, allow_change=tuple(allow)
    )
    task.run(options, Silent())


def unheard(words: list[str]) -> None:
    """A command line whose reader has gone away before the first word."""
    from renma.cli import main

    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    raise SystemExit(main(words))


def save_state(folder: str, step: int, keep: int) -> None:
    """One state, with retention."""
    from renma.formats import state

    state.save(Path(folder), step, tree(step), keep)


def save_checkpoint(folder: str, number: int, keep: int) -> None:
    """One LoRA checkpoint, with retention."""
    from renma.formats import safetensors
    from renma.train.retention import remove_surplus

    path = Path(folder) / f"lora-{number:06d}.safetensors"
    safetensors.save(path, tree(number)["network"], {"number": str(number)})
    remove_surplus(path, keep)


def tree(step: int) -> dict[str, Any]:
    """A state whose every number follows from the step."""
    generator = torch.Generator().manual_seed(step)
    numbers = {name: torch.randn(40, 30, generator=generator) for name in ("down", "up")}
    return {
        "network": numbers,
        "optimizer": {"state": {0: {"step": step}}},
        "counters": {"step": step},
    }


def stopping(
    project: str, out: str, values: list[str], merits: dict[str, float],
    resume: bool = False, killed_at: int = 0,
) -> None:  # fmt: skip
    """Trains until nothing gets better; ``killed_at`` is the step whose judging kills it."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from testbed.referees import Scripted, judged

    def look(_path: Path, step: int, _family: Any) -> None:
        if step == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    referee = Scripted({int(step): merit for step, merit in merits.items()}, look)
    judged(Path(project), out, referee, *values, resume=resume)


JOBS = {
    "train": train,
    "stopping": stopping,
    "unheard": unheard,
    "save_state": save_state,
    "save_checkpoint": save_checkpoint,
}

if __name__ == "__main__":
    main()
