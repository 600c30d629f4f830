"""The parts of a run put together: model, caches, network, trainer.

Only what is needed is read: with latents and texts in the caches, neither VAE nor text encoders.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from renma.config import Run
from renma.core.events import Report
from renma.core.store import file_hash
from renma.engine import lean
from renma.engine.attention import set_attention
from renma.engine.begin import apply_base_weights, begin
from renma.engine.cycles import CycledNetwork
from renma.engine.latents import Latents, maker_of
from renma.engine.model import load_family, load_unet, pick_device
from renma.engine.network import Network
from renma.engine.offload import park
from renma.engine.text_cache import TextCache
from renma.engine.text_states import TextStates
from renma.families._base import Family
from renma.train.erase_lessons import EraseLessons
from renma.train.feed import Feed
from renma.train.lessons import Lessons, PictureLessons
from renma.train.loop import Trainer
from renma.train.plan import Prepared, trained_parts
from renma.train.previews import Previews
from renma.train.processes import Processes
from renma.train.source import Source

ENCODERS = ("text_encoder", "text_encoder_2")


def assemble(
    source: Source, prepared: Prepared, previews: Previews, processes: Processes, report: Report
) -> Trainer:
    """Returns the trainer of a run, at its first step.

    Args:
        source: the complete run.
        prepared: its plan and pictures.
        previews: what will be drawn; its words are encoded ahead.
        processes: who shares the work.
        report: told what is encoded and what is odd.

    Raises:
        UserError: a mistake that shows only now.
    """
    run = source.run
    begun = _begun_with(source)
    # pictures and texts are encoded before the U-Net takes its room on the device
    first = ("vae", *ENCODERS, "unet")
    device = pick_device(run.train.device)
    if run.train.precision == "bf16" and emulates_bf16(device):
        text = "this GPU does not compute in bf16 itself: train.precision = 'fp16' is faster here"
        report.event("warned", text=text)
    family = load_family(
        run.model,
        device=run.train.device,
        precision=run.train.precision,
        base=source.base,
        skip=first,
    )
    if run.start.base_weights:
        _load(family, ENCODERS)
        load_unet(family, run.model)
        apply_base_weights(family, run.start, source.base)
    feed = None if run.erase.on else _feed(source, prepared, family, processes, report)
    needs_vae = feed is not None and feed.needs_vae
    if not (previews.shots or needs_vae):
        family.release("vae")
    elif not needs_vae:
        _load(family, ("vae",))
        park(family, "vae")
    parts = tuple(part for part in trained_parts(run) if part in prepared.model.parts)
    text = None
    if set(parts) <= {"unet"}:
        known = feed.fixed_captions() if feed else [t for p in run.erase.prompts for t in p.texts]
        text = _texts(source, known, family, previews, processes, report)
    else:
        _load(family, ENCODERS)
    if family.device.type == "cuda":
        torch.cuda.empty_cache()  # what encoding took is free for the U-Net
    load_unet(family, run.model)
    network = begin(family, run.adapter, run.start, run.train.seed, parts, source.base, report)
    if run.relora.every_steps:
        network = CycledNetwork.of(network, run.relora)
    family.checkpoint_gradients(run.train.gradient_checkpointing)
    _make_lean(family, run, report)
    network.attach()
    lessons = _lessons(run, family, network, feed, text)
    return Trainer(run, prepared, family, network, lessons, processes, begun)


def _lessons(
    run: Run, family: Family, network: Network, feed: Feed | None, text: TextStates | None
) -> Lessons:
    if feed:
        return PictureLessons(run, family, network, feed, text)
    assert text, "[erase] trains no text encoder"
    return EraseLessons(run, family, network, text)


def emulates_bf16(device: torch.device) -> bool:
    """Says whether a GPU computes in bf16 only with the help of other precisions, slowly.

    The plan asks the driver (:mod:`renma.config.precision`); here torch knows the very device.
    """
    on_gpu = device.type == "cuda"
    return on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False)


def _begun_with(source: Source) -> dict[str, str]:
    """Returns digests of the LoRA files of [start], before they are read.

    Named by what they are for and called, not by where they lie: a project may be moved.
    """
    start = source.run.start
    named = {"start.weights": start.weights}
    named |= {f"start.base_weights[{i}]": name for i, name in enumerate(start.base_weights)}
    return {
        f"{role} ({Path(name).name})": file_hash(source.base / name)
        for role, name in named.items()
        if name
    }


def _make_lean(family: Family, run: Run, report: Report) -> None:
    """Has the frozen parts compute with less work and memory, see :mod:`renma.engine.lean`."""
    unet = family.parts()["unet"]
    set_attention(unet, run.model.attention)
    own = run.model.attention == "auto"
    done = lean.apply(unet, attention=own, pack_mib=run.train.pack_mib)
    report.event("lean", **done.facts())  # for those who look into events.jsonl; no one chose it
    for part in ENCODERS:
        if part in family.parts():
            lean.apply(family.parts()[part], attention=False)


def _feed(
    source: Source, prepared: Prepared, family: Family, processes: Processes, report: Report
) -> Feed:
    """Returns the batches, with every latent that can be cached in the cache."""
    run = source.run

    def with_vae() -> Family:
        _load(family, ("vae",))
        return family

    device = family.device.type
    latents = Latents(
        maker_of(family.hashes["vae"], family.name, device),
        with_vae,
        memory_mib=run.data.latents_in_memory,
        batch_size=run.data.vae_batch_size,
        warn=lambda text: report.event("warned", text=text),
    )
    feed = Feed(run, prepared, latents)
    wanted = feed.all_wanted()
    tell = _caching(report, "latents")
    latents.prepare(wanted[processes.rank :: processes.size], tell)
    if processes.size > 1:
        processes.wait()
        latents.prepare(wanted, tell)  # what the others have encoded
    return feed


def _texts(
    source: Source,
    fixed: list[str] | None,
    family: Family,
    previews: Previews,
    processes: Processes,
    report: Report,
) -> TextStates:
    """Returns the texts' states; where all are known ahead (fixed), the text encoders leave."""
    cache = TextCache(family, _made_by(source))
    text = TextStates(family, cache)
    if fixed is None or text.missing(fixed) or previews.missing(family, text):
        _load(family, ENCODERS)
    for turn in ("main", "others"):
        if processes.main == (turn == "main"):
            text.prepare(fixed or [], _caching(report, "captions"))
            previews.prepare(family, text)
        processes.wait()
    if fixed is not None:
        text.keep_all()
        for part in ENCODERS:
            if part in family.parts():
                family.release(part)
    return text


def _made_by(source: Source) -> list[object]:
    """Returns what decides the text encoder's output besides its weights."""
    run, start = source.run, source.run.start
    merged = [file_hash(source.base / name) for name in start.base_weights]
    model = run.model
    settings = (run.train.precision, model.clip_skip, model.max_tokens, model.weighted_captions)
    return [*settings, *merged, *start.base_strengths]


def _load(family: Family, parts: tuple[str, ...]) -> None:
    for part in parts:
        family.load(part)


def _caching(report: Report, what: str) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        report.event("caching", done=done, total=total, what=what)

    return progress
