"""Makes mame from nothing: pictures, VAE, text encoder, classifier, U-Net, figures, folder.

    python tools/mame/train.py --work DIR [--minutes 60] [--device cpu] [--tiny]

Start it again after a kill: it continues from its checkpoints. Every ten minutes of U-Net
training it prints the score of each attribute; a good-looking loss hides a deaf model.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import torch
from budget import TINY, Budget
from classifier import on_fresh, train_classifier, write_reader
from compute import Machine, OutOfTime
from export import write_model
from pictures import PictureSet, fresh_set, training_set
from score import Painter, contact_sheet, figures, in_short, obeyed
from text import new_tokenizer, warm_up
from torch import Tensor
from unet import seen_latents, train_unet
from vae import encode_all, psnr, train_vae


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of data and checkpoints")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this long")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--tiny", action="store_true", help="a dry run of every stage")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="budget")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    budget = TINY if options.tiny else Budget()
    changes = dict(pair.split("=", 1) for pair in options.set)
    budget = Budget(**{**asdict(budget), **{k: json.loads(v) for k, v in changes.items()}})
    options.work.mkdir(parents=True, exist_ok=True)
    machine = Machine(torch.device(options.device), options.work, _say, options.minutes)
    try:
        make(budget, machine, workers=max(2, options.threads))
    except OutOfTime as stage:
        _say(f"time is up in stage {stage}; start again to continue")


def _say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


def make(budget: Budget, machine: Machine, workers: int) -> None:
    """Run every stage that is not done yet and write the model folder and its figures."""
    work, clock = machine.work, {}
    start = time.monotonic()
    pictures, fresh = training_set(budget, work, workers), fresh_set(budget, work, workers)
    clock["drawing"] = time.monotonic() - start
    _say(f"{len(pictures.entries)} pictures and {len(fresh.entries)} fresh ones")

    vae = train_vae(budget, pictures, machine)
    quality = psnr(vae, fresh, machine)
    _say(f"VAE: PSNR {quality:.2f} dB, scaling factor {vae.config.scaling_factor:.4f}")
    latents = _cached(work / "latents.pt", lambda: encode_all(vae, pictures, machine))
    copies = _cached(work / "copies.pt", lambda: round_trips(vae, pictures, latents, machine))

    reader = train_classifier(budget, pictures, machine, copies)
    reading = {kind: on_fresh(reader, fresh, kind) for kind in ("seen", "unseen", "other")}
    for kind, shares in reading.items():
        _say(f"classifier on {kind}: {in_short(shares)}")
    write_reader(reader, work / "attributes", reading)

    tokenizer = new_tokenizer()
    encoder = warm_up(budget, pictures, machine, tokenizer)
    scale = vae.config.scaling_factor
    scaled = seen_latents(latents, scale, pictures, budget.unet_emphasis)

    def score(both: torch.nn.ModuleDict) -> None:
        painter = Painter(both["unet"], both["encoder"], vae, tokenizer, machine)
        _say(in_short(obeyed(painter, reader, fresh.of("seen")[:60], steps=15)))

    both = train_unet(budget, machine, encoder, tokenizer, scaled, score)
    painter = Painter(both["unet"], both["encoder"], vae, tokenizer, machine)
    report = {"psnr": quality, "classifier": reading, "budget": asdict(budget)}
    report["seconds"] = clock | stage_seconds(work)
    report["obeyed"] = figures(painter, reader, fresh, min(200, budget.fresh))
    for name, shares in report["obeyed"].items():
        _say(f"{name}: {in_short(shares)}")
    write_model(both["unet"], both["encoder"], vae, tokenizer, work / "mame")
    (work / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(painter, fresh, work)


def _cached(path: Path, make_it) -> dict:
    if not path.exists():
        torch.save(make_it(), path)
    return torch.load(path, weights_only=True)


def stage_seconds(work: Path) -> dict[str, float]:
    """Return how long each training stage ran, from its checkpoint."""
    stages = ("vae", "classifier", "text", "unet")
    return {s: torch.load(work / f"{s}.pt", weights_only=True)["seconds"] for s in stages}


@torch.no_grad()
def round_trips(
    vae: torch.nn.Module,
    pictures: PictureSet,
    latents: dict[str, Tensor],
    machine: Machine,
    each: int = 3,
) -> dict[str, dict[int, Tensor]]:
    """Return every third picture decoded from its latents, uint8 (h, w, 3), by shape and row."""
    found: dict[str, dict[int, Tensor]] = {}
    for shape in pictures.arrays:
        rows = [e.row for e in pictures.entries if e.shape == shape][::each]
        found[shape] = {}
        for start in range(0, len(rows), 32):
            part = rows[start : start + 32]
            x = vae.decode(latents[shape][part].to(machine.device)).sample.clamp(-1, 1)
            x = x.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).cpu()
            found[shape] |= dict(zip(part, x, strict=True))
    return found


def show(painter: Painter, fresh: PictureSet, work: Path) -> None:
    """Write a contact sheet: drawn pictures above what mame paints for their captions."""
    from PIL import Image

    entries = fresh.of("seen", shape="square")[:20]
    drawn = [Image.fromarray(fresh.picture(e)) for e in entries]
    painted = painter.paint([", ".join(e.tags) for e in entries])
    rows = [p for i in (0, 10) for p in (*drawn[i : i + 10], *painted[i : i + 10])]
    contact_sheet(rows).save(work / "sheet.png")


if __name__ == "__main__":
    main()
