"""Ten thousand pictures: hashed, linted and tagged; killed half-way, and gone on with.

    OMP_NUM_THREADS=1 python benchmarks/many_pictures.py WORK [--pictures 10000] [--out FILE]

Pictures are generated: a figure on a ground of random colours, a function of its number alone. One
of a hundred is its neighbour saved as JPEG, so that lint has near copies to find. Each way of
spreading (one process, two, Ray with two workers) is the whole command, start-up and the writing of
captions included, in a folder and with a cache of its own. All ways must say the same.

Killed: the command and its workers get SIGKILL when the cache holds half of the pictures; the same
command then runs to its end. Work is repeated where it looks at a picture that was in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIDE = 160
WAYS = {
    "one process": ["--executor", "processes", "--workers", "1"],
    "two processes": ["--executor", "processes", "--workers", "2"],
    "ray": ["--executor", "ray", "--workers", "2"],
}
KILLED = "two processes"
NEAR = 100
"""One of so many pictures is a near copy."""


@dataclass(frozen=True)
class Task:
    """A command over a folder of pictures.

    Attributes:
        words: the command's name.
        kind: of the cache entries it makes, one a picture.
        fresh: finds in what it prints how many pictures it looked at.
        answer: what it says about the pictures, to be compared.
    """

    words: tuple[str, ...]
    kind: str
    fresh: re.Pattern[str]
    answer: Callable[[Path], object]

    def command(self, place: Path, way: str) -> list[str]:
        """Returns the command line that works in a place, spread in a way."""
        linting = self.words[-1] == "lint"
        more = ["--fix-list", str(place / "list.txt")] if linting else ["--on-existing", "replace"]
        start = [sys.executable, "-m", "renma", *self.words, str(place / "pictures")]
        return [*start, *WAYS[way], *more]


def captions_in(place: Path) -> dict[str, str]:
    """Returns the captions by name."""
    return {path.name: path.read_text() for path in (place / "pictures").glob("*.txt")}


TASKS = {
    "lint": Task(
        ("prepare", "lint"),
        "looks-of-pictures",
        re.compile(r"([\d,]+) of them read now"),
        lambda place: (place / "list.txt").read_text(),
    ),
    "tag": Task(
        ("caption", "tag"), "tags", re.compile(r"pictures, ([\d,]+) run, [\d,]+ known"), captions_in
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("work", type=Path, help="a new folder")
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS])
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    arguments = parser.parse_args()
    work, count = arguments.work.resolve(), arguments.pictures
    ways = [w for w in arguments.ways if w != "ray" or find_spec("ray")]
    begun = time.perf_counter()
    generate(work / "pictures", count)
    result: dict[str, Any] = {
        "pictures": count,
        "side": SIDE,
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "generated_in": round(time.perf_counter() - begun, 1),
        "tasks": {},
    }
    for name, task in TASKS.items():
        result["tasks"][name] = measured(task, name, work, ways, count)
    print_table(result)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measured(task: Task, name: str, work: Path, ways: Iterable[str], count: int) -> dict[str, Any]:
    """Runs a task in every way, then again with everything known, then killed and gone on with."""
    found: dict[str, Any] = {"ways": {}}
    answers: list[object] = []
    for way in ways:
        place = a_place(work, f"{name}-{way}")
        seconds, text = ran(task, place, way)
        answers.append(task.answer(place))
        row = {"seconds": round(seconds, 1), "per_picture_ms": round(1000 * seconds / count, 2)}
        print(f"{name}, {way}: {row}", flush=True)
        assert looked_at(task, text) == count, text
        again, text = ran(task, place, way)
        row |= {"again_seconds": round(again, 1), "again_looked_at": looked_at(task, text)}
        found["ways"][way] = row
    found["all_ways_say_the_same"] = all(answer == answers[0] for answer in answers)
    if name == "lint":
        listed = [line for line in str(answers[0]).splitlines() if "near-duplicate" in line]
        found |= {"near_copies": count // NEAR, "near_copies_found": len(listed)}
    found["killed"] = killed(task, a_place(work, f"{name}-killed"), count, answers[0])
    return found


def killed(task: Task, place: Path, count: int, expected: object) -> dict[str, Any]:
    """Kills a task half-way, goes on, and counts what was done twice."""
    process = subprocess.Popen(
        task.command(place, KILLED), env=environment(place), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and entries(task, place) < count // 2:
        time.sleep(0.05)
    ended = process.poll() is not None
    if not ended:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # until the workers are gone
    kept = entries(task, place)
    seconds, text = ran(task, place, KILLED)
    fresh = looked_at(task, text)
    return {
        "ended_before": ended,
        "kept": kept,
        "looked_at_then": fresh,
        "repeated": kept + fresh - count,
        "seconds_then": round(seconds, 1),
        "says_the_same": task.answer(place) == expected,
    }


def ran(task: Task, place: Path, way: str) -> tuple[float, str]:
    """Runs a command and returns seconds and what it printed.

    Raises:
        SystemExit: it failed.
    """
    begun = time.perf_counter()
    words, around = task.command(place, way), environment(place)
    done = subprocess.run(words, env=around, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(
            f"{' '.join(task.words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return seconds, done.stdout


def looked_at(task: Task, text: str) -> int:
    """Returns how many pictures a command said it looked at."""
    found = task.fresh.search(text)
    assert found is not None, text
    return int(found[1].replace(",", ""))


def entries(task: Task, place: Path) -> int:
    """Returns how many pictures the cache knows."""
    folder = place / "cache" / task.kind
    return sum(1 for _ in folder.glob("*/*")) - sum(1 for _ in folder.glob(".parts/*"))


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "RENMA_CACHE": str(place / "cache"), "COLUMNS": "200"}


def a_place(work: Path, name: str) -> Path:
    """Returns a folder with the pictures and no cache; the pictures' bytes are shared."""
    place = work / name.replace(" ", "-")
    (place / "pictures").mkdir(parents=True)
    for path in (work / "pictures").iterdir():
        try:
            os.link(path, place / "pictures" / path.name)
        except OSError:  # a disk that knows no second names
            shutil.copyfile(path, place / "pictures" / path.name)
    return place


def generate(folder: Path, count: int) -> None:
    """Writes the pictures."""
    folder.mkdir(parents=True)
    for number in range(count):
        if number % NEAR == NEAR - 1:
            drawn(number - 1).save(folder / f"{number:05d}.jpg", quality=80)
        else:
            drawn(number).save(folder / f"{number:05d}.png", compress_level=1)


def drawn(number: int) -> Image.Image:
    """Returns a picture: a ground of random colours, a figure with a face before it."""
    rng = random.Random(number)
    ground = np.frombuffer(rng.randbytes(6 * 6 * 3), np.uint8).reshape(6, 6, 3)
    picture = Image.fromarray(ground).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)

    def colour() -> tuple[int, int, int]:
        return rng.randrange(256), rng.randrange(256), rng.randrange(256)

    x, y, wide = rng.randint(50, 110), rng.randint(50, 90), rng.randint(18, 42)
    draw.ellipse((x - wide - 9, y - wide - 12, x + wide + 9, y + wide), fill=colour())
    draw.rectangle((x - wide, y + wide, x + wide, SIDE), fill=colour(), outline="black")
    draw.ellipse((x - wide, y - wide, x + wide, y + wide), fill=colour(), outline="black")
    for side in (-1, 1):
        eye = (x + side * wide // 2, y - wide // 5)
        draw.ellipse(
            (eye[0] - 4, eye[1] - 5, eye[0] + 4, eye[1] + 5), fill="white", outline="black"
        )
        draw.ellipse((eye[0] - 2, eye[1] - 2, eye[0] + 2, eye[1] + 2), fill="black")
    draw.arc((x - wide // 2, y, x + wide // 2, y + wide // 2), 20, 160, fill="black", width=2)
    return picture


def print_table(result: dict[str, Any]) -> None:
    print(f"\n{result['pictures']} pictures of {SIDE}x{SIDE}, {result['cores']} cores")
    print(f"{'task':6} {'way':15} {'seconds':>8} {'ms each':>8} {'again, s':>9}")
    for name, found in result["tasks"].items():
        for way, row in found["ways"].items():
            print(
                f"{name:6} {way:15} {row['seconds']:8.1f} {row['per_picture_ms']:8.2f} "
                f"{row['again_seconds']:9.1f}"
            )
        row = found["killed"]
        print(
            f"{name:6} killed with {row['kept']} done, {row['looked_at_then']} looked at then, "
            f"{row['repeated']} repeated; the same answer: {row['says_the_same']}"
        )
        print(f"{name:6} all ways say the same: {found['all_ways_say_the_same']}")
    lint = result["tasks"]["lint"]
    print(f"lint   near copies found: {lint['near_copies_found']} of {lint['near_copies']}")


if __name__ == "__main__":
    main()
