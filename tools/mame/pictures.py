"""The picture set: drawn once by two processes, kept as uint8 arrays, one per shape."""

from __future__ import annotations

import json
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import avatar
import numpy as np
from budget import Budget

SHAPE_ODDS = {"square": 0.7, "tall": 0.15, "wide": 0.15}
HUES = ("hair colour", "skin", "clothes", "background")


@dataclass(frozen=True)
class Entry:
    """One picture: where it lies, what it shows."""

    kind: str  # seen, unseen, other
    shape: str
    row: int  # row in the array of its shape
    tags: list[str]
    labels: dict[str, str]


@dataclass(frozen=True)
class PictureSet:
    """Pictures by shape, uint8 (count, height, width, 3), with one entry per picture."""

    arrays: dict[str, np.ndarray]
    entries: list[Entry]

    def of(self, *kinds: str, shape: str | None = None) -> list[Entry]:
        """Return the entries of some kinds, of one shape if given."""
        return [e for e in self.entries if e.kind in kinds and shape in (None, e.shape)]

    def picture(self, entry: Entry) -> np.ndarray:
        """Return one picture, uint8 (height, width, 3)."""
        return self.arrays[entry.shape][entry.row]


def draw_one(job: tuple[str, int]) -> tuple[str, np.ndarray, list[str], dict[str, str]]:
    """Draw the picture of (kind, seed); return shape, pixels, tags, labels."""
    kind, seed = job
    rng = random.Random(f"{kind}{seed}")
    shape = rng.choices(list(SHAPE_ODDS), list(SHAPE_ODDS.values()))[0]
    if kind == "other":
        names = avatar.table()["held_out_styles"]
        picture, facts, tags = avatar.draw_other(names[seed % len(names)], seed, shape)
        return shape, np.asarray(picture), tags, facts
    look = avatar.random_look(rng) if kind == "seen" else _unseen(rng)
    picture = avatar.draw(look, shape)
    return shape, np.asarray(picture), avatar.caption_tags(look), avatar.labels(look)


def _unseen(rng: random.Random) -> avatar.Look:
    """Return a held-out combination; every other one has an unseen hair style."""
    new_hair = [
        {"style": style, "hair": tag}
        for style, rows in avatar.table()["styles"].items()
        for tag in rows["unseen"].values()
    ]
    return avatar.unseen_look(rng, rng.choice(rng.choice([new_hair, avatar.unseen_rows()])))


def draw_set(counts: dict[str, int], first_seed: int, folder: Path, workers: int) -> PictureSet:
    """Draw (or read back) a picture set in `folder`."""
    index = folder / "entries.json"
    if not index.exists():
        jobs = [(kind, first_seed + i) for kind, n in counts.items() for i in range(n)]
        stacks: dict[str, list[np.ndarray]] = {shape: [] for shape in avatar.SHAPES}
        rows = []
        with ProcessPoolExecutor(workers) as pool:
            drawn = pool.map(draw_one, jobs, chunksize=32)
            for (kind, _), (shape, pixels, tags, facts) in zip(jobs, drawn, strict=True):
                rows.append(Entry(kind, shape, len(stacks[shape]), tags, facts).__dict__)
                stacks[shape].append(pixels)
        folder.mkdir(parents=True, exist_ok=True)
        for shape, stack in stacks.items():
            np.save(folder / f"{shape}.npy", np.stack(stack) if stack else np.zeros((0, 8, 8, 3)))
        index.write_text(json.dumps(rows), encoding="utf-8")
    arrays = {s: np.load(folder / f"{s}.npy", mmap_mode="r") for s in avatar.SHAPES}
    entries = [Entry(**row) for row in json.loads(index.read_text(encoding="utf-8"))]
    return PictureSet(arrays, entries)


def training_set(budget: Budget, work: Path, workers: int = 2) -> PictureSet:
    """Return the pictures that are learned from."""
    counts = {"seen": budget.seen, "unseen": budget.unseen, "other": budget.other}
    return draw_set(counts, 0, work / "train", workers)


def fresh_set(budget: Budget, work: Path, workers: int = 2) -> PictureSet:
    """Return pictures with other seeds, for the figures."""
    counts = {"seen": budget.fresh, "unseen": budget.fresh, "other": budget.fresh // 4}
    return draw_set(counts, 10_000_000, work / "fresh", workers)


@cache
def detail_mask(style: str, shape: str) -> np.ndarray:
    """Return where mouths, eyes and glasses differ, float32 (height, width) in 0..1."""
    width, height = avatar.SHAPES[shape]
    if style not in avatar.table()["styles"]:
        return np.zeros((height, width), np.float32)
    rng = random.Random(0)
    base = avatar.random_look(rng, style).having(eyes="", eyewear="", facial_hair="", details="")
    plain = np.asarray(avatar.draw(base, shape), np.float32)
    found = np.zeros((height, width), np.float32)
    for attribute in ("mouth", "eyes", "eyewear"):
        for tag in set(avatar.choices(style, attribute).values()):
            look = base.having(**{attribute: tag})
            changed = np.abs(np.asarray(avatar.draw(look, shape), np.float32) - plain).max(2) > 40
            found = np.maximum(found, changed * (1.0 if attribute == "mouth" else 0.6))
    return found


def shuffled_caption(tags: list[str], rng: random.Random) -> str:
    """Return a training caption: 10 % empty, 15 % a part of the tags, half of them shuffled."""
    draw = rng.random()
    if draw < 0.1:
        return ""
    kept = list(tags)
    if draw < 0.25:
        kept = [tag for tag in tags if rng.random() < 0.6]
    if rng.random() < 0.5:
        rng.shuffle(kept)
    return ", ".join(kept)
