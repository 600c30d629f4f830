"""Options that need no key: what renma does anyway, what changes nothing, what cannot be done."""

from __future__ import annotations

from typing import Literal

from renma.compat.draft import Draft

Verdict = Literal["always so", "without effect", "not supported"]

_CACHED = "latents are kept on disk by the picture's content and the model"
_WORKERS = "pictures are encoded once, so no worker processes are needed"
_SPEED = "changes speed only"
_DEEPSPEED = "DeepSpeed is not used: what is trained is small; quantize and checkpointing save more"
_CONSOLE = "renma's own screen; events.jsonl holds everything"
_UPLOAD = "renma sends nothing anywhere"
_NO_WANDB = "curves are written for TensorBoard only"
_RESUME = "sd-scripts' steps cannot be skipped; --resume with a renma folder goes on exactly"
_EDIT = "`renma file edit` writes it into the finished file"

RULES: dict[str, tuple[Verdict, str]] = {
    "cache_latents": ("always so", _CACHED),
    "cache_latents_to_disk": ("always so", _CACHED),
    "skip_cache_check": ("without effect", "the cache is keyed by content and cannot be stale"),
    "cache_info": ("without effect", "the list of pictures is read anew each time"),
    "cache_text_encoder_outputs": ("always so", "captions are encoded once where they can be"),
    "cache_text_encoder_outputs_to_disk": (
        "always so",
        "captions are encoded once where they can be",
    ),
    "disable_mmap_load_safetensors": ("without effect", _SPEED),
    "persistent_data_loader_workers": ("without effect", _WORKERS),
    "max_data_loader_n_workers": ("without effect", _WORKERS),
    "lowram": ("always so", "models are loaded straight to where they are used"),
    "highvram": ("without effect", _SPEED),
    "no_half_vae": ("always so", "the autoencoder always computes in fp32"),
    "torch_compile": ("without effect", _SPEED),
    "dynamo_backend": ("without effect", _SPEED),
    "fused_backward_pass": ("without effect", "not for LoRA, in sd-scripts either"),
    "cpu_offload_checkpointing": ("without effect", "saves memory only; what is kept stays there"),
    "ddp_gradient_as_bucket_view": ("without effect", _SPEED),
    "ddp_static_graph": ("without effect", _SPEED),
    "ddp_timeout": ("without effect", "processes wait for each other for six hours"),
    "deepspeed": ("without effect", _DEEPSPEED),
    "zero_stage": ("without effect", _DEEPSPEED),
    "zero3_init_flag": ("without effect", _DEEPSPEED),
    "zero3_save_16bit_model": ("without effect", _DEEPSPEED),
    "fp16_master_weights_and_gradients": ("without effect", _DEEPSPEED),
    "offload_optimizer_device": ("without effect", _DEEPSPEED),
    "offload_optimizer_nvme_path": ("without effect", _DEEPSPEED),
    "offload_param_device": ("without effect", _DEEPSPEED),
    "offload_param_nvme_path": ("without effect", _DEEPSPEED),
    "tokenizer_cache_dir": ("without effect", "the tokenizer comes with the model or with renma"),
    "console_log_level": ("without effect", _CONSOLE),
    "console_log_file": ("without effect", _CONSOLE),
    "console_log_simple": ("without effect", _CONSOLE),
    "log_prefix": ("without effect", "curves lie in tensorboard/ of the run's folder"),
    "log_tracker_name": ("without effect", "curves lie in tensorboard/ of the run's folder"),
    "log_tracker_config": ("without effect", _NO_WANDB),
    "log_config": ("always so", "run.toml and events.jsonl of the run's folder hold all settings"),
    "wandb_run_name": ("without effect", _NO_WANDB),
    "wandb_api_key": ("without effect", _NO_WANDB),
    "save_state": ("always so", "what resume needs is saved with every checkpoint"),
    "save_state_on_train_end": ("always so", "what resume needs is saved at the end"),
    "huggingface_repo_id": ("not supported", _UPLOAD),
    "huggingface_repo_type": ("without effect", _UPLOAD),
    "huggingface_path_in_repo": ("without effect", _UPLOAD),
    "huggingface_token": ("without effect", _UPLOAD),
    "huggingface_repo_visibility": ("without effect", _UPLOAD),
    "save_state_to_huggingface": ("not supported", _UPLOAD),
    "resume_from_huggingface": ("not supported", _UPLOAD),
    "async_upload": ("without effect", _UPLOAD),
    "initial_epoch": ("not supported", _RESUME),
    "initial_step": ("not supported", _RESUME),
    "skip_until_initial_step": ("without effect", "renma goes on where it stopped, to the batch"),
    "debug_dataset": ("not supported", "`renma check` shows pictures, buckets and captions"),
    "output_config": ("not supported", "`renma import-kohya` writes the run.toml"),
    "metadata_thumbnail": ("without effect", _EDIT),
    "metadata_merged_from": ("without effect", _EDIT),
    "metadata_preprocessor": ("without effect", _EDIT),
    "metadata_is_negative_embedding": ("without effect", _EDIT),
}
"""What becomes of an option, whatever its value."""


def fill(draft: Draft) -> None:
    """Speaks about every given option that nothing else has taken."""
    say = {"always so": draft.always, "without effect": draft.idle, "not supported": draft.refuse}
    for name, (verdict, why) in RULES.items():
        if draft.given.has(name) and name not in draft.rows:
            say[verdict](name, why)
