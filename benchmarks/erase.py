"""Does LECO erase one attribute, strengthen it, and leave everything else as it was?

    python benchmarks/erase.py --out benchmarks/results --work DIR [--seeds 5]

For every seed two LoRAs are trained on mame by `renma erase` in processes of their own, from words
alone: one erases sunglasses from prompts that ask for them, one brings them into prompts that do
not. Prompts of the training and of the measurement have no context in common. Every picture is
drawn by the base model and with the LoRA from the same noise; the attribute reader says what it
shows. Runs and pictures that are finished in DIR are not done again. Writes erase.json and
erase.png (a row each: base, LoRA).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
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
from renma.judge.attributes import AttributeReader, expected

WORD = "sunglasses"
HAIR = {
    "adventurer": ("bob cut", "long hair", "ponytail", "double bun", "short hair", "hair bun"),
    "micah": ("long hair, wavy hair", "undercut", "short hair, swept hair", "bob cut", "mohawk"),
}
COLOURS = ("black", "brown", "blonde", "red", "pink", "purple", "blue", "green", "white")
SKINS = ("light", "tan", "brown", "dark")
MOUTHS = ("smile", "laughing", "frown", "surprised")
BACKGROUNDS = ("white", "grey", "blue", "green", "yellow", "pink", "purple", "orange")
ACTIONS = {"erase": (1e-3, 1.0), "enhance": (2e-3, 1.5)}
"""Learning rate and guidance scale: to take a word's effect away is quicker than to bring it in."""
PICTURES_SHOWN = 10
RUN = """
[model]
path = "mame"
[erase]
steps = {walk}
points = {points}
{concepts}
[adapter]
algo = "lora"
rank = {rank}
alpha = {rank}
[adapter.targets]
preset = "attention"
[optimizer]
learning_rate = {rate}
[schedule]
name = "cosine"
[train]
max_steps = {steps}
seed = {seed}
threads = 1
precision = "fp32"
tensorboard = false
[sample]
every_steps = 0
"""
CONCEPT = """
[[erase.prompts]]
action = "{action}"
target = "{target}"
neutral = "{neutral}"
positive = "{positive}"
unconditional = "{unconditional}"
guidance_scale = {guidance}
batch_size = {batch}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/erase"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=48, help="prompts of a seed")
    parser.add_argument("--actions", nargs="+", choices=list(ACTIONS), default=list(ACTIONS))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--contexts", type=int, default=24, help="concepts of a run")
    parser.add_argument("--walk", type=int, default=12, help="sampler steps of a way")
    parser.add_argument("--points", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rank", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    family, reader = load_family(ModelConfig(), device="auto"), AttributeReader.load()
    table: dict[str, Any] = {
        "rate and guidance": ACTIONS,
        **{name: value for name, value in vars(options).items() if name not in {"out", "work"}},
    }
    for action in options.actions:
        rows = [one_seed(action, seed, options, family, reader) for seed in range(options.seeds)]
        table[action] = {"seeds": rows, "all": summed(rows)}
        print(action, json.dumps(table[action]["all"]), flush=True)
    (options.out / "erase.json").write_text(json.dumps(table, indent=2) + "\n")
    shown = [options.work / f"{action}-0" / "pictures" for action in options.actions]
    sheet(shown).save(options.out / "erase.png", optimize=True)


def one_seed(
    action: str, seed: int, options: argparse.Namespace, family: Family, reader: AttributeReader
) -> dict[str, Any]:
    """Returns what one seed gave, from its folder if it is there."""
    folder = options.work / f"{action}-{seed}"
    done = folder / "measured.json"
    if not done.exists():
        lora = trained(action, seed, options)
        asked = contexts(random.Random(f"measure {seed}"), options.pictures)
        prompts = [with_word(one) if action == "erase" else one for one in asked]
        before, after = drawn(family, lora, prompts, seed)
        keep(folder / "pictures", before, after)
        done.write_text(json.dumps(measured(reader, prompts, before, after)))
    found = json.loads(done.read_text())
    print(action, seed, json.dumps(found), flush=True)
    return found


def contexts(rng: random.Random, count: int) -> list[str]:
    """Returns prompts that do not ask for the attribute."""
    found: dict[str, None] = {}
    while len(found) < count:
        style = rng.choice(list(HAIR))
        found[
            f"{style} style, person, {rng.choice(HAIR[style])}, {rng.choice(COLOURS)} hair, "
            f"{rng.choice(SKINS)} skin, {rng.choice(MOUTHS)}, {rng.choice(BACKGROUNDS)} background"
        ] = None
    return list(found)


def with_word(context: str) -> str:
    """Returns the prompt that asks for it, where mame's captions have it: after the skin."""
    return context.replace(" skin, ", f" skin, {WORD}, ")


def trained(action: str, seed: int, options: argparse.Namespace) -> Path:
    """Trains one LoRA, unless it is done, and returns its file."""
    folder = options.work / f"{action}-{seed}"
    lora = folder / "run" / "lora" / "lora.safetensors"
    if lora.exists():
        return lora
    measured_at = set(contexts(random.Random(f"measure {seed}"), options.pictures))
    rng, (rate, guidance) = random.Random(f"train {seed}"), ACTIONS[action]
    found = [one for one in contexts(rng, 2 * options.contexts) if one not in measured_at]
    concepts = "".join(
        CONCEPT.format(
            action=action,
            target=with_word(one) if action == "erase" else one,
            neutral=one,
            positive=WORD if action == "erase" else with_word(one),
            unconditional="" if action == "erase" else one,
            guidance=guidance,
            batch=options.batch,
        )
        for one in found[: options.contexts]
    )
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(options, name) for name in _SETTINGS}
    text = RUN.format(concepts=concepts, seed=seed, rate=rate, **settings)
    (folder / "run.toml").write_text(text, encoding="utf-8")
    words = ["erase", str(folder / "run.toml"), "--out", str(folder / "run")]
    if (folder / "run" / "state").exists():
        words.append("--resume")
    renma(*words)
    return lora


_SETTINGS = ("walk", "points", "rank", "steps")


def drawn(
    family: Family, lora: Path, prompts: Sequence[str], seed: int
) -> tuple[list[Image.Image], list[Image.Image]]:
    """Returns the pictures of the base model and with the LoRA, from the same noise."""
    shots = [
        Shot(text, seed=1000 * seed + place, steps=15, scale=4.0)
        for place, text in enumerate(prompts)
    ]
    before = draw(family, shots)
    with Network.from_file(family, lora).at():
        return before, draw(family, shots)


def measured(
    reader: AttributeReader,
    prompts: Sequence[str],
    before: Sequence[Image.Image],
    after: Sequence[Image.Image],
) -> dict[str, Any]:
    """Returns shares of pictures, before and after.

    ``shown``: with sunglasses. ``any glasses``: with those or others; in micah's style mame has
    never seen sunglasses and draws other glasses where they are asked for. ``gone``: of those with
    any glasses before, how many have none any more.
    ``named``: every other attribute that prompts name, how often it is what they say.
    """
    read = [
        [{k: r.label for k, r in one.items()} for one in reader.read(s)] for s in (before, after)
    ]
    shown = [[one["eyewear"] == WORD for one in side] for side in read]
    any_glasses = [[one["eyewear"] != "no glasses" for one in side] for side in read]
    had = [not later for earlier, later in zip(*any_glasses, strict=True) if earlier]
    wanted = [{k: v for k, v in expected(text).items() if k != "eyewear"} for text in prompts]
    named = {
        head: [
            share([one[head] == labels[head] for one, labels in zip(side, wanted, strict=True)])
            for side in read
        ]
        for head in wanted[0]
    }
    return {
        "shown": [share(side) for side in shown],
        "any glasses": [share(side) for side in any_glasses],
        "gone": share(had) if len(had) > len(prompts) / 2 else None,
        "named": named,
        "all named": [round(statistics.mean(row[i] for row in named.values()), 3) for i in (0, 1)],
    }


def share(rows: Sequence[bool]) -> float:
    return round(sum(rows) / len(rows), 3)


def summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns means over the seeds, and the lowest and highest of what is asked for."""
    shown = {key: [row[key][1] for row in rows] for key in ("shown", "any glasses")}
    gone = [row["gone"] for row in rows if row["gone"] is not None]
    changes = {
        head: round(
            statistics.mean(row["named"][head][1] - row["named"][head][0] for row in rows), 3
        )
        for head in rows[0]["named"]
    }
    return {
        **{
            f"{key} before": round(statistics.mean(row[key][0] for row in rows), 3) for key in shown
        },
        **{
            f"{key} after": [round(statistics.mean(each), 3), min(each), max(each)]
            for key, each in shown.items()
        },
        "gone": [round(statistics.mean(gone), 3), min(gone), max(gone)] if gone else None,
        "change of named attributes": changes,
        "change of all named": round(statistics.mean(changes.values()), 4),
    }


def keep(folder: Path, before: Sequence[Image.Image], after: Sequence[Image.Image]) -> None:
    """Writes the first pictures, for the sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pictures in (("before", before), ("after", after)):
        for place, picture in enumerate(pictures[:PICTURES_SHOWN]):
            picture.save(folder / f"{name}-{place}.png")


def sheet(folders: Sequence[Path]) -> Image.Image:
    """Returns rows of pictures: of each folder those before and those after."""
    rows = [
        [Image.open(folder / f"{name}-{place}.png") for place in range(PICTURES_SHOWN)]
        for folder in folders
        for name in ("before", "after")
    ]
    side = rows[0][0].width + 4
    page = Image.new("RGB", (side * PICTURES_SHOWN, side * len(rows)), "white")
    for down, row in enumerate(rows):
        for right, picture in enumerate(row):
            page.paste(picture, (right * side, down * side))
    return page


if __name__ == "__main__":
    main()
