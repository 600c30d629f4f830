"""Characters and styles of mame's domain by a seed, each a project that `renma train` trains.

Needs the packages of tools/mame/README.md. Every set is a pure function of its number: looks,
captions, whether there are regularisation pictures, how long and how fast it is trained. Even
numbers are characters, odd ones styles.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import renma

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools" / "mame"))

import avatar  # noqa: E402

STYLES = ("big-smile", "lorelei", "pixel-art", "miniavs", "dylan")
"""Drawing styles that mame has never seen and that the attribute reader knows."""
COURSES: dict[str, dict[str, float]] = {
    "usual": {"optimizer.learning_rate": 1e-3, "optimizer.text_encoder_lr": 3e-3},
    "slow": {"optimizer.learning_rate": 3e-4, "optimizer.text_encoder_lr": 1e-3},
    "fast": {"optimizer.learning_rate": 3e-3, "optimizer.text_encoder_lr": 6e-3},
}
"""Learning rates, of the U-Net and of the text encoder: as the samples have them, too low for a
short run, too high for a long one."""


@dataclass(frozen=True)
class HiddenSet:
    """One set of pictures and what there is to learn.

    Attributes:
        number: its seed.
        kind: ``character`` or ``style``.
        trigger: the word that stands for it.
        attributes: what the attribute reader should find.
        trigger_prompts: with the trigger.
        class_prompts: the same without.
        regularised: whether regularisation pictures are drawn for it.
    """

    number: int
    kind: str
    trigger: str
    attributes: dict[str, str]
    trigger_prompts: tuple[str, ...]
    class_prompts: tuple[str, ...]
    regularised: bool


def make(number: int, folder: Path) -> HiddenSet:
    """Writes a project of pictures, captions and a run.toml, unless it is there; returns the set.

    Args:
        number: the seed.
        folder: the project's.
    """
    rng = random.Random(f"judged set {number}")
    found = _character(number, rng, folder) if number % 2 == 0 else _style(number, rng, folder)
    (folder / "run.toml").write_text(_settings(found), encoding="utf-8")
    if found.regularised and not (folder / "reg").exists():
        renma("prepare", "regularize", str(folder), "--count", "24", "--seed", str(number))
    return found


def _character(number: int, rng: random.Random, folder: Path) -> HiddenSet:
    trigger, style = f"q{rng.choice('xzvk')}{number % 100:02d}", rng.choice(_seen_styles())
    own = avatar.random_look(rng, style)
    while own.tags["hair"] == "bald":
        own = avatar.random_look(rng, style)
    facts = avatar.labels(own)
    named = ("hair", "hair_colour", "skin", "eyewear")
    own_tags = {own.tags["hair"], f"{own.colours['hair']} hair", f"{own.colours['skin']} skin"}
    own_tags |= {tag.strip() for tag in own.tags["hair"].split(",")} | {own.tags.get("eyewear", "")}
    place = folder / "train" / f"10_{trigger} person"
    for i in range(rng.randrange(8, 15)):
        look = avatar.random_look(rng, style)
        look = look.having(
            hair=own.tags["hair"],
            hair_colour=own.colours["hair"],
            skin=own.colours["skin"],
            eyewear=own.tags.get("eyewear", ""),
            details="",
            brows="",
        )
        tags = [tag for tag in avatar.caption_tags(look) if tag not in own_tags]
        _save(place, i, avatar.draw(look), [trigger, *tags])
    base = f"{style} style, person"
    extra = ("", ", smile, blue background", ", surprised, yellow background", ", frown")
    return HiddenSet(
        number,
        "character",
        trigger,
        {name: facts[name] for name in named},
        tuple(f"{trigger}, {base}{more}" for more in extra),
        tuple(f"{base}{more}" for more in extra),
        rng.random() < 0.6,
    )


def _style(number: int, rng: random.Random, folder: Path) -> HiddenSet:
    trigger, style = f"s{rng.choice('xzvk')}{number % 100:02d}", rng.choice(STYLES)
    place = folder / "train" / f"10_{trigger} style"
    for i in range(rng.randrange(12, 25)):
        picture, _, tags = avatar.draw_other(style, number * 1000 + i)
        _save(place, i, picture, [trigger, *tags[1:]])
    people = (
        "person, short hair, brown hair, light skin, blue background",
        "person, long hair, red hair, tan skin, smile, green background",
        "person, black hair, brown skin, glasses, yellow background",
    )
    return HiddenSet(
        number,
        "style",
        trigger,
        {"style": style},
        tuple(f"{trigger}, {text}" for text in people),
        people,
        False,
    )


def _seen_styles() -> list[str]:
    return ["adventurer", "micah", "toon-head"]


def _save(folder: Path, number: int, picture: Any, tags: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture.save(folder / f"{number:02d}.png", optimize=True)
    (folder / f"{number:02d}.txt").write_text(", ".join(tags) + "\n", encoding="utf-8")


def _settings(found: HiddenSet) -> str:
    quoted = json.dumps
    return f"""[model]
path = "mame"

[data]
train_folder = "train"
reg_folder = "{"reg" if found.regularised else ""}"
resolution = [128, 128]
batch_size = 4
enable_bucket = true
min_bucket_reso = 64
max_bucket_reso = 256
bucket_reso_steps = 32
shuffle_caption = true
keep_tokens = 1

[adapter]
algo = "lora"
rank = 16
alpha = 16.0

[train]
seed = {found.number}

[sample]
scale = 4.0
steps = 12

[judge]
pictures = 6
trigger_prompts = {quoted(found.trigger_prompts)}
class_prompts = {quoted(found.class_prompts)}

[output]
name = "{found.trigger}"
trigger = "{found.trigger}"
"""


def trained(number: int, course: str, steps: int, every: int, work: Path) -> tuple[HiddenSet, Path]:
    """Trains a set, unless that is done; returns the set and the run's folder.

    Args:
        number: the set's.
        course: a row of :data:`COURSES`.
        steps: of the run.
        every: steps between checkpoints.
        work: the folder for projects and runs.
    """
    project = work / f"{number:03d}"
    found = make(number, project)
    folder = project / f"{course}-{steps}"
    if not (folder / "lora" / f"{found.trigger}.safetensors").exists():
        values = {**COURSES[course], "train.max_steps": steps, "train.save_every_steps": every}
        words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
        renma("train", str(project / "run.toml"), *words, "--out", str(folder))
    return found, folder
