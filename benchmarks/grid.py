"""A grid of 5 checkpoints x 5 weights x 2 prompts on mame: its time, and a second run's.

    OMP_NUM_THREADS=1 python benchmarks/grid.py [--run FOLDER] [--steps 20] [--out FILE]

A small run on mame is trained first (``--run`` takes one that is there). Each grid is a process of
its own, started as a person starts it: ``renma grid RUN --x weight=... --y checkpoint=...``.
The second run finds every cell drawn. Reported are wall and CPU seconds of both, their ratio, and
whether torch was loaded. At weight 0 all checkpoints show the base model, which is drawn once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from renma.judge.folder import RunRecord

RESULTS = Path(__file__).parent / "results"
CHECKPOINTS, STEPS = 5, 60
CODE = (
    "import sys; from renma.cli import main; code = main(sys.argv[1:]); "
    "print('torch' in sys.modules); sys.exit(code)"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--run", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "grid.json")
    parser.add_argument("--picture", type=Path, default=RESULTS / "grid.png")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        if arguments.run:
            shutil.copytree(arguments.run, folder)
            shutil.rmtree(folder / "cells", ignore_errors=True)
        else:
            folder = trained(Path(scratch))
        found = measured(folder, arguments.steps, arguments.picture)
    arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


def trained(scratch: Path) -> Path:
    """Returns the folder of a short run on the sample character, with five checkpoints."""
    project = scratch / "project"
    each = STEPS // CHECKPOINTS
    renma("init", str(project), "--sample", "character")
    values = (f"train.max_steps={STEPS}", f"train.save_every_steps={each}")
    told = [word for value in values for word in ("--set", value)]
    renma("train", str(project / "run.toml"), "--out", str(scratch / "run"), *told)
    return scratch / "run"


def measured(folder: Path, steps: int, picture: Path) -> dict[str, Any]:
    record = RunRecord.open(folder)
    every = record.need_checkpoints()
    if len(every) < CHECKPOINTS:
        raise SystemExit(f"{folder} has {len(every)} checkpoints, {CHECKPOINTS} are needed")
    last = len(every) - 1
    chosen = [every[round(i * last / (CHECKPOINTS - 1))].path.stem for i in range(CHECKPOINTS)]
    judge = record.run.judge
    prompts = [judge.trigger_prompts[0], judge.class_prompts[0]]
    words = [
        "grid", str(folder), "--x", "weight=0-1(+0.25)", "--y", f"checkpoint={','.join(chosen)}",
        "--z", "prompt=" + ",".join(f'"{text}"' for text in prompts), "--steps", str(steps),
        "-o", str(folder / "bench.png"),
    ]  # fmt: skip
    runs = [timed(words), timed(words)]
    picture.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "bench.png", picture)
    drawn = len(list((folder / "cells").glob("*.png")))
    first, second = runs
    return {
        "checkpoints": CHECKPOINTS,
        "weights": 5,
        "prompts": 2,
        "cells": CHECKPOINTS * 5 * 2,
        "pictures_drawn": drawn,
        "sampling_steps": steps,
        "first": first,
        "second": second,
        "second_to_first": round(second["seconds"] / first["seconds"], 4),
        "second_to_first_cpu": round(second["cpu_seconds"] / first["cpu_seconds"], 4),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }


def timed(words: list[str]) -> dict[str, Any]:
    """Runs one command line in a process of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    said = renma(*words)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    loaded = said.split()[-1] == "True"
    return {
        "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "torch_loaded": loaded
    }  # fmt: skip


def renma(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
