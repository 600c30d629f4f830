"""Metadata of a LoRA file: kohya-ss/sd-scripts (``ss_*``) and Stability's modelspec 1.0.1.

Nothing in it depends on the clock, the machine or the folder, so equal runs give equal bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import renma
from renma.config import Run, dump
from renma.diffusion.schedule import NoiseSchedule
from renma.engine.network import Network
from renma.families._base import Family
from renma.train.dataset_metadata import dataset_facts
from renma.train.network_metadata import in_force, network_facts
from renma.train.places import without_places
from renma.train.plan import Prepared, trained_parts


@dataclass(frozen=True)
class Progress:
    """How far the run is when a file is written."""

    step: int
    epoch: int
    steps: int


def minimal(run: Run, family: Family, network: Network) -> dict[str, str]:
    """Returns what programs need to load the file."""
    v2 = family.base_version.startswith("sd_v2")
    return {
        "ss_v2": str(v2),
        "ss_base_model_version": family.base_version,
        **network_facts(run.adapter),
        **(in_force(network, run.start.ranks_from_file) if run.start.weights else {}),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{family.architecture}/lora",
        "modelspec.implementation": _IMPLEMENTATIONS.get(family.name, "diffusers"),
        "modelspec.prediction_type": _PREDICTIONS[
            family.scheduler_config.get("prediction_type", "epsilon")
        ],
        "modelspec.title": run.output.title or run.output.name,
    }


_IMPLEMENTATIONS = {"sdxl": "https://github.com/Stability-AI/generative-models"}
"""Whose names the layers have, in modelspec's words."""
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}


def full(run: Run, prepared: Prepared, family: Family, progress: Progress) -> dict[str, str]:
    """Returns how the file came to be: settings, data sets, tags, the whole run."""
    values: dict[str, Any] = {
        **_counts(run, prepared, progress),
        **_optimisation(run, progress),
        **_noise(run, family),
        **_model(run, family),
        **dataset_facts(prepared),
        "ss_output_name": run.output.name,
        "ss_training_comment": run.output.comment or None,
        "modelspec.implementation_version": f"renma/{renma.__version__}",
        "renma_version": renma.__version__,
        "renma_run": dump(without_places(run)),
    }
    if not prepared.scan.sets:
        values = {key: value for key, value in values.items() if key not in _ABOUT_PICTURES}
    values |= {f"modelspec.{name}": text for name, text in _words(run).items() if text}
    return {key: str(value) for key, value in values.items()}


_ABOUT_PICTURES = frozenset(
    {
        "ss_min_snr_gamma", "ss_loss_type", "ss_huber_schedule", "ss_huber_scale", "ss_huber_c",
        "ss_prior_loss_weight", "ss_debiased_estimation", "ss_noise_offset",
        "ss_noise_offset_random_strength", "ss_multires_noise_iterations",
        "ss_multires_noise_discount", "ss_adaptive_noise_scale", "ss_ip_noise_gamma",
        "ss_ip_noise_gamma_random_strength", "ss_cache_latents", "ss_new_vae_hash", "ss_vae_name",
    }
)  # fmt: skip
"""What means nothing where no picture was trained."""


def _words(run: Run) -> dict[str, str]:
    """Returns what the author says about the file, by modelspec's keys."""
    output = run.output
    return {
        "author": output.author,
        "trigger_phrase": output.trigger,
        "description": output.description,
        "license": output.license,
        "tags": output.tags,
        "usage_hint": output.usage_hint,
        "timestep_range": _timesteps(run),
        "encoder_layer": str(run.model.clip_skip) if run.model.clip_skip > 1 else "",
    }


def _timesteps(run: Run) -> str:
    low, high = run.objective.min_timestep, run.objective.max_timestep
    return "" if (low, high) == (0, 1000) else f"{low},{high}"


def _counts(run: Run, prepared: Prepared, progress: Progress) -> dict[str, Any]:
    return {
        "ss_seed": run.train.seed,
        "ss_steps": progress.step,
        "ss_max_train_steps": progress.steps,
        "ss_gradient_accumulation_steps": run.train.gradient_accumulation_steps,
        **(_pictures(run, prepared, progress) if prepared.scan.sets else {}),
    }


def _pictures(run: Run, prepared: Prepared, progress: Progress) -> dict[str, Any]:
    plan, summary = prepared.plan, prepared.summary
    batch = prepared.scan.sets[0].dataset.batch_size
    processes = max(1, run.train.processes)
    return {
        "ss_epoch": progress.epoch,
        "ss_num_epochs": math.ceil(plan.epochs),
        "ss_num_train_images": summary["train_showings"],
        "ss_num_reg_images": summary["reg_showings"],
        "ss_num_validation_images": plan.held_out,
        "ss_num_batches_per_epoch": plan.batches_per_epoch,
        "ss_batch_size_per_device": batch,
        "ss_total_batch_size": batch * run.train.gradient_accumulation_steps * processes,
    }


def _optimisation(run: Run, progress: Progress) -> dict[str, Any]:
    parts, optimizer, objective = trained_parts(run), run.optimizer, run.objective
    warmup = getattr(run.schedule, "warmup", None)
    text_rate = optimizer.rate("text_encoder")
    return {
        "ss_learning_rate": optimizer.learning_rate,
        "ss_unet_lr": optimizer.rate("unet") if "unet" in parts else None,
        "ss_text_encoder_lr": text_rate if "text_encoder" in parts else None,
        "ss_lr_scheduler": run.schedule.name,
        "ss_lr_warmup_steps": warmup(progress.steps) if warmup else 0,
        "ss_optimizer": optimizer.name,
        "ss_max_grad_norm": run.train.max_grad_norm,
        "ss_scale_weight_norms": getattr(run.adapter, "max_norm", 0) or None,
        "ss_network_dropout": getattr(run.adapter, "dropout", 0) or None,
        "ss_min_snr_gamma": objective.min_snr_gamma or None,
        "ss_loss_type": objective.loss,
        "ss_huber_schedule": objective.huber_schedule,
        "ss_huber_scale": objective.huber_scale,
        "ss_huber_c": objective.huber_c,
        "ss_prior_loss_weight": objective.prior_loss_weight,
        "ss_debiased_estimation": objective.debiased_estimation,
    }


def _noise(run: Run, family: Family) -> dict[str, Any]:
    objective = run.objective
    schedule = NoiseSchedule.of(family.scheduler_config, objective.zero_terminal_snr)
    return {
        "ss_noise_offset": objective.noise_offset or None,
        "ss_noise_offset_random_strength": objective.noise_offset_random_strength,
        "ss_multires_noise_iterations": objective.multires_noise_iterations or None,
        "ss_multires_noise_discount": objective.multires_noise_discount,
        "ss_adaptive_noise_scale": objective.adaptive_noise_scale or None,
        "ss_ip_noise_gamma": objective.ip_noise_gamma or None,
        "ss_ip_noise_gamma_random_strength": objective.ip_noise_gamma_random_strength,
        "ss_zero_terminal_snr": schedule.zero_terminal_snr,
    }


def _model(run: Run, family: Family) -> dict[str, Any]:
    model = run.model
    return {
        "ss_sd_model_name": "mame" if model.path == "mame" else Path(model.path).name,
        "ss_new_sd_model_hash": family.hashes["unet"],
        **({"ss_vae_name": Path(model.vae).name} if model.vae else {}),
        "ss_new_vae_hash": family.hashes["vae"],
        "ss_clip_skip": model.clip_skip if model.clip_skip > 1 else None,
        "ss_max_token_length": model.max_tokens if model.max_tokens > 75 else None,
        "ss_mixed_precision": {"fp32": "no"}.get(run.train.precision, run.train.precision),
        "ss_full_fp16": False,
        "ss_fp8_base": model.quantize == "fp8",
        "ss_gradient_checkpointing": run.train.gradient_checkpointing,
        "ss_cache_latents": True,
        "ss_lowram": False,
    }
