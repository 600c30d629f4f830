"""Every option of sd-scripts has its meaning here, or a reason why not (E2, D1, D2, E13)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from renma.compat import manual
from renma.compat.options import options
from renma.compat.rules import RULES
from renma.config import Run, validate
from renma.config.views import from_kohya
from renma.core.errors import UserError

# option -> (words, what they make of run.toml); needs come after " ## " and are in the base too
TAKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "pretrained_model_name_or_path": (
        "--pretrained_model_name_or_path E:\\\\sd15.safetensors", {"model.path": "E:\\sd15.safetensors"}),
    "v2": ("--v2", {"model.family": "sd2"}),
    "v_parameterization": ("--v_parameterization ## --v2", {"model.prediction": "v_prediction"}),
    "vae": ("--vae C:/vae.pt", {"model.vae": "C:/vae.pt"}),
    "clip_skip": ("--clip_skip 2", {"model.clip_skip": 2}),
    "max_token_length": ("--max_token_length=225", {"model.max_tokens": 225}),
    "weighted_captions": ("--weighted_captions", {"model.weighted_captions": True}),
    "sdpa": ("--sdpa", {"model.attention": "sdpa"}),
    "mem_eff_attn": ("--mem_eff_attn", {"model.attention": "sdpa"}),
    "fp8_base": ("--fp8_base ## --mixed_precision bf16", {"model.quantize": "fp8"}),
    "fp8_base_unet": ("--fp8_base_unet ## --mixed_precision fp16", {"model.quantize": "fp8"}),
    "shuffle_caption": ("--shuffle_caption", {"data.shuffle_caption": True}),
    "enable_wildcard": ("--enable_wildcard", {"data.enable_wildcard": True}),
    "color_aug": ("--color_aug", {"data.color_aug": True}),
    "flip_aug": ("--flip_aug", {"data.flip_aug": True}),
    "random_crop": ("--random_crop", {"data.random_crop": True}),
    "alpha_mask": ("--alpha_mask", {"data.alpha_mask": True}),
    "enable_bucket": ("--enable_bucket", {"data.enable_bucket": True}),
    "bucket_no_upscale": ("--bucket_no_upscale", {"data.bucket_no_upscale": True}),
    "train_data_dir": ("--train_data_dir other", {"data.train_folder": "other"}),
    "reg_data_dir": ("--reg_data_dir reg", {"data.reg_folder": "reg"}),
    "caption_separator": ("--caption_separator ';'", {"data.caption_separator": ";"}),
    "caption_extension": ("--caption_extension txt", {"data.caption_extension": ".txt"}),
    "caption_extention": ("--caption_extention .txt", {"data.caption_extension": ".txt"}),
    "keep_tokens": ("--keep_tokens 2", {"data.keep_tokens": 2}),
    "keep_tokens_separator": ("--keep_tokens_separator '|||'", {"data.keep_tokens_separator": "|||"}),
    "secondary_separator": ("--secondary_separator ';;;'", {"data.secondary_separator": ";;;"}),
    "caption_prefix": ("--caption_prefix 'a photo'", {"data.caption_prefix": "a photo"}),
    "caption_suffix": ("--caption_suffix 4k", {"data.caption_suffix": "4k"}),
    "face_crop_aug_range": ("--face_crop_aug_range 2.0,4", {"data.face_crop_aug_range": (2.0, 4.0)}),
    "resolution": ("--resolution 512,768", {"data.resolution": (512, 768)}),
    "vae_batch_size": ("--vae_batch_size 2", {"data.vae_batch_size": 2}),
    "min_bucket_reso": ("--min_bucket_reso 128", {"data.min_bucket_reso": 128}),
    "max_bucket_reso": ("--max_bucket_reso 2048", {"data.max_bucket_reso": 2048}),
    "bucket_reso_steps": ("--bucket_reso_steps 32", {"data.bucket_reso_steps": 32}),
    "resize_interpolation": ("--resize_interpolation area", {"data.resize_interpolation": "area"}),
    "token_warmup_min": ("--token_warmup_min 3", {"data.token_warmup_min": 3}),
    "token_warmup_step": ("--token_warmup_step 0.5", {"data.token_warmup_step": 0.5}),
    "caption_dropout_rate": ("--caption_dropout_rate 0.1", {"data.caption_dropout_rate": 0.1}),
    "caption_dropout_every_n_epochs": (
        "--caption_dropout_every_n_epochs 3", {"data.caption_dropout_every_n_epochs": 3}),
    "caption_tag_dropout_rate": ("--caption_tag_dropout_rate .2", {"data.caption_tag_dropout_rate": 0.2}),
    "train_batch_size": ("--train_batch_size 4", {"data.batch_size": 4}),
    "validation_split": ("--validation_split 0.1", {"data.validation_split": 0.1}),
    "validation_seed": ("--validation_seed 7", {"data.validation_seed": 7}),
    "dataset_config": ("--dataset_config settings.toml", {"data.keep_tokens": 1}),
    "dataset_repeats": ("--dataset_repeats 3 ## --dataset_config settings.toml", {"data.num_repeats": 3}),
    "conditioning_data_dir": (
        "--conditioning_data_dir masks ## --dataset_config settings.toml",
        {"data.datasets.0.subsets.0.mask_dir": "masks"}),
    "in_json": ("--in_json meta.json", {"data.datasets.0.subsets.0.metadata_file": "meta.json"}),
    "network_module": ("--network_module networks.lora_fa", {"adapter.algo": "lora_fa"}),
    "network_dim": ("--network_dim 8", {"adapter.rank": 8}),
    "network_alpha": ("--network_alpha 0", {"adapter.alpha": 0.0}),
    "network_dropout": ("--network_dropout 0.1", {"adapter.dropout": 0.1}),
    "network_args": (
        '--network_args "conv_dim=4" "conv_alpha=2"',
        {"adapter.targets.preset": "conv", "adapter.conv_rank": 4, "adapter.conv_alpha": 2.0}),
    "scale_weight_norms": ("--scale_weight_norms 1", {"adapter.max_norm": 1.0}),
    "network_weights": ("--network_weights a.safetensors", {"start.weights": "a.safetensors"}),
    "dim_from_weights": ("--dim_from_weights ## --network_weights a", {"start.ranks_from_file": True}),
    "base_weights": ("--base_weights a b", {"start.base_weights": ("a", "b")}),
    "base_weights_multiplier": (
        "--base_weights_multiplier 0.5 -1 ## --base_weights a b", {"start.base_strengths": (0.5, -1.0)}),
    "optimizer_type": ("--optimizer_type Prodigy", {"optimizer.name": "prodigy"}),
    "use_8bit_adam": ("--use_8bit_adam", {"optimizer.name": "adamw8bit"}),
    "use_lion_optimizer": ("--use_lion_optimizer", {"optimizer.name": "lion"}),
    "optimizer_args": (
        "--optimizer_args weight_decay=0.1 betas=.9,.99",
        {"optimizer.weight_decay": 0.1, "optimizer.betas": (0.9, 0.99)}),
    "learning_rate": ("--learning_rate 5e-4", {"optimizer.learning_rate": 5e-4}),
    "unet_lr": ("--unet_lr 1e-3", {"optimizer.unet_lr": 1e-3}),
    "text_encoder_lr": ("--text_encoder_lr 1e-5", {"optimizer.text_encoder_lr": 1e-5}),
    "lr_scheduler": ("--lr_scheduler cosine", {"schedule.name": "cosine"}),
    "lr_scheduler_type": (
        "--lr_scheduler_type StepLR", {"schedule.class_path": "torch.optim.lr_scheduler.StepLR"}),
    "lr_scheduler_args": (
        "--lr_scheduler_args step_size=30 ## --lr_scheduler_type StepLR", {"schedule.args": {"step_size": 30}}),
    "lr_warmup_steps": ("--lr_warmup_steps 10% ## --lr_scheduler linear", {"schedule.warmup_steps": 0.1}),
    "lr_decay_steps": (
        "--lr_decay_steps 50 ## --lr_scheduler warmup_stable_decay", {"schedule.decay_steps": 50}),
    "lr_scheduler_num_cycles": (
        "--lr_scheduler_num_cycles=4 ## --lr_scheduler=cosine_with_restarts", {"schedule.num_cycles": 4}),
    "lr_scheduler_power": ("--lr_scheduler_power 2 ## --lr_scheduler polynomial", {"schedule.power": 2.0}),
    "lr_scheduler_timescale": (
        "--lr_scheduler_timescale 100 ## --lr_scheduler inverse_sqrt", {"schedule.timescale": 100}),
    "lr_scheduler_min_lr_ratio": (
        "--lr_scheduler_min_lr_ratio 0.3 ## --lr_scheduler cosine_with_min_lr", {"schedule.min_lr_ratio": 0.3}),
    "prior_loss_weight": ("--prior_loss_weight 0.5", {"objective.prior_loss_weight": 0.5}),
    "noise_offset": ("--noise_offset 0.05", {"objective.noise_offset": 0.05}),
    "noise_offset_random_strength": (
        "--noise_offset_random_strength", {"objective.noise_offset_random_strength": True}),
    "adaptive_noise_scale": ("--adaptive_noise_scale 0.01", {"objective.adaptive_noise_scale": 0.01}),
    "multires_noise_iterations": ("--multires_noise_iterations 6", {"objective.multires_noise_iterations": 6}),
    "multires_noise_discount": ("--multires_noise_discount 0.4", {"objective.multires_noise_discount": 0.4}),
    "ip_noise_gamma": ("--ip_noise_gamma 0.1", {"objective.ip_noise_gamma": 0.1}),
    "ip_noise_gamma_random_strength": (
        "--ip_noise_gamma_random_strength", {"objective.ip_noise_gamma_random_strength": True}),
    "min_timestep": ("--min_timestep 10", {"objective.min_timestep": 10}),
    "max_timestep": ("--max_timestep 900", {"objective.max_timestep": 900}),
    "loss_type": ("--loss_type huber", {"objective.loss": "huber"}),
    "huber_schedule": ("--huber_schedule constant", {"objective.huber_schedule": "constant"}),
    "huber_c": ("--huber_c 0.2", {"objective.huber_c": 0.2}),
    "huber_scale": ("--huber_scale 2", {"objective.huber_scale": 2.0}),
    "min_snr_gamma": ("--min_snr_gamma 5", {"objective.min_snr_gamma": 5.0}),
    "debiased_estimation_loss": ("--debiased_estimation_loss", {"objective.debiased_estimation": True}),
    "scale_v_pred_loss_like_noise_pred": (
        "--scale_v_pred_loss_like_noise_pred", {"objective.scale_v_pred_loss_like_noise_pred": True}),
    "v_pred_like_loss": ("--v_pred_like_loss 0.1", {"objective.v_pred_like_loss": 0.1}),
    "zero_terminal_snr": ("--zero_terminal_snr", {"objective.zero_terminal_snr": True}),
    "max_train_steps": ("--max_train_steps 800", {"train.max_steps": 800}),
    "max_train_epochs": ("--max_train_epochs 3", {"train.max_epochs": 3}),
    "seed": ("--seed 7", {"train.seed": 7}),
    "network_train_unet_only": ("--network_train_unet_only", {"train.text_encoder": False}),
    "network_train_text_encoder_only": ("--network_train_text_encoder_only", {"train.unet": False}),
    "mixed_precision": ("--mixed_precision fp16", {"train.precision": "fp16"}),
    "gradient_accumulation_steps": (
        "--gradient_accumulation_steps 4", {"train.gradient_accumulation_steps": 4}),
    "gradient_checkpointing": ("--gradient_checkpointing", {"train.gradient_checkpointing": True}),
    "max_grad_norm": ("--max_grad_norm 0.0", {"train.max_grad_norm": 0.0}),
    "save_every_n_steps": ("--save_every_n_steps 100", {"train.save_every_steps": 100}),
    "save_every_n_epochs": ("--save_every_n_epochs 10", {"train.save_every_epochs": 10}),
    "save_n_epoch_ratio": ("--save_n_epoch_ratio 3 ## --max_train_epochs 10", {"train.save_every_epochs": 3}),
    "save_last_n_epochs": ("--save_last_n_epochs 3 ## --save_every_n_epochs 1", {"train.keep_checkpoints": 3}),
    "save_last_n_steps": ("--save_last_n_steps 200 ## --save_every_n_steps 100", {"train.keep_checkpoints": 3}),
    "save_last_n_epochs_state": ("--save_last_n_epochs_state 4", {"train.keep_states": 4}),
    "save_last_n_steps_state": (
        "--save_last_n_steps_state 400 ## --save_every_n_steps 100", {"train.keep_states": 5}),
    "validate_every_n_steps": ("--validate_every_n_steps 50", {"train.validate_every_steps": 50}),
    "validate_every_n_epochs": ("--validate_every_n_epochs 2", {"train.validate_every_epochs": 2}),
    "max_validation_steps": ("--max_validation_steps 9", {"train.max_validation_batches": 9}),
    "logging_dir": ("--logging_dir logs", {"train.tensorboard": True}),
    "log_with": ("--log_with tensorboard", {"train.tensorboard": True}),
    "sample_every_n_steps": ("--sample_every_n_steps 50", {"sample.every_steps": 50}),
    "sample_every_n_epochs": ("--sample_every_n_epochs 1", {"sample.every_epochs": 1}),
    "sample_at_first": ("--sample_at_first", {"sample.at_first": True}),
    "sample_sampler": ("--sample_sampler euler_a", {"sample.sampler": "euler_a"}),
    "sample_prompts": (
        "--sample_prompts prompts.txt", {"sample.prompts_file": "prompts.txt", "sample.steps": 30}),
    "output_name": ("--output_name mine", {"output.name": "mine"}),
    "save_precision": ("--save_precision bf16", {"output.precision": "bf16"}),
    "no_metadata": ("--no_metadata", {"output.metadata": "minimal"}),
    "training_comment": ("--training_comment hello", {"output.comment": "hello"}),
    "metadata_title": ("--metadata_title t", {"output.title": "t"}),
    "metadata_author": ("--metadata_author a", {"output.author": "a"}),
    "metadata_description": ("--metadata_description d", {"output.description": "d"}),
    "metadata_license": ("--metadata_license MIT", {"output.license": "MIT"}),
    "metadata_tags": ("--metadata_tags a,b", {"output.tags": "a,b"}),
    "metadata_usage_hint": ("--metadata_usage_hint u", {"output.usage_hint": "u"}),
    "metadata_trigger_phrase": ("--metadata_trigger_phrase aa12", {"output.trigger": "aa12"}),
}  # fmt: skip
ELSEWHERE = {
    "xformers",  # "auto" takes it where it is installed
    "full_fp16", "full_bf16",  # adapter weights are always fp32
    "masked_loss",  # masks always count
    "save_model_as", "resume", "dataset_class",  # refused, but for what is so anyway
    "output_dir", "config_file",  # the door's own: test_trainer, test_source
}  # fmt: skip
"""Options tested by name elsewhere."""


def flat(table: Any, above: str = "") -> dict[str, Any]:
    """Dotted keys of nested tables (and of tables in lists, by number) to their values."""
    if isinstance(table, list | tuple) and table and isinstance(table[0], dict):
        table = {str(number): row for number, row in enumerate(table)}
    if not isinstance(table, dict) or not table:
        return {above: table}
    rows = (flat(value, f"{above}.{key}" if above else key) for key, value in table.items())
    found = {key: value for row in rows for key, value in row.items()}
    return found | ({above: table} if above else {})


def run_of(made) -> dict[str, Any]:
    return flat(validate(Run, made.raw, "test").model_dump())


def test_there_are_193_and_3_options():
    assert sum(not option.sdxl for option in options().values()) == 193
    assert sum(option.sdxl for option in options().values()) == 3


def test_the_list_is_that_of_the_facts():
    """Names, types and defaults, where the collected facts about sd-scripts lie at hand."""
    facts = Path(os.environ.get("RENMA_REFERENCE", "nowhere")) / "kohya.md"
    if not facts.exists():
        pytest.skip("RENMA_REFERENCE names no folder with kohya.md")
    block = facts.read_text(encoding="utf-8").split("### 5.12", 1)[1].split("```")[1]
    flags, values = block.split("VALUES")
    found = dict.fromkeys(re.findall(r"\w+", flags.split(":", 1)[1]), "flag")
    found |= dict(re.findall(r"(\w+):([\w*]+)=", values.split("):", 1)[1]))
    ours = {o.name: o.type + "*" * o.many for o in options().values() if not o.sdxl}
    assert ours == {n: "str" if t == "Path" else t for n, t in found.items()}
    defaults = dict(re.findall(r"(\w+):[\w*]+=([^\s,]+)", values.split("):", 1)[1]))
    for name in ("huber_c", "max_bucket_reso", "learning_rate", "network_alpha", "zero_stage"):
        assert float(defaults[name]) == options()[name].default


def test_every_option_is_spoken_about_once():
    for name in options():
        assert manual.handled(name), name
    both = RULES.keys() & (from_kohya().keys() | manual.SPOKEN.keys())
    assert both == set(), "the schema has them now: no verdict is needed"
    assert TAKEN.keys() | RULES.keys() | ELSEWHERE == options().keys()


@pytest.mark.parametrize("option", TAKEN)
def test_taken_options_change_the_run(option, draft):
    text, expected = TAKEN[option]
    words, _, needs = text.partition(" ## ")
    before, made = run_of(draft(needs)), draft(f"{needs} {words}")
    after = run_of(made)
    assert {key: after.get(key) for key in expected} == expected
    assert any(before.get(key) != value for key, value in expected.items())
    assert made.rows[option].kind in ("taken", "renamed")
    assert made.rows[option].became


@pytest.mark.parametrize("option", RULES)
def test_verdicts_reach_the_user(option, draft):
    verdict, reason = RULES[option]
    kind = options()[option]
    value = {"flag": "", "int": "1", "float": "1"}.get(kind.type, "x")
    made = draft(f"--{option} {value}", sdxl=kind.sdxl)
    assert (made.rows[option].kind, made.rows[option].why) == (verdict, reason)
    assert flat(made.raw) == flat(draft("", sdxl=kind.sdxl).raw)


def test_defaults_that_differ_are_written_out(draft):
    """What sd-scripts does when nothing is said, as far as renma does otherwise by itself."""
    made = draft(base="--pretrained_model_name_or_path mame --train_data_dir train --resolution 64")
    run = run_of(made)
    assert run["data.caption_extension"] == ".caption"
    assert run["train.precision"] == "fp32"
    assert run["output.precision"] == "fp32"
    assert run["optimizer.learning_rate"] == 2e-6
    assert (run["adapter.rank"], run["adapter.alpha"]) == (4, 1.0)
    assert run["output.name"] == "last"
    assert run["model.prediction"] == "epsilon"
    assert run["train.tensorboard"] is False
    assert run["train.max_steps"] == 1600
    assert any("2e-06" in text for text in made.warnings), "the trap is named"
    assert made.rows["seed"].kind == "default"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--full_bf16", "--full_bf16: needs mixed precision bf16"),
        ("--fp8_base", "--fp8_base: needs mixed precision"),
        ("--lr_warmup_steps 10", "a constant rate has no warm-up"),
        ("--use_8bit_adam --use_lion_optimizer", "both name an optimizer"),
        ("--use_8bit_adam --optimizer_type Lion", "both name an optimizer"),
        ("--optimizer_type AdamV", "Did you mean 'adamw'?"),
        ("--lr_scheduler cosin", "Did you mean 'cosine'?"),
        ("--lr_scheduler adafactor", "relative_step=True"),
        ("--network_module networks.loha", "'networks.loha' is not known"),
        ("--network_args conv_rank=4", "has no argument 'conv_rank'"),
        ("--network_args rank_dropot=4", "Did you mean 'rank_dropout'?"),
        ("--network_args conv_rank=8", "Did you mean 'conv_dim'?"),
        ("--network_args conv_dim", "not of the form key=value"),
        ("--network_args conv_dim=many", "is no number"),
        ("--network_module networks.dylora --network_args conv_dim=8", "to be the same"),
        ("--network_module lycoris.kohya --network_args preset=fulll", "Did you mean 'full"),
        ("--network_train_unet_only --network_train_text_encoder_only", "nothing would be trained"),
        ("--resolution big", "'big' is no size"),
        ("--caption_dropout_rate 1.5", "--caption_dropout_rate"),
        ("--optimizer_args weigth_decay=1", "Did you mean 'weight_decay'?"),
        ("--sample_prompts 'a, b'", "is no file of prompts"),
        ("--clip_skip 0", "--clip_skip"),
        ("--text_encoder_lr", "--text_encoder_lr: needs a value"),
    ],
)
def test_what_cannot_be_is_one_line(words, said, draft):
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        draft(words)
    assert "\n" not in caught.value.line()


def test_sdxl_is_another_script(draft):
    run = run_of(draft("--cache_text_encoder_outputs", sdxl=True))
    assert run["model.family"] == "sdxl"
    made = draft("--clip_skip 2 --text_encoder_lr 1e-5 2e-5", sdxl=True)
    assert made.rows["clip_skip"].kind == "without effect"
    assert run_of(made)["optimizer.text_encoder_2_lr"] == 2e-5
    with pytest.raises(UserError, match="Only sdxl_train_network has it"):
        draft("--cache_text_encoder_outputs")
    with pytest.raises(UserError, match="SDXL is not Stable Diffusion 2"):
        draft("--v2", sdxl=True)


def test_refused_values(draft):
    for words, option in (
        ("--save_model_as ckpt", "save_model_as"),
        ("--resume state", "resume"),
        ("--dataset_class a.B", "dataset_class"),
        ("--network_module networks.oft", "network_module"),
        ("--network_module lycoris.kohya --network_args algo=boft", "network_args"),
        ("--network_module lycoris.kohya --network_args use_scalar=True", "network_args"),
    ):
        assert draft(words).rows[option].kind == "not supported", words
    assert draft("--save_model_as safetensors").rows["save_model_as"].kind == "always so"
    assert draft("--masked_loss").rows["masked_loss"].kind == "always so"
    assert draft("--xformers").rows["xformers"].became == 'model.attention = "auto"'


def test_the_data_set_file_wins_over_the_command_line(draft):
    """sd-scripts looks at subset, data set, general and then the command line."""
    made = draft(
        "--dataset_config settings.toml --keep_tokens 5 --caption_prefix p --train_batch_size 2"
    )
    run = run_of(made)
    assert run["data.keep_tokens"] == 1
    assert run["data.caption_prefix"] == "p"
    assert run["data.datasets.0.batch_size"] == 1
    assert made.rows["keep_tokens"].kind == "without effect"
    assert made.rows["train_data_dir"].kind == "without effect"
    assert run["data.train_folder"] == ""
