"""QLoRA: what a base in few bits saves, and what it costs.

    python benchmarks/qlora.py --out benchmarks/results [--seeds 5] [--work DIR]
        [--model FOLDER ...] [--size 256] [--steps 100] [--only memory | score]

Memory: on mame and on every --model (weights may be random: `python tools/random_model.py FOLDER`
makes one of the SD 1.5 shape) the U-Net is loaded with each storage, in a process of its own, and
does two training steps of a LoRA of rank 4 at --size pixels: bytes of the frozen weights as they
are kept, resident memory between steps, its peak within a step, and while loading. Whatever is not
in few bits is bf16, as QLoRA has it, except in the row fp32.

Score: the character sample on mame, trained for --steps steps with each storage and seed, a fifth
of the pictures held out. The held-out loss is measured on the base that was trained on; likeness
and leakage are shares of the character's attributes that the attribute reader sees in pictures of
the LoRA on the ordinary model, as people use it. What is finished in DIR is not done again. Writes
qlora.json and qlora.png (a row of pictures for each storage, first seed).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

from command import ONE_THREAD, renma
from renma.config.model import ModelConfig
from renma.config.picture_recipe import Recipe
from renma.config.prompts import Prompt
from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent
from renma.drawing.painter import Cells
from renma.drawing.picture_source import Shelf, Source
from renma.drawing.sheet import sheet
from renma.judge.attributes import AttributeReader
from renma.judge.folder import RunRecord
from train_step import inputs, resident

STORAGES = ("fp32", "bf16", "fp8", "int8", "nf4", "fp4")
WANTED = {"hair": "braid", "hair_colour": "pink", "skin": "tan", "eyewear": "glasses"}
TEXTS = {"likeness": "aa12, adventurer style, person", "leakage": "adventurer style, person"}
PICTURES, DRAWING_STEPS = 8, 12
RANK = 4


def main() -> None:
    arguments = _arguments()
    if arguments.weigh:
        print(json.dumps(weighed(arguments.weigh, arguments.model[0], arguments.size)), flush=True)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "qlora.json"
    table: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if arguments.only != "score":
        for model in (Path("mame"), *arguments.model):
            size = 128 if model.name == "mame" else arguments.size
            table.setdefault("memory", {})[model.name] = memory(model, size)
            path.write_text(json.dumps(table, indent=1) + "\n")
    if arguments.only != "memory":
        project = arguments.work / "project"
        if not (project / "run.toml").exists():
            renma("init", str(project), "--sample", "character", one_thread=True)
        table["score"] = {"steps": arguments.steps, "seeds": arguments.seeds}
        for storage in STORAGES:
            table["score"][storage] = score(project, arguments, storage)
            print(storage, json.dumps(table["score"][storage]), flush=True)
            path.write_text(json.dumps(table, indent=1) + "\n")
        picture(arguments.work, arguments.out / "qlora.png")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/qlora"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--model", type=Path, nargs="*", default=[])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--only", choices=["memory", "score"])
    parser.add_argument("--weigh", choices=STORAGES, help=argparse.SUPPRESS)
    return parser.parse_args()


def memory(model: Path, size: int) -> dict[str, Any]:
    """Returns what each storage needs on a model."""
    found = {}
    for storage in STORAGES:
        command = [sys.executable, "-W", "ignore", __file__, "--weigh", storage]
        command += ["--model", str(model), "--size", str(size)]
        answer = subprocess.run(
            command, check=True, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, text=True
        )
        found[storage] = json.loads(answer.stdout.splitlines()[-1])
        print(model.name, storage, json.dumps(found[storage]), flush=True)
    return {"size": size, "storages": found}


def weighed(storage: str, model: Path, size: int) -> dict[str, float]:
    """Loads a U-Net and trains two steps in this process; returns MiB."""
    import torch

    from renma.config.adapter import Lora
    from renma.engine import lean
    from renma.engine.model import load_family
    from renma.engine.network import Network
    from renma.families._base import Condition

    base = resident("VmRSS")
    few = "none" if storage in ("fp32", "bf16") else storage
    given = ModelConfig.model_validate({"path": str(model), "quantize": few})
    precision = "fp32" if storage == "fp32" else "bf16"
    skip = ("vae", "text_encoder", "text_encoder_2")
    family: Any = load_family(given, device="cpu", precision=precision, skip=skip)
    unet = family.parts()["unet"]
    found = {
        "weights_mib": frozen_bytes(unet) / 2**20,
        "loading_peak_mib": resident("VmHWM") - base,
    }
    network = Network.fresh(family, Lora(rank=RANK, alpha=RANK), 0, ("unet",))
    network.attach()
    lean.apply(unet)
    trained = network.parameters("unet")
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    shape = argparse.Namespace(size=size, batch=1)
    times = []
    for index in range(3):  # the first one warms up
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # freed heap is no need
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        rest, began = resident("VmRSS"), time.process_time()
        latents, states = inputs(shape, unet.config.cross_attention_dim, index)
        predicted = family.predict(latents, torch.tensor([500]), Condition(states))
        (predicted.float() ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.process_time() - began)
        found["rest_mib"] = rest - base
        found["step_peak_mib"] = resident("VmHWM") - base
    return {**{k: round(v, 1) for k, v in found.items()}, "cpu_seconds": round(min(times), 2)}


def frozen_bytes(unet: Any) -> int:
    """Returns the bytes of a U-Net's weights as they are kept, codes and scales included."""
    scales = [s for m in unet.modules() if hasattr(m, "codes") for s in m.codes.scales()]
    tensors = [*unet.parameters(), *unet.buffers(), *scales]
    return sum({t.data_ptr(): t.nbytes for t in tensors}.values())


def score(project: Path, arguments: argparse.Namespace, storage: str) -> dict[str, Any]:
    """Returns means over the seeds of held-out loss, likeness and leakage, and each of them."""
    rows = [row(project, arguments, storage, seed) for seed in range(arguments.seeds)]
    means = {
        name: round(statistics.mean(one[name] for one in rows), 4)
        for name in ("base_loss", "loss", "likeness", "leakage")
    }
    return {**means, "each": rows}


def row(project: Path, arguments: argparse.Namespace, storage: str, seed: int) -> dict[str, float]:
    """Returns what one run learnt."""
    record = trained(project, arguments.work / f"{storage}-{seed}", storage, seed, arguments.steps)
    told = [event["loss"] for event in record.all("validated")]
    found = {"base_loss": round(told[0], 5), "loss": round(told[-1], 5)}
    reader = AttributeReader.load()
    for name, paths in drawn(arguments.work, storage, seed).items():
        pictures = [Image.open(path).convert("RGB") for path in paths]
        right = [
            read[attribute].label == label
            for read in reader.read(pictures)
            for attribute, label in WANTED.items()
        ]
        found[name] = round(statistics.mean(right), 4)
    return found


def trained(project: Path, folder: Path, storage: str, seed: int, steps: int) -> RunRecord:
    """Trains a run in this process, unless that is done, and returns it."""
    from renma.train import task

    if not any(event["kind"] == "finished" for event in _told(folder)):
        values = {
            "train.max_steps": steps,
            "train.seed": seed,
            "train.threads": 1,
            "train.precision": "bf16" if storage == "bf16" else "fp32",
            "model.quantize": "none" if storage in ("fp32", "bf16") else storage,
            "data.validation_split": 0.2,
            "data.validation_seed": seed,
            "data.reg_folder": "",
            "train.validate_every_epochs": 0,
            "train.save_every_steps": 0,
            "sample.every_steps": 0,
        }
        given = tuple(f"{key}={value}" for key, value in values.items())
        task.run(TrainOptions(run=project / "run.toml", set=given, out=folder), Silent())
    return RunRecord.open(folder)


def _told(folder: Path) -> tuple[dict[str, Any], ...]:
    return RunRecord.at(folder).events if (folder / "run.toml").exists() else ()


def drawn(work: Path, storage: str, seed: int) -> dict[str, list[Path]]:
    """Returns pictures of a run's LoRA on the ordinary model, the same noise for all storages."""
    record = RunRecord.open(work / f"fp32-{seed}")
    lora = RunRecord.open(work / f"{storage}-{seed}").need_checkpoints()[-1].path
    source = Source.of_run(record.run, record.path, lora)
    facts = source.facts()
    shared = {**source.basis(facts), "loras": (Shelf(None, {}).used("row", lora),)}
    side = facts.native_size
    same: dict[str, Any] = {"width": side, "height": side, "steps": DRAWING_STEPS, "scale": 4.0}
    cells = Cells(work / "cells", Silent())
    return {
        name: cells.paint(
            [
                Recipe(**shared, prompt=Prompt(text=text, seed=100 * seed + i, **same))
                for i in range(PICTURES)
            ]
        )
        for name, text in TEXTS.items()
    }


def picture(work: Path, target: Path) -> None:
    """Writes a row of pictures for each storage: four with the trigger, two without it."""
    rows = []
    for storage in STORAGES:
        found = drawn(work, storage, 0)
        rows.append([Image.open(p) for p in (*found["likeness"][:4], *found["leakage"][:2])])
    heads = ["with the trigger"] * 4 + ["without it"] * 2
    sheet(rows, row_labels=STORAGES, column_labels=heads).save(target, optimize=True)


if __name__ == "__main__":
    main()
