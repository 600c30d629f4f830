"""From downloaded pictures to a trained LoRA by the command line alone, with timings.

    python benchmarks/from_pictures.py WORK [--steps 300] [--out FILE] [--sheets FOLDER]

The subject is Sylvie: the 8 sprites of the game The Question (Debian's renpy-thequestion, looked
for in RENMA_SPRITES or where Debian puts it). 30 others, 2 photographs of scikit-image and 28
avatars of renma's own samples, come as an archive and become pictures of the class in general;
those that show no face that a detector knows are taken whole.
Every step is a command as a person would type it; no file is edited by hand in between.

Contact sheets become pictures (for docs/pictures.md) where chromium is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image, ImageChops

from renma import assets

SPRITES = "/usr/share/games/renpy/the_question/game/images"
PHOTOGRAPHS = ("astronaut.png", "camera.png")
"""Those of people."""
OTHERS = 30
PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
SETTINGS = (
    "data.reg_folder=reg", "output.name=sylvie", "output.trigger=sylvie", "train.seed=1",
    'sample.prompts=["sylvie, person, smile", "sylvie, person, surprised", "person, smile"]',
)  # fmt: skip


@dataclass
class Step:
    """One command and what came of it."""

    name: str
    command: str
    seconds: float
    taken: int
    made: int
    said: list[str]

    @property
    def each(self) -> float:
        """Seconds a picture that was taken."""
        return self.seconds / max(1, self.taken)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("work", type=Path, help="a new folder")
    parser.add_argument("--steps", type=int, default=300, help="of the training")
    parser.add_argument("--out", type=Path, help="write the timings as JSON")
    parser.add_argument("--sheets", type=Path, help="write contact sheets as pictures")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True)
    os.environ.setdefault("RENMA_CACHE", str(work / "cache"))
    steps = walk(work, arguments.steps)
    print_table(steps)
    if arguments.sheets:
        for name in draw_sheets(work, arguments.sheets):
            print(f"wrote {name}")
    if arguments.out:
        result = {
            "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
            "training_steps": arguments.steps,
            "seconds": round(sum(step.seconds for step in steps), 1),
            "steps": [
                {**asdict(s), "seconds": round(s.seconds, 2), "each": round(s.each, 4)}
                for s in steps
            ],
        }
        text = json.dumps(result, indent=2, ensure_ascii=False).replace(str(work), "WORK")
        arguments.out.write_text(text + "\n", encoding="utf-8")


def walk(work: Path, training_steps: int) -> list[Step]:
    """Runs every command in order."""
    sprites = gather_sprites(work / "downloads" / "sprites")
    others = gather_others(work / "downloads" / "others.zip")
    project = work / "project"
    done = [step("init", ["init", project])]
    places = {"sylvie": project / "train" / "1_yourname", "others": project / "reg" / "1_person"}
    for name, source in (("sylvie", sprites), ("others", others)):
        done += prepare(name, source, work, places[name])
    train, trigger = places["sylvie"], ["--trigger", "sylvie"]
    done += [
        step("caption sylvie", ["caption", "prepend", train, "sylvie, person"], train),
        step("maruzen sylvie", ["caption", "maruzen", train, *trigger, "--apply"], train),
        step("audit sylvie", ["caption", "audit", train, *trigger], train),
    ]  # fmt: skip
    changes = [word for text in SETTINGS for word in ("--set", text)]
    changes += ["--set", f"train.max_steps={training_steps}"]
    drawn = project / "reg" / "1_drawn person"
    count = ["--count", 8, "--prompt", "person", "-o", drawn, "--set", "data.reg_folder=reg"]
    done.append(step("regularize", ["prepare", "regularize", project, *count], made=drawn))
    toml = project / "run.toml"
    done.append(step("check", ["check", toml, *changes], project))
    done.append(step("train", ["train", toml, *changes, "--out", work / "run"], project))
    lora = work / "run" / "lora" / "sylvie.safetensors"
    assert lora.is_file(), lora
    return done


def prepare(name: str, source: Path, work: Path, place: Path) -> list[Step]:
    """Runs what is done to each set of pictures."""
    collected, faces = work / name, work / f"{name}-face"
    cut = ["prepare", "face", collected, "-o", faces, "--missing", "copy"]
    lint = ["prepare", "lint", collected, "--resolution", 128, "--html", work / f"{name}-lint.html"]
    return [
        step(f"collect {name}", ["prepare", "collect", source, "-o", collected], made=collected),
        step(f"lint {name}", lint, collected),
        step(f"face {name}", cut, collected, faces),
        step(f"background {name}", ["prepare", "background", faces, "-o", place], faces, place),
        step(f"tag {name}", ["caption", "tag", place], place),
    ]


def step(
    name: str, words: list[object], taken: Path | None = None, made: Path | None = None
) -> Step:
    """Runs one command.

    Raises:
        SystemExit: it failed; what it said is shown.
    """
    texts = [str(word) for word in words]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "renma", *texts], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    progress = ("working on ", "sampling ", "step ", "caching ")
    said = [line for line in done.stdout.splitlines() if not line.startswith(progress)]
    before = pictures_in(taken) if taken else pictures_in(made) if made else 0
    print(f"{name}: {seconds:.1f} s", flush=True)
    after = pictures_in(made) if made else before
    return Step(name, shlex.join(["renma", *texts]), seconds, before, after, said[-6:])


def pictures_in(folder: Path) -> int:
    """Returns how many pictures lie in a folder and below; hidden folders are passed over."""
    return sum(
        path.suffix.lower() in PICTURES
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def gather_sprites(folder: Path) -> Path:
    """Copies the sprites out of the game."""
    found = sorted(Path(os.environ.get("RENMA_SPRITES", SPRITES)).glob("sylvie *.png"))
    if not found:
        sys.exit("no sprites: apt-get install renpy-thequestion, or say where in RENMA_SPRITES")
    folder.mkdir(parents=True)
    for path in found:
        shutil.copyfile(path, folder / path.name)
    return folder


def gather_others(archive: Path) -> Path:
    """Packs photographs and avatars into an archive, without captions."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        sys.exit("no photographs: pip install scikit-image")
    photographs = [Path(spec.origin).parent / "data" / name for name in PHOTOGRAPHS]
    avatars = sorted(assets.SAMPLES.glob("*/train/*/*.png"))[: OTHERS - len(photographs)]
    with zipfile.ZipFile(archive, "w") as file:
        for path in photographs:
            file.write(path, path.name)
        for path in avatars:
            file.write(path, f"{path.parent.name}/{path.name}")
    return archive


def draw_sheets(work: Path, folder: Path) -> list[Path]:
    """Draws contact sheets as JPEG with a browser without a window; none where there is none."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "from-pictures-lint": work / "others-lint.html",
        "from-pictures-face": work / "others-face" / "sheet.html",
        "from-pictures-sprites": work / "sylvie-face" / "sheet.html",
        "from-pictures-background": work / "project" / "reg" / "1_person" / "sheet.html",
        "from-pictures-drawn": work / "project" / "reg" / "1_drawn person" / "sheet.html",
    }
    drawn = []
    for name, page in pages.items():
        target = (work / f"{name}.png").resolve()
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={work / 'browser'}", "--window-size=1240,900",
             f"--screenshot={target}", page.as_uri()],
            capture_output=True, check=True, timeout=120,
        )  # fmt: skip
        drawn.append(folder / f"{name}.jpg")
        with Image.open(target) as picture:
            trimmed(picture.convert("RGB")).save(drawn[-1], quality=85)
    return drawn


def trimmed(page: Image.Image) -> Image.Image:
    """Returns a page without what is white at its end."""
    end = ImageChops.invert(page).getbbox()
    return page.crop((0, 0, page.width, min(page.height, end[3] + 20))) if end else page


def print_table(steps: list[Step]) -> None:
    print(f"\n{'step':20} {'seconds':>8} {'pictures':>9} {'made':>5} {'each':>8}")
    for each in steps:
        print(f"{each.name:20} {each.seconds:8.1f} {each.taken:9} {each.made:5} {each.each:8.3f}")
    print(f"{'all':20} {sum(each.seconds for each in steps):8.1f}")


if __name__ == "__main__":
    main()
