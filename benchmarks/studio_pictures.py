"""Ten thousand pictures on the page of a folder: bytes, seconds, frames, memory.

    python benchmarks/studio_pictures.py WORK [--pictures 10000] [--out FILE]

Pictures are generated, a function of their number alone, each with about 18 tags. The studio runs
in a process of its own; the system's Chromium opens the page as a user does. Measured are: the
first view (until the first row of thumbnails is drawn; all bytes that came over the wire), frames
while the grid is scrolled without a pause for some seconds, with thumbnails that were never made
before, the selection of 5,000 and the replacement of a tag in all of their captions (from the click
until the grid shows it; the processor seconds tell what a quiet machine would take), the undo of
it, and the heap of the page after a garbage collection. WORK decides what the writing of captions
costs: a disk, or memory such as /dev/shm.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

SIDE = 192
SELECTED = 5000
SECONDS = 5.0
_TAGS = [f"tag {number:03d}" for number in range(600)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("work", type=Path, help="a folder; pictures that are there are used again")
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--browser", default=shutil.which("chromium"))
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    generate(work / "many", arguments.pictures)
    shutil.rmtree(work / ".renma-studio" / "thumbs", ignore_errors=True)
    process, address, token = served(work)
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=arguments.browser,
                args=["--no-sandbox", "--enable-precise-memory-info"],
            )
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            page.goto(f"{address}/?token={token}")
            result = {
                "pictures": arguments.pictures,
                "side": SIDE,
                "cores": os.cpu_count(),
                "load": os.getloadavg()[0],
                "processor": platform.machine(),
                "file_system": file_system(work),
                "browser": browser.version,
                **measured(page, f"{address}/data?path=many", process.pid),
            }
            browser.close()
    finally:
        process.terminate()
        process.wait(30)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(f"{text}\n", encoding="utf-8")


def generate(folder: Path, count: int) -> None:
    """Draws the pictures that are missing, and writes all captions anew."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name, chance = folder / f"{number:05d}.png", random.Random(number)
        colors = [tuple(chance.randrange(256) for _ in range(3)) for _ in range(2)]
        wide = chance.randrange(20, 120)
        if not name.exists():
            picture = Image.new("RGB", (SIDE, SIDE), colors[0])
            picture.paste(colors[1], (40, 40, 40 + wide, 150))
            picture.save(name, compress_level=1)
        tags = ["aa12", *(_TAGS[min(599, int(chance.expovariate(1 / 60)))] for _ in range(18))]
        name.with_suffix(".txt").write_text(", ".join(dict.fromkeys(tags)), encoding="utf-8")
    shutil.rmtree(folder / ".renma", ignore_errors=True)


def served(work: Path) -> tuple[subprocess.Popen[str], str, str]:
    """Starts a studio; returns it with its address and token."""
    command = [sys.executable, "-m", "renma", "studio", str(work), "--port", "0", "--no-browser"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    found = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\w+)", process.stdout.readline())
    assert found is not None
    return process, found[1], found[2]


def file_system(folder: Path) -> str:
    """Returns the kind of file system that a folder lies on."""
    found = subprocess.run(
        ["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def measured(page: Page, address: str, server: int) -> dict[str, Any]:
    """Does what a user does, with a watch."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    received: list[int] = []
    devtools.on("Network.loadingFinished", lambda row: received.append(row["encodedDataLength"]))
    begun = time.perf_counter()
    page.goto(address)
    page.locator(".cell img:not(.empty)").first.wait_for()
    first = time.perf_counter() - begun
    page.locator(".cell img.empty").first.wait_for(state="detached")
    whole = time.perf_counter() - begun
    page.wait_for_timeout(300)
    found = {
        "first_thumbnail_seconds": round(first, 2),
        "first_view_seconds": round(whole, 2),
        "first_view_bytes": int(sum(received)),
        "cells_in_document": page.locator(".cell").count(),
        "scrolling": page.evaluate(_SCROLL, SECONDS),
    }
    found |= edited(page, server)
    devtools.send("HeapProfiler.enable")
    devtools.send("HeapProfiler.collectGarbage")
    heap = devtools.send("Runtime.getHeapUsage")["usedSize"]
    return {**found, "heap_mib": round(heap / 2**20, 1)}


_SCROLL = """(seconds) => new Promise((done) => {
  const box = document.getElementById("grid");
  const [times, begun] = [[], performance.now()];
  let way = 18;
  const step = (now) => {
    times.push(now);
    if (box.scrollTop + box.clientHeight >= box.scrollHeight - 20) way = -way;
    box.scrollTop += way;
    if (now - begun < seconds * 1000) return requestAnimationFrame(step);
    const gaps = times.slice(1).map((time, n) => time - times[n]).sort((a, b) => a - b);
    const at = (share) => Number(gaps[Math.floor((gaps.length - 1) * share)].toFixed(1));
    const rate = (times.length - 1) / ((times.at(-1) - times[0]) / 1000);
    const over = gaps.filter((gap) => gap > 34).length;
    done({ pixels_a_frame: 18, frames_a_second: Number(rate.toFixed(1)), frames: gaps.length,
      middle_ms: at(0.5), p95_ms: at(0.95), worst_ms: at(1), over_34_ms: over });
  };
  requestAnimationFrame(step);
})"""


def cpu(process: int) -> float:
    """Returns the processor seconds that a process has used (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


_GO = """(box, place) => {
  const cells = [...box.querySelectorAll(".cell")];
  const tops = cells.map((cell) => new DOMMatrix(cell.style.transform).f);
  const columns = tops.filter((top) => top === Math.min(...tops)).length;
  const step = Math.min(...tops.filter((top) => top > Math.min(...tops))) - Math.min(...tops);
  box.scrollTop = Math.floor(place / columns) * step - 200;
}"""


def edited(page: Page, server: int) -> dict[str, Any]:
    """Selects, replaces a tag and takes it back."""
    grid = page.locator("#grid")
    grid.evaluate("(box) => (box.scrollTop = 0)")
    page.locator("#picture-0").click()
    begun = time.perf_counter()
    grid.evaluate(_GO, SELECTED - 1)
    last = page.locator(f"#picture-{SELECTED - 1}")
    last.wait_for()
    last.click(modifiers=["Shift"])
    page.locator("#status", has_text=f"{SELECTED} selected").wait_for()
    selecting = time.perf_counter() - begun
    page.get_by_role("button", name="Edit captions", exact=True).click()
    page.get_by_label("Replace a tag").fill("aa12")
    begun = time.perf_counter()
    page.get_by_label("by these tags").fill("bb34")
    page.get_by_text(f"{SELECTED} captions will change").wait_for()
    preview = time.perf_counter() - begun
    begun, worked = time.perf_counter(), cpu(server)
    page.get_by_role("button", name="Change captions").click()
    page.get_by_text(f"{SELECTED} captions changed").wait_for()
    changed = time.perf_counter() - begun
    page.locator("#tags button", has_text="bb34").wait_for(state="attached")
    shown, worked = time.perf_counter() - begun, cpu(server) - worked
    page.keyboard.press("Escape")
    begun = time.perf_counter()
    page.get_by_role("button", name="Undo").click()
    page.get_by_text(f"{SELECTED} captions are as before").wait_for()
    return {
        "selected": SELECTED,
        "select_seconds": round(selecting, 2),
        "preview_seconds": round(preview, 2),
        "replace_seconds": round(changed, 2),
        "replace_and_shown_seconds": round(shown, 2),
        "replace_and_shown_processor_seconds_of_the_studio": round(worked, 2),
        "undo_seconds": round(time.perf_counter() - begun, 2),
    }


if __name__ == "__main__":
    main()
