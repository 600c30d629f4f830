"""Seconds per step and peak memory: renma beside a plain PEFT + diffusers loop, same work.

    python benchmarks/train_step.py MODEL_FOLDER [--size 128] [--batch 4] [--steps 20] [--rounds 3]

Both train the same LoRA (same layers, rank, AdamW) of U-Net and text encoder on the same cached
latents, captions encoded in every step, fp32, in a process of their own each, one after the other
and again, so that a busy machine disturbs both. Reported are the ratios renma / peer of the
median CPU seconds of a step and of the peak resident memory; absolute numbers belong to a machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

CAPTION = "aa12, smile, white background"
RANK = 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=["renma", "peer"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(SUBJECTS[arguments.only](arguments)))
        return
    rows: dict[str, list[dict[str, Any]]] = {"renma": [], "peer": []}
    for _ in range(arguments.rounds):
        for name, found in rows.items():
            found.append(alone(name))
            print(name, found[-1], flush=True)
    result = summary(rows, arguments)
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def alone(name: str) -> dict[str, Any]:
    """Runs one subject in a fresh process."""
    command = [sys.executable, "-W", "ignore", *sys.argv, "--only", name]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def summary(rows: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns medians, best values and ratios."""
    middle = {n: statistics.median(r["seconds"] for r in found) for n, found in rows.items()}
    best = {n: min(r["fastest"] for r in found) for n, found in rows.items()}
    peak = {n: min(r["peak_mib"] for r in found) for n, found in rows.items()}
    names = ("size", "batch", "steps", "rounds", "precision")
    return {
        "model": arguments.model.name,
        **{name: getattr(arguments, name) for name in names},
        "cpu_seconds_per_step": middle,
        "fastest_step": best,
        "peak_mib": peak,
        "ratio_time": round(middle["renma"] / middle["peer"], 3),
        "ratio_fastest": round(best["renma"] / best["peer"], 3),
        "ratio_memory": round(peak["renma"] / peak["peer"], 3),
    }


def measure(step: Any, steps: int) -> dict[str, Any]:
    """Times ``step`` in CPU seconds of the whole process, after two steps of warm-up."""
    times = []
    for index in range(steps + 2):
        before = time.process_time()
        step(index)
        times.append(time.process_time() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": round(statistics.median(times[2:]), 4),
        "fastest": round(min(times[2:]), 4),
        "peak_mib": round(peak, 1),
    }


def moments(arguments: argparse.Namespace, index: int, factor: int = 8) -> Any:
    """Returns the same made-up latents for both."""
    import torch

    side = arguments.size // factor
    generator = torch.Generator().manual_seed(index)
    return torch.randn((arguments.batch, 4, side, side), generator=generator)


def renma_step(arguments: argparse.Namespace) -> dict[str, Any]:
    """The objective, network and optimizer of renma's own loop."""
    import torch

    from renma import optimizers
    from renma.config.adapter import Lora
    from renma.config.model import ModelConfig
    from renma.config.objective import ObjectiveConfig
    from renma.config.optimizer import AdamW
    from renma.diffusion.schedule import NoiseSchedule
    from renma.engine.model import load_family
    from renma.engine.network import Network
    from renma.train.objectives.denoise import Samples, loss
    from renma.train.objectives.draws import draw

    torch.set_num_threads(os.cpu_count() or 1)
    model = ModelConfig(path=str(arguments.model))
    family = load_family(model, device="cpu", precision=arguments.precision)
    family.release("vae")
    network = Network.fresh(family, Lora(rank=RANK, alpha=RANK), 0, ("unet", "text_encoder"))
    network.attach()
    groups = [{"params": network.parameters(p), "lr": 1e-4} for p in ("unet", "text_encoder")]
    optimizer = optimizers.build(groups, AdamW())
    trained = [p for group in groups for p in group["params"]]
    samples = Samples(torch.ones(arguments.batch))
    schedule = NoiseSchedule.of(family.scheduler_config)

    def step(index: int) -> None:
        latents = moments(arguments, index)
        pairs = [(m, torch.zeros_like(m)) for m in latents]
        places = [(0, index * arguments.batch + i) for i in range(arguments.batch)]
        draws = draw(pairs, places, 0, schedule, ObjectiveConfig())
        condition = family.encode_text([CAPTION] * arguments.batch)
        given = (family, schedule, draws, condition, samples, ObjectiveConfig())
        each = loss(*given, nullcontext)
        (each.sum() / arguments.batch).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return measure(step, arguments.steps)


def peer_step(arguments: argparse.Namespace) -> dict[str, Any]:
    """What diffusers' own LoRA examples do, on the same layers as kohya's LoRA."""
    import torch
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from peft import LoraConfig, get_peft_model
    from transformers import CLIPTextModel, CLIPTokenizer

    torch.set_num_threads(os.cpu_count() or 1)
    dtype = torch.float32 if arguments.precision == "fp32" else torch.bfloat16
    unet = UNet2DConditionModel.from_pretrained(arguments.model / "unet", dtype=dtype)
    text = CLIPTextModel.from_pretrained(arguments.model / "text_encoder", dtype=dtype)
    tokenizer = CLIPTokenizer.from_pretrained(arguments.model / "tokenizer")
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    unet_layers = r".*attentions.*(to_q|to_k|to_v|to_out\.0|proj_in|proj_out|net\.0\.proj|net\.2)"
    text_layers = r".*(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
    configs = [
        LoraConfig(r=RANK, lora_alpha=RANK, target_modules=x) for x in (unet_layers, text_layers)
    ]
    unet, text = get_peft_model(unet, configs[0]), get_peft_model(text, configs[1])
    trained = [p for m in (unet, text) for p in m.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def step(index: int) -> None:
        latents = moments(arguments, index)
        noise = torch.randn_like(latents)
        times = torch.randint(0, 1000, (arguments.batch,))
        noisy = scheduler.add_noise(latents, noise, times)
        tokens = tokenizer(
            [CAPTION] * arguments.batch,
            padding="max_length",
            max_length=77,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
            predicted = unet(noisy.to(dtype), times, text(tokens)[0]).sample
        loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return measure(step, arguments.steps)


SUBJECTS = {"renma": renma_step, "peer": peer_step}

if __name__ == "__main__":
    main()
