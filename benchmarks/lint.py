"""How often ``renma prepare lint`` is right: precision and recall of every check.

    OMP_NUM_THREADS=1 python benchmarks/lint.py [--out FILE]

Good pictures are the photographs of scikit-image, the backgrounds and sprites of the game The
Question (Debian's renpy-thequestion, looked for in RENMA_SPRITES or where Debian puts it), as they
are, saved as JPEG 90 and shrunk to 70 %. Every fault is made from each of them in several
strengths. What is bad already in the originals stands in ``OWN``. Marks and blocks must not be seen
in drawings of one hand either: renma's samples four times as large, and simple drawings on white.

Recall: share of the faulty pictures that are found. False alarms: share of the good pictures of
which the check says something. Precision follows from both for as many faulty as good pictures.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from scipy.ndimage import convolve1d, rotate

from renma.assets import FOLDER
from renma.config.prepare.lint import LintOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.data.pictures import read_rgb
from renma.prepare.lint import examine

SPRITES = "/usr/share/games/renpy/the_question/game/images"
RESOLUTION = 512
OWN = {
    "cell": {"blurred", "upscaled", "motion-blur"},  # a microscope's picture, far out of focus
    "color": {"upscaled", "flat", "motion-blur"},  # a colour wheel without detail
    "clock_motion": {"motion-blur", "upscaled"},  # a moving clock
    "retina": {"frame", "upscaled"},  # on black
    "horse": {"bright", "dark"},  # black on white, nothing between
    "brick": {"motion-blur"},  # horizontal joints and no other detail
}
"""What is wrong with the originals themselves."""
ALSO = {
    "upscaled": {"upscaled", "blurred"},
    "motion-blur": {"motion-blur", "blurred"},
    "dark": {"dark", "flat"},
    "bright": {"bright", "flat"},
}
"""One cause is named where several look the same; naming the neighbour counts as found."""
Change = Callable[[Image.Image], Image.Image]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    bases = dict(sorted(originals().items()))
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("RENMA_CACHE", f"{folder}/cache")
        result = measured(bases, Path(folder), verbose=arguments.verbose)
        near = near_copies(bases, Path(folder) / "near")
    print_table(result)
    print(f"near-duplicate: {near}")
    result["near-duplicate"] = near
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def measured(bases: dict[str, Image.Image], folder: Path, *, verbose: bool) -> dict[str, dict]:
    """Returns for each check: faulty, found, good, false alarms."""
    good = good_pictures(bases)
    alarms = found_in(good, folder / "good")
    alike = drawings()
    alike_alarms = found_in(alike, folder / "alike")
    result = {}
    for code, changes in faults().items():
        faulty = {
            f"{name}~{number}": save(change(picture.copy()))
            for name, picture in bases.items()
            if code not in OWN.get(name, set())
            for number, change in enumerate(changes)
        }
        found = found_in(faulty, folder / code)
        hits = [name for name in faulty if found[name] & ALSO.get(code, {code})]
        clean = [name for name in good if is_clean(name, code, bases)]
        false = [name for name in clean if code in alarms[name]]
        if code in ("watermark", "jpeg"):
            clean += alike
            false += [name for name in alike if code in alike_alarms[name]]
        if verbose:
            print(code, "missed", sorted(set(faulty) - set(hits)), "false", false)
        result[code] = rates(len(faulty), len(hits), len(clean), len(false))
    return result


def is_clean(name: str, code: str, bases: dict[str, Image.Image]) -> bool:
    """Says whether a picture is free of a fault, by plain arithmetic on the original."""
    base, form = name.split("~")
    picture = bases[base]
    if code == "grey":
        values = np.asarray(picture, int)
        return bool((values.max(-1) - values.min(-1)).mean() > 3)
    if code == "small":
        scale = 0.7 if form == "small" else 1.0
        return scale * (picture.width * picture.height) ** 0.5 >= RESOLUTION
    return code not in OWN.get(base, set())


def rates(faulty: int, hits: int, clean: int, false: int) -> dict[str, float]:
    recall, alarm = hits / faulty, false / clean
    precision = recall / (recall + alarm) if recall else 0.0
    return {
        "faulty": faulty,
        "recall": round(recall, 3),
        "good": clean,
        "false_alarms": round(alarm, 3),
        "precision": round(precision, 3),
    }


def found_in(pictures: dict[str, tuple[bytes, str]], folder: Path) -> dict[str, set[str]]:
    """Returns the codes found for each picture; each lies in a folder of its own."""
    folder.mkdir()
    for name, (data, ending) in pictures.items():
        (folder / f"{name}{ending}").write_bytes(data)
    options = LintOptions(folder=folder, resolution=RESOLUTION, executor="serial")
    found: dict[str, set[str]] = {name: set() for name in pictures}
    for finding in examine(options, Silent()).findings:
        found[Path(finding.picture).stem].add(finding.code)
    return found


def good_pictures(bases: dict[str, Image.Image]) -> dict[str, tuple[bytes, str]]:
    found = {}
    for name, picture in bases.items():
        found[f"{name}~png"] = save(picture)
        found[f"{name}~jpeg"] = save(picture, quality=90)
        shrunk = picture.resize((int(picture.width * 0.7), int(picture.height * 0.7)), 1)
        found[f"{name}~small"] = save(shrunk)
    return found


def drawings() -> dict[str, tuple[bytes, str]]:
    """Returns drawings whose outlines lie at nearly the same place, 512 pixels wide or so."""
    found = {}
    for path in sorted((FOLDER / "samples").rglob("*.png")):
        picture = Image.fromarray(read_rgb(path))
        size = (4 * picture.width, 4 * picture.height)
        name = "-".join((*path.parts[-4:-1], path.stem)).replace(" ", "-")
        found[name] = save(picture.resize(size, Image.Resampling.BICUBIC))
    rng = np.random.default_rng(0)
    for number in range(100):
        picture = Image.new("RGB", (1024, 1024), "white")
        draw = ImageDraw.Draw(picture)
        for box in ((205, 563, 819, 1331), (287, 102, 737, 635)):
            moved = tuple(np.array(box) + rng.uniform(-30, 30, 4))
            colour = tuple(map(int, rng.integers(0, 256, 3)))
            draw.ellipse(moved, fill=colour, outline="black", width=8)
        found[f"drawn-{number}"] = save(picture.resize((512, 512), Image.Resampling.LANCZOS))
    return found


def originals() -> dict[str, Image.Image]:
    """Returns photographs, backgrounds and sprites on backgrounds."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "data"
    found = {}
    for path in sorted(folder.glob("*.[pj][np]g")):
        try:
            picture = Image.fromarray(read_rgb(path))
        except UserError:
            continue
        if min(picture.size) >= 256 and path.stem not in ("chessboard_GRAY", "chessboard_RGB"):
            found[path.stem] = picture
    game = Path(os.environ.get("RENMA_SPRITES", SPRITES))
    grounds = [Image.fromarray(read_rgb(path)) for path in sorted(game.glob("bg *.jpg"))]
    for path, ground in zip(sorted(game.glob("bg *.jpg")), grounds, strict=True):
        found[path.stem.replace(" ", "-")] = ground
    for number, path in enumerate(sorted(game.glob("sylvie *normal.png"))):
        with Image.open(path) as sprite:
            scene = grounds[number % len(grounds)].copy()
            scene.paste(sprite, (400, 20), sprite)
        found[path.stem.replace(" ", "-")] = Image.fromarray(read_rgb(path))
        found[f"scene-{number}"] = scene
    return found


def save(picture: Image.Image, quality: int | None = None) -> tuple[bytes, str]:
    data = io.BytesIO()
    if quality is None:
        picture.save(data, "PNG", compress_level=1)
        return data.getvalue(), ".png"
    picture.convert("RGB").save(data, "JPEG", quality=quality)
    return data.getvalue(), ".jpg"


def faults() -> dict[str, list[Change]]:
    """Returns how each fault is made, from weak to strong."""
    return {
        "blurred": [
            lambda p, s=s: fitted(p).filter(ImageFilter.GaussianBlur(s)) for s in (2, 3, 5)
        ],
        "motion-blur": [
            lambda p, a=a, n=n: moved(fitted(p), n, a) for a in (0, 30, 90) for n in (15, 25)
        ],
        "upscaled": [
            lambda p, f=f, m=m: enlarged(fitted(p), f, m)
            for f, m in ((2, 2), (2, 3), (2, 1), (3, 3), (4, 1))
        ]
        + [lambda p: recompressed(enlarged(fitted(p), 2, 3), 90)],
        "jpeg": [lambda p, q=q: recompressed(p, q) for q in (15, 25, 35)],
        "frame": [
            lambda p: ImageOps.expand(p, (0, p.height // 10), "black"),
            lambda p: ImageOps.expand(p, (p.width // 12, 0), (20, 20, 24)),
            lambda p: ImageOps.expand(p, p.width // 25, "white"),
        ],
        "watermark": [marked],
        "dark": [lambda p: ImageEnhance.Brightness(p).enhance(0.15)],
        "bright": [lambda p: Image.blend(p, Image.new("RGB", p.size, "white"), 0.85)],
        "grey": [lambda p: p.convert("L").convert("RGB")],
        "flat": [lambda p: Image.blend(p, Image.new("RGB", p.size, (120, 90, 60)), 0.97)],
        "small": [lambda p: fitted(p, 300)],
        "aspect": [lambda p: p.resize((1600, 240)), lambda p: p.resize((200, 1200))],
    }  # fmt: skip


def fitted(picture: Image.Image, side: int = RESOLUTION) -> Image.Image:
    scale = side / (picture.width * picture.height) ** 0.5
    if scale >= 1:
        return picture
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), 1)


def enlarged(picture: Image.Image, factor: int, method: int) -> Image.Image:
    return picture.resize((picture.width // factor, picture.height // factor), 1).resize(
        picture.size, Image.Resampling(method)
    )


def moved(picture: Image.Image, length: int, angle: float) -> Image.Image:
    """Blurs along a straight way: turned, blurred along rows, turned back."""
    values = np.pad(np.asarray(picture, np.float32), ((64, 64), (64, 64), (0, 0)), "reflect")
    turned = rotate(values, angle, order=1, mode="reflect") if angle else values
    blurred = convolve1d(turned, np.ones(length) / length, axis=1, mode="reflect")
    back = rotate(blurred, -angle, order=1, mode="reflect") if angle else blurred
    top, left = (back.shape[0] - picture.height) // 2, (back.shape[1] - picture.width) // 2
    whole = back[top : top + picture.height, left : left + picture.width]
    return Image.fromarray(whole.clip(0, 255).astype(np.uint8))


def recompressed(picture: Image.Image, quality: int) -> Image.Image:
    """Returns what a bad JPEG shows, saved without loss afterwards."""
    data, _ = save(picture, quality)
    return Image.open(io.BytesIO(data)).convert("RGB")


def near_copies(bases: dict[str, Image.Image], folder: Path) -> dict[str, float]:
    """Returns how often copies of each picture are found, and how often others are taken for one.

    Sprites of one figure in one pose differ in little; they are left out here.
    """
    changes: dict[str, Change] = {
        "half": lambda p: p.resize((p.width // 2, p.height // 2), 3),
        "jpeg-50": lambda p: recompressed(p, 50),
        "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.1),
        "contrast": lambda p: ImageEnhance.Contrast(p).enhance(1.2),
        "trimmed-1": lambda p: trimmed(p, 0.01),
        "trimmed-3": lambda p: trimmed(p, 0.03),
        "trimmed-5": lambda p: trimmed(p, 0.05),
    }
    bases = {name: p for name, p in bases.items() if not name.startswith(("sylvie", "scene"))}
    folder.mkdir()
    for name, picture in bases.items():
        for kind, change in {"original": Image.Image.copy, **changes}.items():
            (folder / f"{name}~{kind}.png").write_bytes(save(change(picture.copy()))[0])
    options = LintOptions(folder=folder, resolution=RESOLUTION, executor="serial")
    found = [f for f in examine(options, Silent()).findings if f.code == "near-duplicate"]
    right = {f.picture for f in found if f.picture.split("~")[0] == f.others[0].split("~")[0]}
    wrong = len(found) - len(right)
    kept = len(bases)  # one of each family stays
    expected = len(bases) * (len(changes) + 1) - kept
    return {"copies": expected, "recall": round(len(right) / expected, 3), "wrong": wrong}


def trimmed(picture: Image.Image, share: float) -> Image.Image:
    x, y = int(picture.width * share), int(picture.height * share)
    return picture.crop((x, y, picture.width - x, picture.height - y))


def marked(picture: Image.Image) -> Image.Image:
    """Writes a half transparent name into the lower right corner."""
    layer = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(layer)
    place = (picture.width - 190, picture.height - 60)
    draw.text(place, "artist.example", (255, 255, 255, 130), font_size=26)
    draw.text((place[0] + 1, place[1] + 28), "do not repost", (255, 255, 255, 130), font_size=18)
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def print_table(result: dict[str, dict]) -> None:
    print(f"{'check':16} {'faulty':>6} {'recall':>7} {'good':>5} {'false':>7} {'precision':>9}")
    for code, row in result.items():
        print(
            f"{code:16} {row['faulty']:6} {row['recall']:7.1%} {row['good']:5} "
            f"{row['false_alarms']:7.1%} {row['precision']:9.1%}"
        )


if __name__ == "__main__":
    main()
