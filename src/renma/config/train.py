"""[train], [output], [judge]: the run itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from renma.config._base import Section, opt


class TrainConfig(Section):
    """How long, how precise, what is kept."""

    max_steps: int = opt(1600, kohya="max_train_steps", ge=1, le=10_000_000)
    """Optimizer steps of the whole run."""
    max_epochs: int | None = opt(None, kohya="max_train_epochs", ge=1, strict=True)
    """Epochs of the whole run; decides instead of `max_steps` when given."""
    seed: int = opt(42, kohya="seed", ge=0)
    """The number that every random draw follows from."""
    text_encoder: bool = opt(True, kohya="network_train_unet_only")
    """Train the text encoder too; off saves memory and lets captions be encoded once."""
    unet: bool = opt(True, kohya="network_train_text_encoder_only")
    """Train the U-Net."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = opt("auto", kohya="mixed_precision")
    """Precision of the frozen model's arithmetic; adapter weights always stay fp32. `auto` is bf16
    where the processor computes in it, else fp32. fp16 scales the loss so that small gradients
    survive."""
    gradient_accumulation_steps: int = opt(1, kohya="gradient_accumulation_steps", ge=1)
    """Batches that each process averages into one optimizer step."""
    gradient_checkpointing: bool = opt(False, kohya="gradient_checkpointing")
    """Compute activations twice to keep fewer: about a third slower, far less memory."""
    max_grad_norm: float = opt(1.0, "advanced", kohya="max_grad_norm", ge=0)
    """Longer gradients are cut to this norm (0 = never)."""
    save_every_steps: int = opt(0, kohya="save_every_n_steps", ge=0)
    """Keep a checkpoint every n steps (0 = only by epoch or at the end)."""
    save_every_epochs: int = opt(0, kohya="save_every_n_epochs", ge=0)
    """Keep a checkpoint every n epochs."""
    keep_checkpoints: int = opt(0, kohya="save_last_n_epochs", ge=0)
    """Keep only the newest n checkpoints, beside the final file (0 = all)."""
    keep_states: int = opt(2, "advanced", kohya="save_last_n_epochs_state", ge=1)
    """States that resume can go back to; the newest, and others in case it is damaged."""
    validate_every_steps: int = opt(0, "advanced", kohya="validate_every_n_steps", ge=0)
    """Measure the loss on held-out pictures every n steps (data.validation_split)."""
    validate_every_epochs: int = opt(1, "advanced", kohya="validate_every_n_epochs", ge=0)
    """Measure the loss on held-out pictures every n epochs."""
    max_validation_batches: int = opt(0, "expert", kohya="max_validation_steps", ge=0)
    """Use at most so many held-out batches (0 = all)."""
    state_every_minutes: float = opt(5.0, "advanced", ge=0)
    """Save what resume needs at least this often, besides every checkpoint (0 = only there)."""
    max_bad_steps: int = opt(10, "expert", ge=1)
    """So many steps in a row with NaN or infinite loss end the run; single ones are skipped."""
    pack_mib: int = opt(0, "expert", ge=0)
    """Memory in MiB for copies of frozen convolution weights in the order that a processor (not a
    GPU) wants them, which saves re-ordering them in every step; 0 = none."""
    threads: int = opt(0, "expert", ge=0)
    """Processor threads (0 = all); the same number gives the same file, bit by bit."""
    processes: int = opt(0, "advanced", ge=0)
    """How many processes share the work, one a GPU (0 = as many as torchrun or accelerate
    started); a launcher that started another number is an error."""
    device: Literal["auto", "cpu", "cuda"] = opt("auto", "advanced")
    """Where to compute."""
    tensorboard: bool = opt(True, "advanced", kohya="log_with")
    """Write loss and rates for TensorBoard into `tensorboard/`."""


class OutputConfig(Section):
    """The LoRA file."""

    name: str = opt("lora", kohya="output_name", pattern=r"^[^/\\\x00-\x1f:*?\"<>|]{1,100}$")
    """File name without ending."""
    precision: Literal["fp32", "fp16", "bf16"] = opt("fp16", kohya="save_precision")
    """Precision of the numbers in the file."""
    metadata: Literal["full", "minimal", "none"] = opt("full", kohya="no_metadata")
    """`minimal` writes only what says which model and network it is: no tags, folders or settings;
    `none` nothing at all."""
    trigger: str = opt("", kohya="metadata_trigger_phrase")
    """Trigger word, written into the file for other programs."""
    title: str = opt("", "advanced", kohya="metadata_title")
    """Title in the file (default: the name)."""
    author: str = opt("", "advanced", kohya="metadata_author")
    """Author in the file."""
    description: str = opt("", "advanced", kohya="metadata_description")
    """Description in the file."""
    license: str = opt("", "advanced", kohya="metadata_license")
    """Licence in the file."""
    tags: str = opt("", "advanced", kohya="metadata_tags")
    """What the file is about, a list with commas."""
    usage_hint: str = opt("", "advanced", kohya="metadata_usage_hint")
    """How to use the file, such as a good weight."""
    comment: str = opt("", "advanced", kohya="training_comment")
    """A remark on the training."""


class JudgeConfig(Section):
    """What the LoRA should and should not have learnt."""

    trigger_prompts: tuple[str, ...] = ()
    """Prompts with the trigger word: here the subject should appear."""
    class_prompts: tuple[str, ...] = ()
    """Prompts of the class without the trigger word: here it should not."""
    attributes: dict[str, str] = Field(default_factory=dict)
    """What to look for: attribute to label, such as `hair_colour = "pink"`."""
    pictures: int = opt(8, ge=1)
    """Pictures drawn for each prompt."""
    weights: tuple[float, ...] = opt((0.0, 0.5, 0.75, 1.0), min_length=1)
    """LoRA weights shown in the grid."""
