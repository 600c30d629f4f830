"""CPU seconds and memory of a training step: renma beside a plain PEFT + diffusers loop, same work.

    python benchmarks/train_step.py MODEL_FOLDER [--size 256] [--precision fp32] [--checkpointing]
        [--steps 4] [--batch 1] [--pack-mib 0] [--out FILE.json]

Both train the same LoRA (192 layers of an SD 1.5 U-Net as kohya's, rank 4, AdamW) on cached latents
and cached text states, each in a process of its own. The processes take turns step by step, so that
a busy machine disturbs both alike; what a step costs is its process' CPU seconds. Step memory is
the peak of resident memory within a step above what lies there between steps (weights, optimizer,
and renma's packed copies: ``rest_mib``), taken in two steps of their own, freed heap given back
before each. Ratios are renma / peer of the median; absolute numbers belong to a machine. ``--out``
keeps one cell for each size, precision and checkpointing; cells run one by one.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

RANK = 4
TOKENS = 77
WARM_UP, MEMORY_STEPS = 1, 2
CELL = ("size", "precision", "checkpointing", "batch", "pack_mib")
Step = Callable[[int], None]


def main() -> None:
    arguments = _arguments()
    if arguments.only:
        serve(SUBJECTS[arguments.only](arguments))
        return
    result = summary(compete(arguments), arguments)
    print(json.dumps(result, indent=2))
    if arguments.out:
        keep(arguments.out, result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--pack-mib", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="renma without its lean step")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=["renma", "peer"], help=argparse.SUPPRESS)
    return parser.parse_args()


def compete(arguments: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Lets both subjects step in turns; returns what each step cost, and first the size at rest."""
    subjects = {name: _start(name) for name in SUBJECTS}
    rows: dict[str, list[dict[str, float]]] = {name: [_answer(s)] for name, s in subjects.items()}
    for index in range(WARM_UP + MEMORY_STEPS + arguments.steps):
        for name, subject in subjects.items():
            _pipe(subject.stdin).write(f"{index}\n")
            _pipe(subject.stdin).flush()
            rows[name].append(_answer(subject))
            print(name, rows[name][-1], file=sys.stderr, flush=True)
    for subject in subjects.values():
        _pipe(subject.stdin).close()
        subject.wait()
    return rows


def _start(name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", *sys.argv, "--only", name]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def _answer(subject: subprocess.Popen[str]) -> dict[str, float]:
    for line in _pipe(subject.stdout):
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit(f"a subject ended with exit code {subject.wait()}")


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def summary(
    rows: dict[str, list[dict[str, float]]], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Returns medians, best values and ratios; the first answer is the size at rest."""
    result: dict[str, Any] = {"model": arguments.model.name, "steps": arguments.steps}
    result |= {name: getattr(arguments, name) for name in CELL} | {"lean": not arguments.plain}
    timed, weighed = slice(1 + WARM_UP + MEMORY_STEPS, None), slice(1 + WARM_UP, None)
    kinds = {"cpu_seconds": timed, "wall_seconds": timed, "step_mib": weighed}
    for title, part in kinds.items():
        counted = {
            n: [row[title] for row in found[part] if title in row] for n, found in rows.items()
        }
        middle = {n: round(statistics.median(values), 3) for n, values in counted.items()}
        least = {n: round(min(values), 3) for n, values in counted.items()}
        result[title] = {"median": middle, "least": least}
        result[f"ratio_{title}"] = {
            "median": round(middle["renma"] / middle["peer"], 3),
            "least": round(least["renma"] / least["peer"], 3),
        }
    result["rest_mib"] = {
        name: round(max(row.get("rest_mib", 0) for row in found), 1) for name, found in rows.items()
    }
    return result


def keep(path: Path, result: dict[str, Any]) -> None:
    """Puts a cell into the file of results, in place of an older one of the same kind."""
    cells = json.loads(path.read_text()) if path.exists() else []
    key = [result[name] for name in CELL]
    cells = [cell for cell in cells if [cell[name] for name in CELL] != key] + [result]
    cells.sort(key=lambda cell: [str(cell[name]) for name in CELL])
    path.write_text(json.dumps(cells, indent=2) + "\n")


def serve(step: Step) -> None:
    """Does a step for each line that comes in, and tells what it cost."""
    libc = ctypes.CDLL("libc.so.6")
    print(json.dumps({"rest_mib": resident("VmRSS")}), flush=True)
    for line in sys.stdin:
        index = int(line)
        weighing = WARM_UP <= index < WARM_UP + MEMORY_STEPS
        if weighing:  # costs time, so it is done in other steps than those timed
            libc.malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        rest, wall, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
        step(index)
        cost = {
            "cpu_seconds": time.process_time() - cpu,
            "wall_seconds": time.perf_counter() - wall,
        }
        if weighing:
            cost = {"step_mib": resident("VmHWM") - rest, "rest_mib": rest}
        print(json.dumps({name: round(value, 4) for name, value in cost.items()}), flush=True)


def resident(field: str) -> float:
    """Returns a field of Linux' account of this process' memory in MiB."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def inputs(arguments: argparse.Namespace, width: int, index: int, factor: int = 8) -> Any:
    """Returns the same made-up latents and text states for both."""
    import torch

    side = arguments.size // factor
    generator = torch.Generator().manual_seed(index)
    latents = torch.randn((arguments.batch, 4, side, side), generator=generator)
    return latents, torch.randn((arguments.batch, TOKENS, width), generator=generator)


def renma_step(arguments: argparse.Namespace) -> Step:
    """The objective, network, optimizer and lean step of renma's own loop."""
    import torch

    from renma import optimizers
    from renma.config.adapter import Lora
    from renma.config.model import ModelConfig
    from renma.config.objective import ObjectiveConfig
    from renma.config.optimizer import AdamW
    from renma.diffusion.schedule import NoiseSchedule
    from renma.engine import lean
    from renma.engine.model import load_family
    from renma.engine.network import Network
    from renma.families._base import Condition
    from renma.train.objectives.denoise import Samples, loss
    from renma.train.objectives.draws import draw

    torch.set_num_threads(os.cpu_count() or 1)
    model = ModelConfig(path=str(arguments.model))
    family: Any = load_family(model, device="cpu", precision=arguments.precision)
    family.release("vae")
    family.release("text_encoder")
    network = Network.fresh(family, Lora(rank=RANK, alpha=RANK), 0, ("unet",))
    network.attach()
    family.checkpoint_gradients(arguments.checkpointing)
    if not arguments.plain:
        lean.apply(family.parts()["unet"], pack_mib=arguments.pack_mib)
    trained = network.parameters("unet")
    optimizer = optimizers.build([{"params": trained, "lr": 1e-4}], AdamW())
    samples = Samples(torch.ones(arguments.batch))
    schedule = NoiseSchedule.of(family.scheduler_config)
    width = family.parts()["unet"].config.cross_attention_dim

    def step(index: int) -> None:
        latents, states = inputs(arguments, width, index)
        pairs = [(m, torch.zeros_like(m)) for m in latents]
        places = [(0, index * arguments.batch + i) for i in range(arguments.batch)]
        draws = draw(pairs, places, 0, schedule, ObjectiveConfig())
        given = (family, schedule, draws, Condition(states), samples, ObjectiveConfig())
        loss(*given, nullcontext).mean().backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def peer_step(arguments: argparse.Namespace) -> Step:
    """What diffusers' own LoRA examples do, on the same layers as kohya's LoRA."""
    import torch
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from peft import LoraConfig, get_peft_model

    torch.set_num_threads(os.cpu_count() or 1)
    dtype = torch.float32 if arguments.precision == "fp32" else torch.bfloat16
    unet = UNet2DConditionModel.from_pretrained(arguments.model / "unet", torch_dtype=dtype)
    width = unet.config.cross_attention_dim
    unet.requires_grad_(False)
    if arguments.checkpointing:
        unet.enable_gradient_checkpointing()
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    layers = r".*attentions.*(to_q|to_k|to_v|to_out\.0|proj_in|proj_out|net\.0\.proj|net\.2)"
    unet: Any = get_peft_model(unet, LoraConfig(r=RANK, lora_alpha=RANK, target_modules=layers))
    unet.train()
    trained = [p for p in unet.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def step(index: int) -> None:
        latents, states = inputs(arguments, width, index)
        noise = torch.randn_like(latents)
        times = torch.randint(0, 1000, (arguments.batch,))
        noisy = scheduler.add_noise(latents, noise, times)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
            predicted = unet(noisy.to(dtype), times, states.to(dtype)).sample
        loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


SUBJECTS: dict[str, Callable[[argparse.Namespace], Step]] = {
    "renma": renma_step,
    "peer": peer_step,
}

if __name__ == "__main__":
    main()
