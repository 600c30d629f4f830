"""What a run costs before its first step, and what loading a model takes in memory.

    python benchmarks/start_up.py MODEL [--size 256] [--precision bf16] [--rounds 3] [--out FILE]

Start: `renma train` on the sample character in a fresh process, once to fill the caches, then
measured: CPU seconds of the process until the first optimizer step begins, interpreter and imports
included, and its peak resident memory. Loading: every part of the model in a process that has all
modules imported; peak of resident memory above that, over the bytes of the model's weight files.
Store the model in the precision it is loaded in, else the ratio tells of the cast.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from renma import assets

RUN = """
model.path = "{model}"
data.train_folder = "{pictures}"
data.resolution = {size}
train.precision = "{precision}"
train.max_steps = 1
train.tensorboard = false
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--precision", choices=["fp32", "fp16", "bf16"], default="bf16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=["start", "load"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        SUBJECTS[arguments.only](arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments, Path(folder))
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns medians over the rounds."""
    text = RUN.format(
        model=arguments.model.resolve().as_posix(),
        pictures=(assets.SAMPLES / "character" / "train").as_posix(),
        size=arguments.size,
        precision=arguments.precision,
    )
    (folder / "run.toml").write_text(text)
    alone("start", folder)  # fills the caches
    starts = [alone("start", folder) for _ in range(arguments.rounds)]
    loads = [alone("load", folder) for _ in range(arguments.rounds)]
    stored = sum(path.stat().st_size for path in weight_files(arguments.model)) / 2**20
    peak = statistics.median(load["peak_mib"] for load in loads)
    return {
        "model": arguments.model.name,
        **{name: getattr(arguments, name) for name in ("size", "precision", "rounds")},
        "cpu_seconds_to_first_step": round(statistics.median(s["seconds"] for s in starts), 2),
        "of_it_importing_torch": round(statistics.median(s["torch"] for s in starts), 2),
        "peak_mib_at_first_step": round(statistics.median(s["peak_mib"] for s in starts), 1),
        "cpu_seconds_of_loading": round(statistics.median(x["seconds"] for x in loads), 2),
        "stored_mib": round(stored, 1),
        "peak_mib_of_loading": round(peak, 1),
        "ratio_peak_of_loading": round(peak / stored, 3),
    }


def weight_files(model: Path) -> list[Path]:
    """Returns the files that hold the weights."""
    return sorted(model.rglob("*.safetensors")) if model.is_dir() else [model]


def alone(name: str, folder: Path) -> dict[str, float]:
    """Runs one measurement in a fresh process with a cache of its own."""
    command = [sys.executable, "-W", "ignore", *sys.argv, "--only", name, "--folder", str(folder)]
    own = {"RENMA_CACHE": str(folder / "cache"), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own})
    rows = [line for line in done.stdout.splitlines() if line.startswith('{"seconds"')]
    if not rows:
        raise SystemExit(f"{done.stdout}\n{done.stderr}")
    print(name, rows[-1], file=sys.stderr, flush=True)
    return json.loads(rows[-1])


def start(arguments: argparse.Namespace) -> None:
    """Trains until the first step begins, and stops there."""
    began = time.process_time()
    import torch  # noqa: F401 - timed apart

    torch_seconds = time.process_time() - began
    from renma.cli import main as renma
    from renma.train.loop import Trainer

    def stop(_: Trainer) -> None:
        seconds = time.process_time()
        row = {"seconds": seconds, "torch": torch_seconds, "peak_mib": resident("VmHWM")}
        print("\n" + json.dumps(row), flush=True)
        os._exit(0)

    Trainer.step = stop  # pyright: ignore[reportAttributeAccessIssue]
    out = arguments.folder / f"out-{os.getpid()}"
    renma(["train", str(arguments.folder / "run.toml"), "--out", str(out)])


def load(arguments: argparse.Namespace) -> None:
    """Loads all parts of the model."""
    from renma.config.model import ModelConfig
    from renma.engine.model import load_family

    load_family(ModelConfig(), device="cpu")  # everything imported, for the built-in model
    before, began = resident("VmRSS"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    model = ModelConfig(path=str(arguments.model.resolve()))
    family = load_family(model, device="cpu", precision=arguments.precision)
    touched = sum(float(p.sum()) for part in family.parts().values() for p in part.parameters())
    seconds = time.process_time() - began
    peak = resident("VmHWM") - before
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "sum": touched}), flush=True)


def resident(field: str) -> float:
    """Returns a field of Linux' account of this process' memory in MiB."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


SUBJECTS = {"start": start, "load": load}

if __name__ == "__main__":
    main()
