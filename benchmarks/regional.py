"""Two characters in one picture: is each attribute in its own half?

    python benchmarks/regional.py --out benchmarks/results [--seeds 50] [--work DIR]

Trains two character LoRAs on mame (`renma init`, `renma train`, in processes of their own; runs
that are finished in DIR are not done again), draws both into one picture in every way there is,
and has the attribute reader judge the left and the right half. Ways: regions by windows, over the
whole picture, and in layers; AND with every LoRA bound to its sub-prompt; AND with both LoRAs
everywhere; one prompt with both. Needs the packages of tools/mame/README.md for the second set.
Writes regional.json and regional.png (the first seeds, a row each).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from command import renma
from renma.config.model import ModelConfig
from renma.engine.cast import NONE, Cast, Power, Role
from renma.engine.compose import Area, Scene, Way, Words, draw_scenes
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.engine.sample import Shot
from renma.families._base import Family
from renma.judge.attributes import AttributeReader

ROOT = Path(__file__).parents[1]
LOOKS = {
    "aa12": {"hair": "braid", "hair_colour": "pink", "skin": "tan", "eyewear": "glasses"},
    "bb34": {"hair": "mohawk", "hair_colour": "green", "skin": "dark", "eyewear": "no glasses"},
}
OWN_TAGS = {"mohawk", "green hair", "dark skin"}
TEXT = "{}, adventurer style, person, smile, blue background"
WIDTH, HEIGHT = 256, 128
FULL: Power = (1.0, 1.0)
WAYS = ("windows", "whole", "layers", "and", "and unscoped", "one prompt")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/regional"))
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--feather", type=int, default=8, help="pixels on either side of the seam")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    files = [trained(arguments.work, name) for name in LOOKS]
    family, reader = load_family(ModelConfig(), device="auto"), AttributeReader.load()
    cast = Cast([Role(Network.from_file(family, path)) for path in files])
    table: dict[str, Any] = {"seeds": arguments.seeds, "steps": arguments.steps, "ways": {}}
    evidence = []
    for way in arguments.ways:
        scenes = [
            scene(way, seed, arguments.steps, arguments.feather) for seed in range(arguments.seeds)
        ]
        pictures = drawn(family, scenes, cast)
        table["ways"][way] = judged(reader, pictures, list(LOOKS.values()))
        print(way, json.dumps(table["ways"][way]), flush=True)
        evidence.append(strip(pictures[:5]))
        (arguments.out / "regional.json").write_text(json.dumps(table, indent=2) + "\n")
        strip(evidence, down=True).save(arguments.out / "regional.png", optimize=True)


def trained(work: Path, name: str) -> Path:
    """Trains one character, unless it is done, and returns its file."""
    folder = work / name
    lora = folder / "lora" / f"{name}.safetensors"
    if lora.exists():
        return lora
    renma("init", str(folder), "--sample", "character")
    settings = folder / "run.toml"
    if name != "aa12":
        other_character(folder, name)
        settings.write_text(settings.read_text(encoding="utf-8").replace("aa12", name))
    options = ["--set", "train.save_every_steps=0", "--set", "sample.every_steps=0"]
    renma("train", str(settings), *options, "--out", str(folder))
    return lora


def other_character(folder: Path, trigger: str) -> None:
    """Puts pictures of another character in place of the sample's."""
    sys.path.insert(0, str(ROOT / "tools" / "mame"))
    import avatar

    (old,) = (folder / "train").iterdir()
    for path in old.iterdir():
        path.unlink()
    place = old.rename(old.with_name(f"10_{trigger} person"))
    rng = random.Random(trigger)
    faces = list(avatar.choices("adventurer", "mouth").values())
    for number in range(12):
        wanted = {k: v for k, v in LOOKS[trigger].items() if k != "eyewear"}
        look = avatar.random_look(rng, "adventurer").having(**wanted, details="", brows="")
        look = avatar.replace(look, jitter=12).having(eyewear="", mouth=faces[number % len(faces)])
        tags = [tag for tag in avatar.caption_tags(look) if tag not in OWN_TAGS]
        avatar.draw(look, "square").save(place / f"{number:02d}.png")
        (place / f"{number:02d}.txt").write_text(", ".join([trigger, *tags]) + "\n")


def scene(way: str, seed: int, steps: int, feather: int) -> Scene:
    """Returns one picture in one of the ways."""
    shot = Shot("", width=WIDTH, height=HEIGHT, seed=seed, steps=steps, scale=4.0)
    left, right = (TEXT.format(name) for name in LOOKS)
    first, second, both, none = (FULL, NONE), (NONE, FULL), (FULL, FULL), (NONE, NONE)
    if way == "one prompt":
        text = TEXT.format(", ".join(LOOKS))
        return Scene(shot, (Area(Words("", both), ((Words(text, both), 1.0),)),))
    if way.startswith("and"):
        powers = (first, second) if way == "and" else (both, both)
        avoided = none if way == "and" else both
        pulls = ((Words(left, powers[0]), 0.5), (Words(right, powers[1]), 0.5))
        return Scene(shot, (Area(Words("", avoided), pulls),))
    ramp = ((torch.arange(WIDTH) - WIDTH / 2) / max(feather, 1) / 2 + 0.5).clamp(0, 1)
    mask = ramp.repeat(HEIGHT, 1)  # 0 on the left, 1 on the right
    areas = (
        Area(Words("", first), ((Words(left, first), 1.0),), 1 - mask),
        Area(Words("", second), ((Words(right, second), 1.0),), mask),
    )
    assert way in ("whole", "windows", "layers")
    known: Way = way
    return Scene(shot, areas, known)


def drawn(family: Family, scenes: Sequence[Scene], cast: Cast) -> list[Image.Image]:
    found: dict[int, Image.Image] = {}
    for batch in draw_scenes(family, scenes, cast):
        found |= batch
    return [found[i] for i in range(len(scenes))]


def judged(
    reader: AttributeReader, pictures: Sequence[Image.Image], looks: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """Returns shares of pictures: each attribute in its own half, all of them, and crossed over.

    Args:
        reader: reads the attributes.
        pictures: of twice the width that the reader looks at.
        looks: of the left person and the right one.
    """
    halves = [
        [
            picture.crop((half * WIDTH // 2, 0, (half + 1) * WIDTH // 2, HEIGHT))
            for picture in pictures
        ]
        for half in (0, 1)
    ]
    read = [reader.read(half) for half in halves]
    pairs = list(zip(*read, strict=True))
    right = {
        name: [
            all(side[name].label == look[name] for side, look in zip(two, looks, strict=True))
            for two in pairs
        ]
        for name in looks[0]
    }
    crossed = [
        any(two[half][name].label == looks[1 - half][name] for half in (0, 1) for name in looks[0])
        for two in pairs
    ]
    share = {name: sum(rows) / len(rows) for name, rows in right.items()}
    both = [right["hair_colour"][i] and right["skin"][i] for i in range(len(pairs))]
    every = [all(rows[i] for rows in right.values()) for i in range(len(pairs))]
    return {
        "own half": {name: round(value, 3) for name, value in share.items()},
        "hair colour and skin": round(sum(both) / len(both), 3),
        "every attribute": round(sum(every) / len(every), 3),
        "something of the other": round(sum(crossed) / len(crossed), 3),
    }


def strip(pictures: Sequence[Image.Image], down: bool = False) -> Image.Image:
    """Returns pictures of like size side by side, or one below the other."""
    wide, high = pictures[0].width + 4, pictures[0].height + 4
    count = len(pictures)
    page = Image.new("RGB", (wide, high * count) if down else (wide * count, high), "white")
    for place, picture in enumerate(pictures):
        page.paste(picture, (0, place * high) if down else (place * wide, 0))
    return page


if __name__ == "__main__":
    main()
