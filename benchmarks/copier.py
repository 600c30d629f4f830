"""Does a copy-machine LoRA change one thing, everywhere, and nothing else?

    python benchmarks/copier.py --out benchmarks/results --work DIR [--seeds 5]

For every seed six other people are drawn twice, frowning and smiling, and recipes/copier.toml
learns the way from one to the other (`renma train`, in a process of its own). The LoRA is then put
on prompts that have nothing to do with them: other hair, clothes, colours, no word about mouths.
Every picture is drawn at each strength from the same noise; the attribute reader says what it
shows. `--ways copier plain` does the same without the first run, too: the LoRA then learns the
smiling pictures on the base model itself. Runs and pictures that are finished in DIR are not done
again. Needs the packages of tools/mame/README.md. Writes copier.json and copier.png (a row for
each prompt; strengths -2, -1, 0, 1, 2).
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
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.engine.sample import Shot, draw
from renma.families._base import Family
from renma.judge.attributes import AttributeReader, Reading, expected

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "copier.toml"
STYLES = ("adventurer", "micah", "toon-head")
PEOPLE = 6
SIDES = ("frown", "smile")
STRENGTHS = (-2.0, -1.5, -1.0, 0.0, 1.0, 1.5, 2.0)
SHOWN = (-2.0, -1.0, 0.0, 1.0, 2.0)
ROWS = 8
WAYS = ("copier", "plain")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/copier"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--pictures", type=int, default=32, help="prompts of a seed")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["copier"])
    parser.add_argument("--set", nargs="*", default=[], help="options of the recipe to change")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    family, reader = load_family(ModelConfig(), device="auto"), AttributeReader.load()
    table: dict[str, Any] = {"pictures": options.pictures, "ways": {}}
    seeds = range(options.first, options.first + options.seeds)
    for way in options.ways:
        rows = [one_seed(way, seed, options, family, reader) for seed in seeds]
        table["ways"][way] = {"seeds": rows, "mean": mean(rows), "largest change": worst(rows)}
        print(way, json.dumps(table["ways"][way] | {"seeds": ""}), flush=True)
    (options.out / "copier.json").write_text(json.dumps(table, indent=2) + "\n")
    sheet(options.work / f"{options.ways[0]}-{options.first}" / "pictures").save(
        options.out / "copier.png", optimize=True
    )


def one_seed(
    way: str, seed: int, options: argparse.Namespace, family: Family, reader: AttributeReader
) -> dict[str, Any]:
    """Returns what one seed gave, from its folder if it is there."""
    folder = options.work / f"{way}-{seed}"
    done = folder / "measured.json"
    if not done.exists():
        lora = trained(way, seed, options)
        asked = prompts(random.Random(f"measure {seed}"), options.pictures)
        pictures = drawn(family, lora, asked)
        keep(folder / "pictures", pictures)
        found = measured(reader, asked, pictures)
        if way == "copier":
            found["likeness"] = likeness(folder)
        done.write_text(json.dumps(found))
    found = json.loads(done.read_text())
    print(way, seed, json.dumps(found), flush=True)
    return found


def trained(way: str, seed: int, options: argparse.Namespace) -> Path:
    """Trains the slider of a seed, unless it is done, and returns its file."""
    folder = options.work / f"{way}-{seed}"
    lora = folder / "lora" / "smile.safetensors"
    if lora.exists():
        return lora
    pairs = options.work / f"pairs-{seed}"
    draw_pairs(pairs, seed)
    before = "" if way == "plain" else pairs.resolve() / SIDES[0]
    values = [
        f"copier.train_folder={before}", f"data.train_folder={pairs.resolve() / SIDES[1]}",
        f"train.seed={seed}", "train.threads=1", "sample.every_steps=0", "train.tensorboard=false",
        *options.set,
    ]  # fmt: skip
    if way == "plain":
        values += ["copier.steps=600", "copier.rank=0", "copier.learning_rate=0.0"]
    words = [word for value in values for word in ("--set", value)]
    begun = ["--resume"] if any(folder.rglob("step-*.safetensors")) else []
    renma("train", str(RECIPE), "--out", str(folder), *words, *begun)
    return lora


def draw_pairs(folder: Path, seed: int) -> None:
    """Draws six people, frowning and smiling; those of seed 0 are the recipe's own."""
    avatar = drawings()
    rng = random.Random(1000 + seed)
    for number in range(PEOPLE):
        style = STYLES[number % len(STYLES)]
        look = avatar.random_look(rng, style).having(eyes="", eyewear="")
        while look.tags["hair"] == "bald" or bearded(look):
            look = avatar.random_look(rng, style).having(eyes="", eyewear="")
        for side in SIDES:
            place = folder / side / "1_face"
            place.mkdir(parents=True, exist_ok=True)
            avatar.draw(look.having(mouth=side)).save(place / f"{number}.png", optimize=True)
            (place / f"{number}.txt").write_text(f"{style} style, person\n")


def prompts(rng: random.Random, count: int) -> list[str]:
    """Returns prompts without a word about mouths, of people whose mouth can be seen."""
    avatar, found = drawings(), dict[str, None]()
    while len(found) < count:
        look = avatar.random_look(rng)
        if not bearded(look):
            mouth = set(look.tags["mouth"].split(", "))
            found[", ".join(tag for tag in avatar.caption_tags(look) if tag not in mouth)] = None
    return list(found)


def bearded(look: Any) -> bool:
    return bool(look.tags.get("facial hair")) or look.tags.get("details") == "mustache"


def drawings() -> Any:
    """Returns tools/mame/avatar.py."""
    sys.path.insert(0, str(ROOT / "tools" / "mame"))
    import avatar

    return avatar


def drawn(family: Family, lora: Path, asked: Sequence[str]) -> dict[float, list[Image.Image]]:
    """Returns the pictures of every prompt at every strength, from the same noise."""
    shots = [
        Shot(text, seed=i, steps=15, scale=4.0, sampler="dpmsolver++")
        for i, text in enumerate(asked)
    ]
    network = Network.from_file(family, lora)
    network.attach()
    try:
        found = {}
        for strength in STRENGTHS:
            with network.at(unet=strength, text_encoder=strength):
                found[strength] = draw(family, shots)
        return found
    finally:
        network.detach()


def measured(
    reader: AttributeReader, asked: Sequence[str], pictures: dict[float, list[Image.Image]]
) -> dict[str, Any]:
    """Returns shares of pictures: with each mouth, changed to it, and of other things as asked."""
    read = {strength: reader.read(row) for strength, row in pictures.items()}
    base = read[0.0]
    shares = {
        f"{strength:g}": {side: share(one["mouth"].label == side for one in row) for side in SIDES}
        for strength, row in read.items()
    }
    rest = {f"{strength:g}": others(asked, row) for strength, row in read.items()}
    return {
        "mouth": shares,
        # of those that did not show it anyway
        "turned to smile": {s: turned(base, read[s], "smile") for s in (1.0, 1.5, 2.0)},
        "turned to frown": {s: turned(base, read[s], "frown") for s in (-1.0, -1.5, -2.0)},
        "others": rest,
    }


def turned(base: Sequence[Any], row: Sequence[Any], side: str) -> float:
    pairs = zip(base, row, strict=True)
    open_to_it = [new for old, new in pairs if old["mouth"].label != side]
    return share(new["mouth"].label == side for new in open_to_it)


def others(asked: Sequence[str], row: Sequence[dict[str, Reading]]) -> dict[str, float]:
    """Returns the share of pictures that show what is asked, by attribute; mouths left out."""
    found: dict[str, list[bool]] = {}
    for text, read in zip(asked, row, strict=True):
        for head, label in expected(text).items():
            if head != "mouth":
                found.setdefault(head, []).append(read[head].label == label)
    found["all"] = [right for rows in found.values() for right in rows]
    return {head: share(rows) for head, rows in found.items()}


def share(rows: Any) -> float:
    counted = list(rows)
    return round(sum(counted) / max(1, len(counted)), 4)


def likeness(folder: Path) -> float:
    """Returns what the identity check told of the first run."""
    rows = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return next(row["likeness"] for row in rows if row["kind"] == "copied")


def mean(rows: Sequence[Any]) -> Any:
    """Returns the mean of every figure over the seeds."""
    if isinstance(rows[0], dict):
        return {key: mean([row[key] for row in rows if key in row]) for key in rows[0]}
    return round(sum(rows) / len(rows), 4)


def worst(rows: Sequence[Any]) -> dict[str, float]:
    """Returns by how much the attribute that changed most did, over all seeds, by strength."""
    rest = mean(rows)["others"]
    plain = rest["0"]
    return {
        strength: round(max(abs(row[head] - plain[head]) for head in plain), 4)
        for strength, row in rest.items()
        if strength != "0"
    }


def keep(folder: Path, pictures: dict[float, list[Image.Image]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for column, strength in enumerate(SHOWN):
        for number, picture in enumerate(pictures[strength][:ROWS]):
            picture.save(folder / f"{number:02d}_{column}.png")


def sheet(folder: Path) -> Image.Image:
    """Returns the first prompts as rows, strengths as columns."""
    files = sorted(folder.iterdir())
    width, height = Image.open(files[0]).size
    whole = Image.new("RGB", (len(SHOWN) * width, len(files) // len(SHOWN) * height))
    for path in files:
        row, column = map(int, path.stem.split("_"))
        whole.paste(Image.open(path), (column * width, row * height))
    return whole


if __name__ == "__main__":
    main()
