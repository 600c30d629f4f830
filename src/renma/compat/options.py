"""Every option of kohya-ss/sd-scripts' LoRA trainers: 193 of train_network.py, 3 more for SDXL.

Names, types and defaults are those of its parser at commit 48d368f (2026-02-16).
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from renma.config.sample import Sampler

Type = Literal["flag", "str", "int", "float", "int_or_float"]

_FLAGS = """
console_log_simple v2 v_parameterization cache_info shuffle_caption enable_wildcard color_aug
flip_aug random_crop debug_dataset cache_latents cache_latents_to_disk skip_cache_check
enable_bucket bucket_no_upscale alpha_mask save_state_to_huggingface resume_from_huggingface
async_upload save_state save_state_on_train_end mem_eff_attn torch_compile xformers sdpa
persistent_data_loader_workers gradient_checkpointing full_fp16 full_bf16 fp8_base
ddp_gradient_as_bucket_view ddp_static_graph log_config noise_offset_random_strength
ip_noise_gamma_random_strength zero_terminal_snr lowram highvram sample_at_first output_config
masked_loss deepspeed zero3_init_flag zero3_save_16bit_model fp16_master_weights_and_gradients
use_8bit_adam use_lion_optimizer fused_backward_pass scale_v_pred_loss_like_noise_pred
debiased_estimation_loss weighted_captions cpu_offload_checkpointing no_metadata fp8_base_unet
network_train_unet_only network_train_text_encoder_only dim_from_weights no_half_vae
skip_until_initial_step
"""
_VALUES = """
console_log_level:str=None console_log_file:str=None pretrained_model_name_or_path:str=None
tokenizer_cache_dir:str=None metadata_title:str=None metadata_author:str=None
metadata_description:str=None metadata_license:str=None metadata_tags:str=None
metadata_usage_hint:str=None metadata_thumbnail:str=None metadata_merged_from:str=None
metadata_trigger_phrase:str=None metadata_preprocessor:str=None
metadata_is_negative_embedding:str=None train_data_dir:str=None caption_separator:str=','
caption_extension:str='.caption' caption_extention:str=None keep_tokens:int=0
keep_tokens_separator:str='' secondary_separator:str=None caption_prefix:str=None
caption_suffix:str=None face_crop_aug_range:str=None resolution:str=None vae_batch_size:int=1
min_bucket_reso:int=256 max_bucket_reso:int=1024 bucket_reso_steps:int=64
resize_interpolation:str=None token_warmup_min:int=1 token_warmup_step:float=0.0
dataset_class:str=None caption_dropout_rate:float=0.0 caption_dropout_every_n_epochs:int=0
caption_tag_dropout_rate:float=0.0 reg_data_dir:str=None in_json:str=None dataset_repeats:int=1
output_dir:str=None output_name:str=None huggingface_repo_id:str=None
huggingface_repo_type:str=None huggingface_path_in_repo:str=None huggingface_token:str=None
huggingface_repo_visibility:str=None save_precision:str=None save_every_n_epochs:int=None
save_every_n_steps:int=None save_n_epoch_ratio:int=None save_last_n_epochs:int=None
save_last_n_epochs_state:int=None save_last_n_steps:int=None save_last_n_steps_state:int=None
resume:str=None train_batch_size:int=1 max_token_length:int=None dynamo_backend:str='inductor'
vae:str=None max_train_steps:int=1600 max_train_epochs:int=None max_data_loader_n_workers:int=8
seed:int=None gradient_accumulation_steps:int=1 mixed_precision:str='no' ddp_timeout:int=None
clip_skip:int=None logging_dir:str=None log_with:str=None log_prefix:str=None
log_tracker_name:str=None wandb_run_name:str=None log_tracker_config:str=None
wandb_api_key:str=None noise_offset:float=None multires_noise_iterations:int=None
ip_noise_gamma:float=None multires_noise_discount:float=0.3 adaptive_noise_scale:float=None
min_timestep:int=None max_timestep:int=None loss_type:str='l2' huber_schedule:str='snr'
huber_c:float=0.1 huber_scale:float=1.0 sample_every_n_steps:int=None
sample_every_n_epochs:int=None sample_prompts:str=None sample_sampler:str='ddim'
config_file:str=None prior_loss_weight:float=1.0 conditioning_data_dir:str=None zero_stage:int=2
offload_optimizer_device:str=None offload_optimizer_nvme_path:str=None
offload_param_device:str=None offload_param_nvme_path:str=None optimizer_type:str=''
learning_rate:float=2e-06 max_grad_norm:float=1.0 optimizer_args:str*=None
lr_scheduler_type:str='' lr_scheduler_args:str*=None lr_scheduler:str='constant'
lr_warmup_steps:int_or_float=0 lr_decay_steps:int_or_float=0 lr_scheduler_num_cycles:int=1
lr_scheduler_power:float=1.0 lr_scheduler_timescale:int=None lr_scheduler_min_lr_ratio:float=None
dataset_config:str=None min_snr_gamma:float=None v_pred_like_loss:float=None
save_model_as:str='safetensors' unet_lr:float=None text_encoder_lr:float*=None
network_weights:str=None network_module:str=None network_dim:int=None network_alpha:float=1.0
network_dropout:float=None network_args:str*=None training_comment:str=None
scale_weight_norms:float=None base_weights:str*=None base_weights_multiplier:float*=None
initial_epoch:int=None initial_step:int=None validation_seed:int=None validation_split:float=0.0
validate_every_n_steps:int=None validate_every_n_epochs:int=None max_validation_steps:int=None
"""
_SDXL_FLAGS = """
cache_text_encoder_outputs cache_text_encoder_outputs_to_disk disable_mmap_load_safetensors
"""
_CHOICES: dict[str, tuple[str, ...]] = {
    "mixed_precision": ("no", "fp16", "bf16"),
    "save_precision": ("float", "fp16", "bf16"),
    "save_model_as": ("ckpt", "pt", "safetensors"),
    "log_with": ("tensorboard", "wandb", "all"),
    "loss_type": ("l1", "l2", "huber", "smooth_l1"),
    "huber_schedule": ("constant", "exponential", "snr"),
    "sample_sampler": Sampler.__args__,
}
SECRET = frozenset({"huggingface_token", "wandb_api_key"})
"""Options whose values are written nowhere."""


@dataclass(frozen=True)
class Option:
    """One option of sd-scripts.

    Attributes:
        name: without the dashes.
        type: what a value is; a flag has none.
        many: whether it takes a list of values.
        default: the value when it is not given; False for a flag.
        sdxl: whether only sdxl_train_network.py has it.
        choices: the only values it takes, if they are listed.
    """

    name: str
    type: Type
    many: bool
    default: Any
    sdxl: bool = False
    choices: tuple[str, ...] = ()


@cache
def options() -> dict[str, Option]:
    """Returns all options of both scripts by name."""
    rows = [Option(name, "flag", False, False) for name in _FLAGS.split()]
    rows += [Option(name, "flag", False, False, sdxl=True) for name in _SDXL_FLAGS.split()]
    for entry in _VALUES.split():
        name, _, rest = entry.partition(":")
        kind, _, default = rest.partition("=")
        many = kind.endswith("*")
        value = ast.literal_eval(default)
        type_: Any = kind.rstrip("*")
        rows.append(Option(name, type_, many, value, choices=_CHOICES.get(name, ())))
    return {row.name: row for row in rows}
