"""The LoRA file: tensors in kohya's naming, metadata that the usual tools read.

Nothing in it depends on the clock, the machine or the folder, so equal runs give equal bytes.
Metadata keys: kohya-ss/sd-scripts (``ss_*``, ``sshs_*``) and Stability's modelspec 1.0.1.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import renma
from renma import adapters
from renma.config import Run, dump
from renma.config.adapter import AdapterSection
from renma.config.targets import TargetConfig
from renma.core.errors import UserError
from renma.engine.model import DTYPES
from renma.engine.network import Network
from renma.families._base import Family
from renma.formats import safetensors
from renma.formats.lora_file import hashes
from renma.formats.metadata import scrub
from renma.formats.portability import portability
from renma.train.plan import Prepared, trained_parts


@dataclass(frozen=True)
class Progress:
    """How far the run is when a file is written."""

    step: int
    epoch: int
    steps: int


def save_lora(
    path: Path, network: Network, run: Run, prepared: Prepared, family: Family, progress: Progress
) -> None:
    """Writes one checkpoint atomically.

    Raises:
        UserError: a weight is NaN or infinite in the file's precision; the old file stays.
    """
    tensors = network.tensors(DTYPES[run.output.precision])
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise UserError(
            f"not saved: {len(bad)} of {len(tensors)} tensors hold NaN or infinite numbers in "
            f"{run.output.precision}",
            where=path,
            remedy="Lower optimizer.learning_rate; output.precision = 'fp32' holds larger numbers.",
        )
    level = run.output.metadata
    metadata = scrub(_minimal(run, family, network) | _full(run, prepared, family, progress), level)
    safetensors.save(
        path, tensors, metadata if level == "none" else metadata | hashes(tensors, metadata)
    )


def portability_of(network: Network) -> str:
    """Returns which programs cannot load a network's file, and the way out; empty if all can."""
    kinds = (adapters.kinds(member.adapter.tensors()) for member in network.members.values())
    troubles = portability(name for layer in kinds for name in layer)
    return f"not every program loads this file: {'. '.join(troubles)}" if troubles else ""


def _minimal(run: Run, family: Family, network: Network) -> dict[str, str]:
    return {
        "ss_v2": "False",
        "ss_base_model_version": family.base_version,
        **_network_facts(run.adapter),
        **(_in_force(network, run.start.ranks_from_file) if run.start.weights else {}),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{family.architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.prediction_type": "epsilon",
        "modelspec.title": run.output.title or run.output.name,
    }


_KOHYA = {"lora": "networks.lora", "lora_fa": "networks.lora_fa", "dylora": "networks.dylora"}
_LYCORIS = {"oft": "diag-oft"}
"""Names of algorithms in LyCORIS that differ from ours."""
_AS_ARGUMENTS = {
    "conv_rank": "conv_dim", "conv_alpha": "conv_alpha", "unit": "unit", "factor": "factor",
    "decompose_both": "decompose_both", "full_matrix": "full_matrix", "tucker": "use_tucker",
    "rank_dropout": "rank_dropout", "module_dropout": "module_dropout", "dropout": "dropout",
    "rank_stabilized": "rs_lora", "lr_ratio": "loraplus_lr_ratio", "constraint": "constraint",
}  # fmt: skip


def _network_facts(adapter: AdapterSection) -> dict[str, str]:
    """Returns what kohya's files say about the network; LyCORIS' algorithms in its own words."""
    plain = adapter.algorithm in _KOHYA and getattr(adapter, "dora", "off") == "off"
    arguments: dict[str, str] = {}
    if not plain:
        arguments["algo"] = _LYCORIS.get(adapter.algorithm, adapter.algorithm)
    if (side := getattr(adapter, "dora", "off")) != "off":
        arguments |= {"dora_wd": "True", "wd_on_output": str(side == "output")}
    defaults = type(adapter).model_fields
    for name, theirs in _AS_ARGUMENTS.items():
        value = getattr(adapter, name, None)
        if name in defaults and value not in (None, defaults[name].default):
            arguments[theirs] = str(value)
    if adapter.targets != TargetConfig():
        arguments["preset"] = adapter.targets.preset
    rank = getattr(adapter, "rank", None)
    alpha = getattr(adapter, "alpha", None)
    return {
        "ss_network_module": _KOHYA[adapter.algorithm] if plain else "lycoris.kohya",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str((alpha or float(rank)) if rank and alpha is not None else None),
        **({"ss_network_args": json.dumps(arguments)} if arguments else {}),
    }


def _in_force(network: Network, all_of_it: bool) -> dict[str, str]:
    """Returns algorithm, rank and alpha of a network that began with a file's own."""
    found: list[Any] = [member.adapter for member in network.members.values()]
    pairs = {(a.rank, a.rank * a.scale) for a in found if hasattr(a, "scale")}
    rank, alpha = pairs.pop() if len(pairs) == 1 else ("Dynamic", "Dynamic")
    facts = {"ss_network_dim": str(rank), "ss_network_alpha": str(alpha)} if found else {}
    if not all_of_it:
        return facts
    algorithms = {type(adapter).__module__.rpartition(".")[2] for adapter in found}
    dora = any(getattr(adapter, "magnitude", None) is not None for adapter in found)
    if len(algorithms) == 1 and algorithms <= _KOHYA.keys() and not dora:
        return facts | {"ss_network_module": _KOHYA[algorithms.pop()], "ss_network_args": "{}"}
    names = ", ".join(sorted(_LYCORIS.get(name, name) for name in algorithms))
    arguments = {"algo": names} | ({"dora_wd": "True"} if dora else {})
    return facts | {
        "ss_network_module": "lycoris.kohya",
        "ss_network_args": json.dumps(arguments),
    }


def _full(run: Run, prepared: Prepared, family: Family, progress: Progress) -> dict[str, str]:
    summary = prepared.summary
    first = prepared.scan.sets[0].dataset
    resolution = "x".join(map(str, first.resolution))
    values: dict[str, Any] = {
        **_training_facts(run, prepared, progress),
        **_caption_facts(prepared),
        "ss_datasets": json.dumps(_datasets(prepared), ensure_ascii=False),
        "ss_output_name": run.output.name,
        "ss_sd_model_name": "mame" if run.model.path == "mame" else Path(run.model.path).name,
        "renma_base_unet_hash": family.hashes["unet"],
        "ss_new_vae_hash": family.hashes["vae"],
        "ss_clip_skip": run.model.clip_skip if run.model.clip_skip > 1 else None,
        "ss_resolution": f"({first.resolution[0]}, {first.resolution[1]})",
        "ss_enable_bucket": first.enable_bucket,
        "ss_bucket_no_upscale": first.bucket_no_upscale,
        "ss_min_bucket_reso": first.min_bucket_reso,
        "ss_max_bucket_reso": first.max_bucket_reso,
        "ss_bucket_info": json.dumps(_bucket_info(prepared, 0)),
        "ss_dataset_dirs": json.dumps(summary["dataset_dirs"], ensure_ascii=False),
        "ss_reg_dataset_dirs": json.dumps(summary.get("reg_dataset_dirs", {}), ensure_ascii=False),
        "ss_tag_frequency": json.dumps(summary["tag_frequency"], ensure_ascii=False),
        "ss_training_comment": None,
        "modelspec.resolution": resolution,
        "modelspec.implementation_version": f"renma/{renma.__version__}",
        "renma_version": renma.__version__,
        "renma_run": dump(without_places(run)),
    }
    words = {
        "modelspec.author": run.output.author,
        "modelspec.trigger_phrase": run.output.trigger,
    }
    values |= {key: value for key, value in words.items() if value}
    return {key: str(value) for key, value in values.items()}


def _training_facts(run: Run, prepared: Prepared, progress: Progress) -> dict[str, Any]:
    parts, plan, optimizer = trained_parts(run), prepared.plan, run.optimizer
    warmup = getattr(run.schedule, "warmup", None)
    batch = prepared.scan.sets[0].dataset.batch_size
    return {
        "ss_seed": run.train.seed,
        "ss_steps": progress.step,
        "ss_epoch": progress.epoch,
        "ss_max_train_steps": progress.steps,
        "ss_num_epochs": math.ceil(plan.epochs),
        "ss_num_train_images": prepared.summary["train_showings"],
        "ss_num_reg_images": prepared.summary["reg_showings"],
        "ss_num_validation_images": 0,
        "ss_num_batches_per_epoch": plan.batches_per_epoch,
        "ss_batch_size_per_device": batch,
        "ss_total_batch_size": batch * run.train.gradient_accumulation_steps,
        "ss_gradient_accumulation_steps": run.train.gradient_accumulation_steps,
        "ss_gradient_checkpointing": run.train.gradient_checkpointing,
        "ss_learning_rate": optimizer.learning_rate,
        "ss_unet_lr": optimizer.rate("unet") if "unet" in parts else None,
        "ss_text_encoder_lr": optimizer.rate("text_encoder") if "text_encoder" in parts else None,
        "ss_lr_scheduler": run.schedule.name,
        "ss_lr_warmup_steps": warmup(progress.steps) if warmup else 0,
        "ss_optimizer": optimizer.name,
        "ss_max_grad_norm": run.train.max_grad_norm,
        "ss_mixed_precision": {"fp32": "no", "bf16": "bf16"}[run.train.precision],
        "ss_cache_latents": True,
        "ss_noise_offset": run.objective.noise_offset or None,
        "ss_min_snr_gamma": run.objective.min_snr_gamma or None,
        "ss_prior_loss_weight": run.objective.prior_loss_weight,
        "ss_loss_type": "l2",
    }


def _caption_facts(prepared: Prepared) -> dict[str, Any]:
    """Returns the caption options of the first training folder; ss_datasets has them all."""
    first = next(
        item.subset for s in prepared.scan.sets for item in s.items if not item.subset.is_reg
    )
    return {
        "ss_shuffle_caption": first.shuffle_caption,
        "ss_keep_tokens": first.keep_tokens,
        "ss_flip_aug": first.flip_aug,
        "ss_color_aug": False,
        "ss_random_crop": False,
        "ss_caption_dropout_rate": first.caption_dropout_rate,
        "ss_caption_dropout_every_n_epochs": first.caption_dropout_every_n_epochs,
        "ss_caption_tag_dropout_rate": first.caption_tag_dropout_rate,
    }


def _bucket_info(prepared: Prepared, set_index: int) -> dict[str, Any]:
    """Returns kohya's bucket table: running number to resolution and showings of an epoch."""
    counts: dict[tuple[int, int], int] = {}
    for batch in prepared.order.epoch(0):
        if batch.set_index == set_index:
            counts[batch.size] = counts.get(batch.size, 0) + len(batch.showings)
    buckets = {
        str(i): {"resolution": list(size), "count": counts[size]}
        for i, size in enumerate(sorted(counts))
    }
    return {"buckets": buckets}


def _datasets(prepared: Prepared) -> list[dict[str, Any]]:
    """Returns kohya's list of data sets, folders by their own names only."""
    rows = []
    for index, scanned in enumerate(prepared.scan.sets):
        dataset = scanned.dataset
        counts = {s.image_dir: 0 for s in dataset.subsets}
        for item in scanned.items:
            counts[item.subset.image_dir] += 1
        subsets = [
            {
                **s.model_dump(mode="json"),
                "image_dir": Path(s.image_dir).name,
                "img_count": counts[s.image_dir],
            }
            for s in dataset.subsets
        ]
        rows.append(
            {
                "is_dreambooth": True,
                "batch_size_per_device": dataset.batch_size,
                "resolution": list(dataset.resolution),
                "enable_bucket": dataset.enable_bucket,
                "bucket_info": _bucket_info(prepared, index),
                "subsets": subsets,
            }
        )
    return rows


def without_places(run: Run) -> Run:
    """Returns the run with folders cut to their own names: a file tells no one's disk layout."""

    def name(path: str) -> str:
        return Path(path).name if path else ""

    data = run.data
    datasets = tuple(
        d.model_copy(
            update={
                "subsets": tuple(
                    s.model_copy(update={"image_dir": name(s.image_dir)}) for s in d.subsets
                )
            }
        )
        for d in data.datasets
    )
    folders = {
        "train_folder": name(data.train_folder),
        "reg_folder": name(data.reg_folder),
        "datasets": datasets,
    }
    sample = run.sample.model_copy(update={"prompts_file": name(run.sample.prompts_file)})
    model = run.model.model_copy(update={"path": name(run.model.path)})
    start = run.start.model_copy(
        update={
            "weights": name(run.start.weights),
            "base_weights": tuple(map(name, run.start.base_weights)),
        }
    )
    targets = run.adapter.targets
    targets = targets.model_copy(update={"preset_file": name(targets.preset_file)})
    return run.model_copy(
        update={
            "data": data.model_copy(update=folders),
            "model": model,
            "sample": sample,
            "start": start,
            "adapter": run.adapter.model_copy(update={"targets": targets}),
        }
    )
