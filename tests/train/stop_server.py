"""The fork server of the fault tests with one more job: training with a referee, to be killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import fork_server
from testbed.referees import Scripted, judged


def stopping(
    project: str, out: str, values: list[str], merits: dict[str, float],
    resume: bool = False, killed_at: int = 0,
) -> None:  # fmt: skip
    """Trains until nothing gets better; ``killed_at`` is the step whose judging kills it."""

    def look(_path: Path, step: int, _family: Any) -> None:
        if step == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    referee = Scripted({int(step): merit for step, merit in merits.items()}, look)
    judged(Path(project), out, referee, *values, resume=resume)


fork_server.JOBS["stopping"] = stopping

if __name__ == "__main__":
    fork_server.main()
