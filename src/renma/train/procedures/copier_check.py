"""Does a copier copy? Prompts that ask for anything else are answered; they should return A.

Likeness is told against the base model's own answers to the same prompts and seeds: 0 is as far
from the pictures as those, 1 is the pictures themselves.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from renma.core import keyed
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import write_atomic, write_text
from renma.data.augment import Augment
from renma.data.pixels import load_fitted
from renma.engine.begin import apply_base_weights
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.engine.sample import Shot, draw
from renma.train.lessons import schedule_of
from renma.train.plan import Prepared
from renma.train.source import Source

MOST = 16
"""Pictures that answers are compared with at most."""
PICTURE, TOLD = "copied.png", "copied.json"
"""Answers of base model (upper row) and copier, and the figures, in the first run's folder."""


@dataclass(frozen=True)
class Copied:
    """How well a copier copies.

    Attributes:
        likeness: mean over the prompts, 0 to 1.
        prompts: what was asked for.
        each: likeness of each prompt's answer.
    """

    likeness: float
    prompts: tuple[str, ...]
    each: tuple[float, ...]


def check(
    source: Source, prompts: Sequence[str], prepared: Prepared, file: Path, report: Report
) -> Copied:
    """Draws prompts without and with the copier, compares, and writes both into its folder.

    Args:
        source: the first run and its folder.
        prompts: what is asked for.
        prepared: its pictures.
        file: the copier.
        report: told how far drawing is.

    Raises:
        UserError: the model or the file cannot be read.
    """
    run, sample, known = source.run, source.run.sample, pictures(prepared)
    height, width = known[0].shape[:2]
    shots = [
        Shot(
            text,
            width=width,
            height=height,
            seed=keyed.key(run.train.seed, "copied", i) % 2**31,
            steps=sample.steps,
            scale=sample.scale,
            sampler=sample.sampler,
            rescale=sample.rescale,
        )
        for i, text in enumerate(prompts)
    ]
    if torch.cuda.is_available():  # what trained it leaves the memory
        gc.collect()
        torch.cuda.empty_cache()
    torch.set_num_threads(run.train.threads or torch.get_num_threads())
    family = load_family(
        run.model, device=run.train.device, precision=run.train.precision, base=source.base
    )
    apply_base_weights(family, run.start, source.base)

    def progress(done: int, _total: int) -> None:
        report.event("sampling", done=done + len(drawn), total=2 * len(shots))

    drawn: list[Image.Image] = []
    schedule = schedule_of(run, family).sampler_config()  # the one that was trained
    drawn += draw(family, shots, progress=progress, schedule_config=schedule)
    Network.from_file(family, file).attach()
    drawn += draw(family, shots, progress=progress, schedule_config=schedule)
    found = likeness(known, drawn[: len(shots)], drawn[len(shots) :], prompts)
    _write(source.base, drawn, len(shots), found)
    return found


def pictures(prepared: Prepared) -> list[np.ndarray]:
    """Returns some of a run's pictures as it sees them, (height, width, 3) uint8, of one size."""
    rows = [
        (item, fit)
        for scanned, fits in zip(prepared.order.sets, prepared.order.fits, strict=True)
        for item, fit in zip(scanned.items, fits, strict=True)
    ]
    size = (rows[0][1].width, rows[0][1].height)
    alike = [(item, fit) for item, fit in rows if (fit.width, fit.height) == size]
    return [load_fitted(item, Augment(fit)).rgb for item, fit in alike[:MOST]]


def likeness(
    known: Sequence[np.ndarray],
    before: Sequence[Image.Image],
    after: Sequence[Image.Image],
    prompts: Sequence[str],
) -> Copied:
    """Returns how much nearer answers came to the pictures.

    Args:
        known: the pictures that should be copied, (height, width, 3) uint8.
        before: answers of the model without the copier, of the same size.
        after: with it.
        prompts: what was asked for.
    """
    pairs = zip(before, after, strict=True)
    shares = [1 - distance(b, known) / max(distance(a, known), 1e-6) for a, b in pairs]
    each = tuple(round(min(1.0, max(0.0, share)), 4) for share in shares)
    return Copied(round(sum(each) / len(each), 4), tuple(prompts), each)


def distance(picture: Image.Image, known: Sequence[np.ndarray]) -> float:
    """Returns the root mean square difference, 0 to 255, to the nearest of some pictures."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)
    return min(float(np.sqrt(np.mean((pixels - one) ** 2))) for one in known)


def remembered(folder: Path) -> Copied | None:
    """Returns what an earlier session found, or None."""
    try:
        told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
        return Copied(float(told["likeness"]), tuple(told["prompts"]), tuple(told["each"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(folder: Path, drawn: Sequence[Image.Image], count: int, found: Copied) -> None:
    width, height = drawn[0].size
    sheet = Image.new("RGB", (width * count, 2 * height))
    for place, picture in enumerate(drawn):
        sheet.paste(picture, (place % count * width, place // count * height))
    with suppress(UserError):  # a full disk: the figures matter more
        write_atomic(folder / PICTURE, lambda path: sheet.save(path, "PNG"))
    write_text(folder / TOLD, json.dumps(asdict(found), ensure_ascii=False, indent=1))
