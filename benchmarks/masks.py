"""How well each way finds a drawn subject: overlap with the truth, and seconds a picture.

    OMP_NUM_THREADS=1 python benchmarks/masks.py [--model NAME=FILE.onnx ...] [--out FILE]

The truth is the transparency of the eight sprites of the game "The Question" (Debian package
renpy-thequestion, MIT). Each is laid on white and on the game's four backgrounds, at a place drawn
with a fixed seed, as in the game with its feet below the frame. Reported are, for each way and
ground, the mean intersection over union at one half, before and after the mask is fitted to the
picture, the mean difference of the fitted mask from the true opacity in percent, and the seconds of
one thread. ``--model`` adds a network, such as rembg's isnet-anime.onnx.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image

from renma.config.prepare.background import BackgroundOptions
from renma.core.errors import UserError
from renma.core.keyed import rng
from renma.prepare import subject
from renma.prepare.background import fitted

GAME = Path("/usr/share/games/renpy/the_question/game/images")
OPTIONS = BackgroundOptions(folder=Path())
WAYS = ("flat", "person", "grabcut", "auto")


@dataclass(frozen=True)
class Scene:
    """A sprite on a ground, and the truth."""

    ground: str
    rgb: np.ndarray
    opacity: np.ndarray


@dataclass(frozen=True)
class Score:
    """What one way made of one scene."""

    found: float
    fitted: float
    difference: float
    seconds: float
    backend: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--game", type=Path, default=GAME)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    ways = {name: subject.opened(name) for name in WAYS}
    for each in arguments.model:
        name, _, file = each.partition("=")
        ways[name] = subject.opened("onnx", Path(file))
    scores: dict[str, dict[str, list[Score]]] = {}
    for scene in scenes(arguments.game):
        for name, way in ways.items():
            if score := judged(way, scene):
                scores.setdefault(name, {}).setdefault(scene.ground, []).append(score)
    result = {name: {g: summed(s) for g, s in by.items()} for name, by in scores.items()}
    print(table(result))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def scenes(game: Path) -> Iterator[Scene]:
    """Yields every sprite on white and on every background."""
    grounds = sorted(game.glob("bg *.jpg"))
    for path in sorted(game.glob("sylvie *.png")):
        sprite = Image.open(path).convert("RGBA")
        white = Image.new("RGBA", sprite.size, "white")
        yield laid("white", white, sprite, (0, 0))
        for ground in grounds:
            with Image.open(ground) as opened:
                picture = opened.convert("RGBA")
            room = picture.width - sprite.width
            left = rng(0, "place of a sprite", f"{path.stem} {ground.stem}").randrange(room + 1)
            place = (left, picture.height - sprite.height)
            yield laid(ground.stem, picture, sprite, place)


def laid(name: str, ground: Image.Image, sprite: Image.Image, place: tuple[int, int]) -> Scene:
    opacity = Image.new("L", ground.size, 0)
    opacity.paste(sprite.getchannel("A"), place)
    picture = ground.copy()
    picture.alpha_composite(sprite, place)
    return Scene(name, np.asarray(picture.convert("RGB")), np.asarray(opacity, np.float32) / 255)


def judged(way: subject.Finder, scene: Scene) -> Score | None:
    """Returns a way's score, or None where it says that it cannot tell."""
    begun = time.process_time()
    try:
        found = way(scene.rgb, None)
    except UserError:
        return None
    mask = fitted(scene.rgb, found, OPTIONS)
    seconds = time.process_time() - begun
    truth = scene.opacity >= 0.5
    difference = float(np.abs(mask - scene.opacity).mean()) * 100
    before, after = overlap(found.mask >= 0.5, truth), overlap(mask >= 0.5, truth)
    return Score(before, after, difference, seconds, found.backend)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def summed(scores: list[Score]) -> dict[str, float | str]:
    return {
        "pictures": len(scores),
        "iou": round(fmean(s.found for s in scores), 4),
        "iou_fitted": round(fmean(s.fitted for s in scores), 4),
        "worst_fitted": round(min(s.fitted for s in scores), 4),
        "difference_percent": round(fmean(s.difference for s in scores), 3),
        "seconds": round(fmean(s.seconds for s in scores), 3),
        "found_by": ", ".join(sorted({s.backend for s in scores})),
    }


def table(result: dict[str, dict[str, dict[str, float | str]]]) -> str:
    """Returns the overlaps as a Markdown table."""
    grounds = list(dict.fromkeys(g for by in result.values() for g in by))
    lines = ["| way | " + " | ".join(grounds) + " | seconds |"]
    lines.append("|---" * (len(grounds) + 2) + "|")
    for name, by in result.items():
        cells = [f"{by[g]['iou_fitted']:.3f}" if g in by else "-" for g in grounds]
        seconds = fmean(float(row["seconds"]) for row in by.values())
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {seconds:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
