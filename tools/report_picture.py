"""Writes docs/pictures/report.png: the head of a run's report, as a browser shows it.

renma demo --out demo && python tools/report_picture.py demo docs/pictures/report.png
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTH, HEIGHT = 1180, 1500  # pixels of the window
COLOURS = 200  # of the picture's palette: a fifth of the bytes, no difference to the eye


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a judged run with its report.html")
    parser.add_argument("out", type=Path, help="the picture to write")
    parser.add_argument("--height", type=int, default=HEIGHT)
    options = parser.parse_args()
    browser = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    page = options.run / "report.html"
    if browser is None or not page.is_file():
        missing = f"{page}: there is no such file" if browser else "no Chromium is installed"
        print(missing, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{options.height}",
            f"--screenshot={shot}", page.resolve().as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=120)
        with Image.open(shot) as picture:
            small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        small.save(options.out, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
