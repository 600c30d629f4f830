"""The plan of a run, before anything is loaded: what will happen, what it costs, what is odd."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from renma.config import Run, costs, layer_table
from renma.config import estimate as arithmetic
from renma.config.adapter import AdapterSection, Paired
from renma.config.layer_table import Choice
from renma.config.prompts import read as read_prompts
from renma.core.errors import UserError
from renma.core.store import cache_folder, write_text
from renma.data import folder as folders
from renma.data.buckets import validate_sizes
from renma.data.order import Order
from renma.data.summary import summarise
from renma.formats.model_facts import ModelFacts, facts, notes
from renma.train import start_plan
from renma.train.oddities import adapter_oddities, oddities

_GUESS_GFLOPS_PER_CORE = 35.0
_FIXED_SECONDS = 15.0
"""Start, caching and saving of a small set."""


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    pictures: int
    reg_pictures: int
    showings_per_epoch: int
    batches_per_epoch: int
    steps: int
    epochs: float
    buckets: dict[str, int]
    parameters: int
    file_bytes: int
    memory_mib: float
    seconds: float
    seconds_known: bool
    """Whether the time comes from an earlier run on this machine, not from a guess."""
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns the plan for events, reports and ``--json``."""
        return asdict(self)


@dataclass(frozen=True)
class Prepared:
    """A plan with the scanned pictures it was made from."""

    plan: Plan
    scan: folders.Scan
    order: Order
    summary: dict[str, Any]
    flops: float
    """Floating-point operations of one optimizer step."""
    footing: costs.Footing
    """What memory depends on besides the adapter."""
    model: ModelFacts
    """What the base model on disk is."""


def prepare(run: Run, base: Path) -> Prepared:
    """Scans the pictures and does the arithmetic; no model is loaded.

    Args:
        run: the run.
        base: folder that relative paths start from.

    Raises:
        UserError: anything that would stop the run later.
    """
    _check_rates(run)
    told = read_prompts(run.sample, base).notes
    datasets = folders.expand(run.data, base)
    for dataset in datasets:
        validate_sizes(dataset)
    scan = folders.scan(datasets, run.data)
    order = Order(scan.sets, run.train.seed)
    summary = summarise(scan, order)
    model = facts(run.model.place(base), run.model, base)
    if model.problem:
        raise UserError(model.problem, where=model.place)
    steps = total_steps(run, order)
    stand = footing(run, model, order)
    chosen = trained_layers(run, run.adapter, stand.table, base)
    start_plan.check(run, base, stand.table)
    _check_groups(run, chosen)
    plan, flops = _costs(run, scan, order, model, steps)
    plan["parameters"] = sum(arithmetic.numbers(slot, own) for slot, own, _ in chosen)
    plan["file_bytes"] = arithmetic.file_bytes(chosen, run.output.precision)
    if run.start.ranks_from_file:
        count = start_plan.trained_numbers(run, base, trained_parts(run))
        plan["parameters"] = count
        plan["file_bytes"] = count * (4 if run.output.precision == "fp32" else 2)
    plan["memory_mib"] = round(costs.memory(chosen, stand).total)
    strange = (*oddities(run, scan.sets, steps), *adapter_oddities(run, chosen))
    strange += tuple(start_plan.overruled(run))
    odd = (*notes(model, run.model), *told, *scan.warnings, *summary.get("warnings", ()), *strange)
    return Prepared(Plan(**plan, warnings=odd), scan, order, summary, flops, stand, model)


def total_steps(run: Run, order: Order) -> int:
    """Returns the optimizer steps of the whole run; epochs decide where they are given."""
    if run.train.max_epochs is None:
        return run.train.max_steps
    batches = order.batches_in(run.train.max_epochs)
    return arithmetic.steps_of(batches, batches_per_step(run))


def batches_per_step(run: Run) -> int:
    """Returns the batches of one optimizer step, over all processes."""
    return run.train.gradient_accumulation_steps * max(1, run.train.processes)


def trained_parts(run: Run) -> tuple[str, ...]:
    """Returns which parts are trained: switched on and with a learning rate above 0.

    SDXL's second text encoder is among them for every family; others have no layers there.

    Raises:
        UserError: none is.
    """
    text = run.train.text_encoder
    wanted = {"unet": run.train.unet, "text_encoder": text, "text_encoder_2": text}
    parts = tuple(part for part, on in wanted.items() if on and run.optimizer.rate(part) > 0)
    if not parts:
        raise UserError(
            "nothing would be trained: U-Net and text encoder are off or have learning rate 0",
            remedy="Set train.unet = true and optimizer.learning_rate.",
        )
    return parts


def _check_rates(run: Run) -> None:
    """Refuses learning rates that the optimizer cannot have.

    Raises:
        UserError: Prodigy with two rates, or nothing to train.
    """
    rates = {part: run.optimizer.rate(part) for part in trained_parts(run)}
    if run.optimizer.name == "prodigy" and len(set(rates.values())) > 1:
        raise UserError(
            f"prodigy needs one learning rate for all parts, not {rates}",
            remedy="Leave optimizer.unet_lr and text_encoder_lr out.",
        )


def _check_groups(run: Run, chosen: Sequence[Choice]) -> None:
    """Refuses rates by block or by factor with an optimizer that finds one rate itself.

    Raises:
        UserError: Prodigy with block rates or LoRA+.
    """
    if run.optimizer.name != "prodigy":
        return
    adapter = run.adapter
    ratios = {1.0}
    if isinstance(adapter, Paired):
        ratios = {adapter.ratio(part) for part in trained_parts(run)}
    if len({rate for _, _, rate in chosen}) > 1 or ratios != {1.0}:
        raise UserError(
            "prodigy finds one learning rate for everything: block rates and LoRA+ need another "
            "optimizer",
            where="adapter.blocks" if ratios == {1.0} else "adapter.lr_ratio",
            remedy="Use optimizer.name = 'adamw', or leave them out.",
        )


def remember_speed(flops: float, seconds: float, precision: str) -> None:
    """Keeps the measured speed of this machine for the next plan."""
    if seconds > 0:
        write_text(_speed_file(precision), json.dumps({"flops_per_second": flops / seconds}))


def _known_speed(precision: str) -> float | None:
    try:
        return float(json.loads(_speed_file(precision).read_text())["flops_per_second"])
    except (OSError, ValueError, KeyError):
        return None


def _speed_file(precision: str) -> Path:
    return cache_folder() / "speed" / f"{precision}-{os.cpu_count()}.json"


def footing(run: Run, model: ModelFacts, order: Order) -> costs.Footing:
    """Returns what the run's memory depends on besides its adapter."""
    parts = trained_parts(run)
    frozen = {part: shapes for part, shapes in model.shapes.items() if part != "vae"}
    text = any(part in parts for part in frozen if part != "unet")
    kept = [part for part in frozen if part == "unet" or text]
    few = costs.QUANTISED_BYTES.get(run.model.quantize)
    packed = [s for n, s in frozen["unet"].items() if few and costs.is_quantised(n, s)]
    return costs.Footing(
        table=tuple(model.slots()),
        frozen_numbers=sum(math.prod(s) for part in kept for s in frozen[part].values()),
        frozen_bytes=4 if run.train.precision == "fp32" else 2,
        quantised_numbers=sum(map(math.prod, packed)),
        quantised_bytes=few or 0.0,
        optimizer=run.optimizer.name,
        pixels=max(b.size[0] * b.size[1] * len(b.showings) for b in order.epoch(0)),
        channels=model.channels,
        levels=costs.levels_of(frozen["unet"]),
        factor=model.latent_factor,
        checkpointing=run.train.gradient_checkpointing,
    )


def trained_layers(
    run: Run, adapter: AdapterSection, table: Iterable[layer_table.Slot], base: Path
) -> list[layer_table.Choice]:
    """Returns the layers of the trained parts that an adapter changes, each with its options.

    Raises:
        UserError: there are none.
    """
    parts = trained_parts(run)
    found = [c for c in layer_table.choose(adapter, table, base) if c[0].part in parts]
    if not found:
        raise UserError(
            f"the chosen layers are all outside of what is trained ({', '.join(parts)})",
            where="adapter.targets",
            remedy="Look at targets, and at unet and text_encoder in [train].",
        )
    return found


def _costs(
    run: Run, scan: folders.Scan, order: Order, model: ModelFacts, steps: int
) -> tuple[dict[str, Any], float]:
    """Returns the plan's counts and time, and the operations of one optimizer step."""
    batches = order.epoch(0)
    accumulation = batches_per_step(run)
    latent_pixels = (
        sum(len(b.showings) * b.size[0] * b.size[1] for b in batches) / model.latent_factor**2
    )
    forward = costs.forward_flops(model.shapes["unet"], 1000) / 1000 * latent_pixels / len(batches)
    flops = forward * (3 if run.train.gradient_checkpointing else 2) * accumulation
    known = _known_speed(run.train.precision)
    speed = known or _GUESS_GFLOPS_PER_CORE * 1e9 * (os.cpu_count() or 1)
    plan = {
        "pictures": sum(not i.subset.is_reg for s in scan.sets for i in s.items),
        "reg_pictures": sum(i.subset.is_reg for s in scan.sets for i in s.items),
        "showings_per_epoch": sum(len(b.showings) for b in batches),
        "batches_per_epoch": order.batches_per_epoch,
        "steps": steps,
        "epochs": round(steps * accumulation / order.batches_per_epoch, 2),
        "buckets": _bucket_counts(order),
        "seconds": round(_FIXED_SECONDS + steps * flops / speed),
        "seconds_known": known is not None,
    }
    return plan, flops


def _bucket_counts(order: Order) -> dict[str, int]:
    """Returns how many pictures each bucket holds, widest first."""
    counts: dict[str, int] = {}
    for fits in order.fits:
        for fit in fits:
            name = f"{fit.width}x{fit.height}"
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))
