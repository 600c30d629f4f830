"""AND without regions: do two characters come out side by side, on a model that knows pairs?

    python benchmarks/conjunction.py --out benchmarks/results [--seeds 50] [--work DIR]

mame has never seen two persons in one picture. So it is taught first: `renma train` on drawn pairs
whose captions tell about one of the two (conjunction_pictures.py), `renma file merge` into a model
folder. Then a LoRA of each character is trained on that model, from pictures where it stands on its
own side of a stranger. What is finished in DIR is not done again. The attribute reader judges the
left and the right half. Needs the packages of tools/mame/README.md. Writes conjunction.json and
conjunction.png (the first seeds, a row a way).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from command import renma
from conjunction_pictures import character, strangers
from regional import FULL, HEIGHT, LOOKS, WIDTH, drawn, judged, strip
from renma.config.model import ModelConfig
from renma.engine.cast import NONE, Cast, Power, Role
from renma.engine.compose import Area, Scene, Words
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.engine.sample import Shot
from renma.judge.attributes import AttributeReader

PAIRS = 3000
"""Pictures that teach the model two persons."""
SUBJECTS = 40
"""Pictures of each character, every one beside another stranger."""
TEXT = "{}, {}, adventurer style, person, smile, blue background"
TAGS = {
    "left": {"hair": "ponytail", "hair_colour": "pink", "skin": "tan", "eyewear": "glasses"},
    "right": {"hair": "mohawk", "hair_colour": "green", "skin": "dark", "eyewear": "no glasses"},
}
"""Two persons that the model knows words for."""
WAYS = (
    "and",
    "and unscoped",
    "one prompt",
    "and unscoped, also in negative",
    "one prompt, also in negative",
    "tags",
    "whole",
    "windows",
)
"""Also in negative: the LoRAs act on what to avoid too, so guidance does not enlarge what they do;
they always do so with regions, and never with a LoRA that AND binds to its part."""
SETTINGS = """
[model]
path = "{model}"

[data]
resolution = [256, 128]
batch_size = {batch}
{data}

[adapter]
{adapter}

[optimizer]
name = "adamw"
{rates}

[schedule]
name = "{schedule}"
warmup_steps = 0.05

[objective]
{objective}

[train]
max_steps = {steps}
precision = "fp32"
seed = 1
threads = 1

[sample]
every_steps = 0

[output]
name = "{name}"
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/conjunction"))
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--scale", type=float, default=2.5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = model_of_pairs(arguments.work / "pairs")
    files = [character_lora(arguments.work / name, name, model) for name in LOOKS]
    family, reader = (
        load_family(ModelConfig(path=str(model)), device="auto"),
        AttributeReader.load(),
    )
    cast = Cast([Role(Network.from_file(family, path)) for path in files])
    kept = ("seeds", "first_seed", "steps", "scale")
    table: dict[str, Any] = {key: getattr(arguments, key) for key in kept} | {"ways": {}}
    evidence: list[Image.Image] = []
    for way in arguments.ways:
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        scenes = [scene(way, seed, arguments.steps, arguments.scale) for seed in seeds]
        pictures = drawn(family, scenes, cast)
        looks = list((TAGS if way == "tags" else LOOKS).values())
        table["ways"][way] = judged(reader, pictures, looks)
        print(way, json.dumps(table["ways"][way]), flush=True)
        evidence.append(strip(pictures[:5]))
        (arguments.out / "conjunction.json").write_text(json.dumps(table, indent=2) + "\n")
        strip(evidence, down=True).save(arguments.out / "conjunction.png", optimize=True)


def model_of_pairs(folder: Path) -> Path:
    """Teaches mame pictures of two persons, unless it is done; returns the model's folder."""
    model, lora = folder / "mame-pairs", folder / "run" / "lora" / "pairs.safetensors"
    if model.exists():
        return model
    if not lora.exists():
        strangers(folder / "train" / "1_pairs", PAIRS, "pairs")
        words = {
            "model": "mame",
            "batch": 16,
            "data": 'train_folder = "train"\nenable_wildcard = true\ncaption_dropout_rate = 0.12',
            "adapter": 'algo = "full"\n[adapter.targets]\npreset = "full"',
            "rates": "learning_rate = 5e-4",
            "schedule": "cosine",
            "objective": "min_snr_gamma = 5.0\nnoise_offset = 0.2",
            "steps": 750,
            "name": "pairs",
        }
        train(folder, words)
    renma("file", "merge", str(lora), "--base", "mame", "-o", str(model))
    return model


def character_lora(folder: Path, name: str, model: Path) -> Path:
    """Trains one character beside strangers, unless it is done; returns its file."""
    lora = folder / "run" / "lora" / f"{name}.safetensors"
    if lora.exists():
        return lora
    side = list(LOOKS).index(name)
    character(folder / "train" / f"1_{name} person", name, side, LOOKS[name], SUBJECTS)
    words = {
        "model": model.resolve(),
        "batch": 4,
        "data": 'train_folder = "train"',
        "adapter": 'algo = "lora"\nrank = 16\nalpha = 16.0',
        "rates": "learning_rate = 1e-3\ntext_encoder_lr = 3e-3",
        "schedule": "constant_with_warmup",
        "objective": "min_snr_gamma = 5.0",
        "steps": 500,
        "name": name,
    }
    train(folder, words)
    return lora


def train(folder: Path, words: dict[str, Any]) -> None:
    """Writes the run's settings and trains it."""
    settings = folder / "run.toml"
    settings.write_text(SETTINGS.format(**words), encoding="utf-8")
    renma("train", str(settings), "--out", str(folder / "run"))


def scene(way: str, seed: int, steps: int, scale: float) -> Scene:
    """Returns one picture in one of the ways."""
    shot = Shot("", width=WIDTH, height=HEIGHT, seed=seed, steps=steps, scale=scale)
    first, second, both, none = (FULL, NONE), (NONE, FULL), (FULL, FULL), (NONE, NONE)
    sides, names = ("left", "right"), list(LOOKS)
    texts = [TEXT.format(*pair) for pair in zip(sides, names, strict=True)]
    avoided = both if way.endswith("negative") else none
    if way.startswith("one prompt"):
        return conjunction(shot, [(", ".join(texts), both)], avoided)
    if way == "tags":
        texts = [", ".join([side, *tags_of(look)]) for side, look in TAGS.items()]
        return conjunction(shot, [(text, none) for text in texts], none)
    if way.startswith("and unscoped"):
        return conjunction(shot, [(text, both) for text in texts], avoided)
    pulls = list(zip(texts, (first, second), strict=True))
    if way == "and":
        return conjunction(shot, pulls, none)
    assert way in ("whole", "windows")
    right = (torch.arange(WIDTH) >= WIDTH // 2).float().repeat(HEIGHT, 1)
    areas = [
        Area(Words("", powers), ((Words(text, powers), 1.0),), mask)
        for (text, powers), mask in zip(pulls, (1 - right, right), strict=True)
    ]
    return Scene(shot, tuple(areas), way)


def conjunction(
    shot: Shot, pulls: list[tuple[str, tuple[Power, ...]]], avoided: tuple[Power, ...]
) -> Scene:
    """Returns a picture of texts joined by AND, each with weight 1, without a mask."""
    words = tuple((Words(text, powers), 1.0) for text, powers in pulls)
    return Scene(shot, (Area(Words("", avoided), words),))


def tags_of(look: dict[str, str]) -> list[str]:
    """Returns the caption of a person that the model knows words for."""
    own = [look["hair"], f"{look['hair_colour']} hair", f"{look['skin']} skin"]
    own += [look["eyewear"]] if look["eyewear"] != "no glasses" else []
    return ["adventurer style", "person", *own, "smile", "blue background"]


if __name__ == "__main__":
    main()
