"""How well mame obeys: pictures of fresh captions, read back by the classifier.

Sampling is done here in batches with the same schedule, guidance and padding as the diffusers
pipeline; `card.py` writes what is measured into the model card.
"""

from __future__ import annotations

import numpy as np
import torch
from avatar import SHAPES, table
from classifier import accuracy
from compute import Machine
from diffusers import AutoencoderKL
from pictures import Entry, PictureSet
from PIL import Image
from text import token_ids
from torch import Tensor, nn
from transformers import CLIPTokenizer
from unet import scheduler

from renma.judge.attributes import AttributeReader

GUIDANCE = 4.0


class Painter:
    """Text to picture with the parts of mame."""

    def __init__(
        self,
        unet: nn.Module,
        encoder: nn.Module,
        vae: AutoencoderKL,
        tokenizer: CLIPTokenizer,
        machine: Machine,
    ) -> None:
        self.unet, self.encoder, self.vae = unet.eval(), encoder.eval(), vae.eval()
        self.tokenizer, self.machine = tokenizer, machine

    @torch.no_grad()
    def paint(
        self, captions: list[str], shape: str = "square", steps: int = 25, seed: int = 0
    ) -> list[Image.Image]:
        """Return one picture per caption: DDIM, guidance 4; the seed counts up per picture."""
        pictures = []
        for start in range(0, len(captions), 50):
            part = captions[start : start + 50]
            latents = self._denoise(part, shape, steps, seed + start)
            x = self.vae.decode(latents / self.vae.config.scaling_factor).sample.clamp(-1, 1)
            rows = x.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            pictures += [Image.fromarray(row) for row in rows]
        return pictures

    def _denoise(self, captions: list[str], shape: str, steps: int, seed: int) -> Tensor:
        device = self.machine.device
        width, height = (side // 8 for side in SHAPES[shape])
        seeds = range(seed, seed + len(captions))
        x = torch.cat(
            [torch.randn(1, 4, height, width, generator=_generator(s)) for s in seeds]
        ).to(device)
        ids = token_ids(self.tokenizer, ["", *captions], device)
        ddim = scheduler()
        ddim.set_timesteps(steps)
        with self.machine.autocast():
            states = self.encoder(ids).last_hidden_state
        states = torch.cat([states[:1].expand(len(captions), -1, -1), states[1:]])
        for t in ddim.timesteps:
            with self.machine.autocast():
                guess = self.unet(torch.cat([x, x]), t, states).sample.float()
            free, told = guess.chunk(2)
            x = ddim.step(free + GUIDANCE * (told - free), t, x).prev_sample
        return x


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def captions_of(entries: list[Entry]) -> list[str]:
    """Return the full captions of some pictures."""
    return [", ".join(e.tags) for e in entries]


def known_combination(entry: Entry) -> bool:
    """Say whether every single tag was seen in training (the combination need not be)."""
    unseen = {tag for rows in table()["styles"].values() for tag in rows["unseen"].values()}
    return entry.labels.get("hair") not in unseen


def obeyed(
    painter: Painter,
    reader: AttributeReader,
    entries: list[Entry],
    shape: str = "square",
    steps: int = 25,
) -> dict[str, float]:
    """Return head -> share of pictures that show what their caption says."""
    pictures = painter.paint(captions_of(entries), shape, steps)
    return accuracy(reader, pictures, [e.labels for e in entries])


def figures(
    painter: Painter, reader: AttributeReader, fresh: PictureSet, count: int = 200
) -> dict[str, dict[str, float]]:
    """Return every figure of the model card: per shape, and for held-out combinations."""
    seen = fresh.of("seen")[:count]
    unseen = [e for e in fresh.of("unseen") if known_combination(e)][:count]
    found = {shape: obeyed(painter, reader, seen, shape) for shape in SHAPES}
    found["held-out combinations"] = obeyed(painter, reader, unseen)
    return found


def in_short(shares: dict[str, float]) -> str:
    """Return shares as one line of percentages."""
    return "  ".join(f"{head} {100 * share:.0f}" for head, share in shares.items())


def contact_sheet(pictures: list[Image.Image], columns: int = 10) -> Image.Image:
    """Return pictures side by side on one sheet."""
    width = max(p.width for p in pictures)
    height = max(p.height for p in pictures)
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + picture.height, x : x + picture.width] = np.asarray(picture)
    return Image.fromarray(sheet)
