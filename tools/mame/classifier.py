"""Trains the attribute reader on the drawn pictures, sharp and spoiled.

A picture is shifted, scaled, blurred, made noisy, or passed through the VAE, so that a generated
picture is no surprise.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import avatar
import numpy as np
import torch
from budget import Budget
from compute import Machine, Run
from pictures import Entry, PictureSet
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from vae import pixels

from renma.judge.attributes import AttributeNet, AttributeReader

KIND_ODDS = {"seen": 1.0, "unseen": 1.0, "other": 2.5}
"""How often a picture of a kind is drawn, against the others."""
HEAD_WEIGHTS = {"facial_hair": 2.0, "mouth": 1.5, "style": 1.5}
"""Weights of the heads in the loss; the hard ones count more."""


def head_tags() -> dict[str, dict[str, str]]:
    """Return head -> {label: its caption tags}, from the drawing table."""
    rows = avatar.table()
    styles, defaults = rows["styles"], rows["defaults"]
    heads: dict[str, dict[str, str]] = {
        "style": {name: f"{name} style" for name in (*styles, *rows["held_out_styles"])}
    }
    sources = {"hair": ("hair", "unseen"), "eyes": ("eyes",), "eyewear": ("eyewear",)}
    sources |= {"mouth": ("mouth",), "facial hair": ("facial hair",)}
    for head, parts in sources.items():
        tags = [tag for s in styles.values() for part in parts for tag in s.get(part, {}).values()]
        found = {tag: tag for tag in dict.fromkeys(tags) if tag}
        heads[head.replace(" ", "_")] = ({defaults[head]: ""} if head in defaults else {}) | found
    heads["facial_hair"]["mustache"] = "mustache"
    palettes = rows["colours"]
    heads["hair_colour"] = {name: f"{name} hair" for name in palettes["hair"]}
    for head in ("skin", "clothes", "background"):
        heads[head] = {name: f"{name} {head}" for name in palettes[head]}
    heads["clothes"]["no clothes"] = "no clothes"
    return heads


def targets(entries: list[Entry], heads: dict[str, list[str]]) -> dict[str, Tensor]:
    """Return head -> label index per entry; -100 where the head does not apply."""
    return {
        head: torch.tensor(
            [labels.index(e.labels[head]) if head in e.labels else -100 for e in entries]
        )
        for head, labels in heads.items()
    }


def spoil(x: Tensor, rng: random.Random) -> Tensor:
    """Return pictures (batch, 3, h, w) moved, scaled, blurred and made noisy at random."""
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).to(x) * 2 - 1

    batch = len(x)
    grow = 1 + 0.12 * draw(batch)
    theta = torch.zeros(batch, 2, 3, device=x.device)
    theta[:, 0, 0], theta[:, 1, 1] = grow, grow
    theta[:, :, 2] = 0.1 * draw(batch, 2)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    if rng.random() < 0.4:
        small = F.interpolate(x, scale_factor=rng.uniform(0.5, 0.9), mode="area")
        x = F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=False)
    if rng.random() < 0.4:
        noise = torch.randn(x.shape, generator=generator).to(x)
        x = x + rng.uniform(0.02, 0.12) * noise
    return (x * (1 + 0.04 * draw(batch, 3, 1, 1)) + 0.03 * draw(batch, 3, 1, 1)).clamp(-1, 1)


def train_classifier(
    budget: Budget,
    pictures: PictureSet,
    machine: Machine,
    copies: dict[str, dict[int, Tensor]] | None = None,
    name: str = "classifier",
) -> AttributeReader:
    """Train the reader; `copies` holds VAE round trips by shape and row, used for a third."""
    heads = {head: list(labels) for head, labels in head_tags().items()}
    torch.manual_seed(budget.seed)
    net = AttributeNet(heads)
    run = Run(name, net, machine, 2e-3, budget.classifier_steps, 0.02, 0.99)
    by_shape = {
        shape: pictures.of("seen", "unseen", "other", shape=shape) for shape in avatar.SHAPES
    }
    odds = {shape: [KIND_ODDS[e.kind] for e in entries] for shape, entries in by_shape.items()}
    answers = {shape: targets(entries, heads) for shape, entries in by_shape.items()}

    def loss_of(step: int) -> Tensor:
        rng = random.Random(f"classifier{step}")
        shape = rng.choices(list(by_shape), (0.7, 0.15, 0.15))[0]
        rows = rng.choices(range(len(by_shape[shape])), odds[shape], k=budget.classifier_batch)
        x = pixels(np.stack([pictures.picture(by_shape[shape][i]) for i in rows]), machine.device)
        for place, i in enumerate(rows):
            copy = copies[shape].get(by_shape[shape][i].row) if copies else None
            if copy is not None and rng.random() < 0.75:
                x[place] = copy.permute(2, 0, 1).to(x).div(127.5).sub(1)
        logits = net(spoil(x, rng))
        losses = [
            HEAD_WEIGHTS.get(h, 1.0)
            * F.cross_entropy(logits[h], answers[shape][h][rows].to(x.device), label_smoothing=0.02)
            for h in heads
            if (answers[shape][h][rows] >= 0).any()
        ]
        return torch.stack(losses).sum()

    run.loop(loss_of)
    settle_norms(net, by_shape, pictures, machine)
    return AttributeReader(net.cpu(), heads)


@torch.no_grad()
def settle_norms(
    net: AttributeNet, by_shape: dict[str, list[Entry]], pictures: PictureSet, machine: Machine
) -> None:
    """Measure the batch-norm statistics anew for the averaged weights."""
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    net.train()
    rng = random.Random("norms")
    for _ in range(30):
        shape = rng.choices(list(by_shape), (0.7, 0.15, 0.15))[0]
        chosen = rng.choices(by_shape[shape], k=64)
        net(spoil(pixels(np.stack([pictures.picture(e) for e in chosen]), machine.device), rng))
    net.eval()


def accuracy(
    reader: AttributeReader, images: list[Image.Image], facts: list[dict[str, str]]
) -> dict[str, float]:
    """Return head -> share of pictures read as `facts` say (where they say anything)."""
    readings = reader.read(images)
    shares = {}
    for head in reader.heads:
        pairs = [
            (r[head].label, f[head]) for r, f in zip(readings, facts, strict=True) if head in f
        ]
        if pairs:
            shares[head] = sum(a == b for a, b in pairs) / len(pairs)
    return shares


def on_fresh(reader: AttributeReader, fresh: PictureSet, *kinds: str) -> dict[str, float]:
    """Return the accuracy on fresh pictures of some kinds."""
    entries = fresh.of(*kinds)
    images = [Image.fromarray(np.asarray(fresh.picture(e))) for e in entries]
    return accuracy(reader, images, [e.labels for e in entries])


def write_reader(reader: AttributeReader, folder: Path, facts: dict[str, Any]) -> None:
    """Write weights (fp16) and heads with their measured accuracy."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: value.half() if value.is_floating_point() else value
        for key, value in reader.net.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    table = {"heads": {k: list(v) for k, v in reader.heads.items()}, "accuracy": facts}
    (folder / "heads.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
