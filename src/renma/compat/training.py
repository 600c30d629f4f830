"""Length, saving, previews, curves, resuming."""

from __future__ import annotations

from pathlib import Path

from renma.compat.draft import Draft, conflict
from renma.core.errors import UserError
from renma.train.retention import kept_of_last_steps

SEED = 42
"""Taken where none is given; sd-scripts draws one that nobody is told."""
_THEIR_STEPS = 30
"""Sampling steps of a preview whose prompt names none."""


def fill(draft: Draft) -> None:
    """Takes the options about the course of training.

    Raises:
        UserError: options that exclude each other or cannot be had.
    """
    given = draft.given
    if given.has("max_train_epochs") and given.has("max_train_steps"):
        draft.idle("max_train_steps", "--max_train_epochs decides, as in sd-scripts")
    if not given.has("seed"):
        why = "sd-scripts draws one each time; this one can be repeated"
        draft.take("seed", "train.seed", SEED, why)
    if given.has("network_train_unet_only") and given.has("network_train_text_encoder_only"):
        names = ("network_train_unet_only", "network_train_text_encoder_only")
        raise conflict("nothing would be trained", *names)
    _start(draft)
    _saving(draft)
    _limits(draft)
    _previews(draft)
    _curves(draft)


def _start(draft: Draft) -> None:
    given, moved = draft.given, draft.places.moved
    if given.has("network_weights"):
        draft.take("network_weights", "start.weights", moved(given.get("network_weights")))
    if given.has("base_weights"):
        paths = [moved(path) for path in given.get("base_weights")]
        draft.take("base_weights", "start.base_weights", paths)
    if given.has("resume"):
        why = "state folders of sd-scripts cannot be read; `renma train --resume --out` goes on"
        draft.refuse("resume", why)


def _saving(draft: Draft) -> None:
    given = draft.given
    if given.has("save_model_as"):
        if given.get("save_model_as") == "safetensors":
            draft.always("save_model_as", "LoRAs are saved as .safetensors")
        else:
            draft.refuse("save_model_as", "only .safetensors is written: pickles can run code")
    draft.take("output_name", "output.name", given.get("output_name") or "last")
    if given.has("output_dir"):
        draft.tell("output_dir", "the run's folder (--out)")
    draft.settled.add("no_metadata")
    if given.has("no_metadata"):
        draft.take("no_metadata", "output.metadata", "minimal", "what programs need to load it")
    if given.get("save_precision") is None:
        half = next((p for p in ("fp16", "bf16") if given.has(f"full_{p}")), "fp32")
        draft.take("save_precision", "output.precision", half, "that of the trained weights")
    if given.has("save_n_epoch_ratio"):
        _ratio(draft)


def _ratio(draft: Draft) -> None:
    """Turns "so many saves in all" into "every so many epochs", which needs their number."""
    given = draft.given
    if given.has("save_every_n_epochs"):
        draft.idle("save_n_epoch_ratio", "--save_every_n_epochs decides")
    elif given.has("max_train_epochs"):
        every = max(1, given.get("max_train_epochs") // max(1, given.get("save_n_epoch_ratio")))
        draft.take("save_n_epoch_ratio", "train.save_every_epochs", every)
    else:
        draft.refuse("save_n_epoch_ratio", "give --max_train_epochs too, or save_every_n_epochs")


def _limits(draft: Draft) -> None:
    """Takes how many checkpoints and states are kept: one number for steps' and epochs' here."""
    given = draft.given
    both = given.has("save_every_n_epochs") and given.has("save_every_n_steps")
    for suffix, key in (("", "train.keep_checkpoints"), ("_state", "train.keep_states")):
        steps, epochs = f"save_last_n_steps{suffix}", f"save_last_n_epochs{suffix}"
        used = [name for name in (steps, epochs) if given.has(name)]
        if both and len(used) == 1 and not suffix:
            draft.idle(used[0], "one number holds for saves by steps and by epochs; all are kept")
            continue
        counts = {epochs: given.get(epochs) or 0, steps: _kept_steps(draft, steps)}
        for name in used:
            most = max(counts[n] for n in used)
            why = "the newest so many" if name == steps else ""
            why = why if counts[name] == most else "one number for saves by steps and by epochs"
            draft.take(name, key, max(most, 1), why)
        for name in (steps, epochs):
            if name not in used and name in given.values:
                draft.idle(name, "0 keeps all")


def _kept_steps(draft: Draft, name: str) -> int:
    """Returns how many checkpoints lie within the last so many steps."""
    given = draft.given
    if not given.has(name):
        return 0
    every = given.get("save_every_n_steps")
    return kept_of_last_steps(given.get(name), every) if every else 1


def _previews(draft: Draft) -> None:
    """Takes the prompt file; sd-scripts draws with 30 steps where a prompt names none."""
    given = draft.given
    if not given.has("sample_prompts"):
        return
    text = str(given.get("sample_prompts"))
    if Path(text).suffix.lower() in (".txt", ".toml", ".json") and "\n" not in text:
        draft.take("sample_prompts", "sample.prompts_file", draft.places.moved(text))
    elif given.prompts_written_out:
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        draft.take("sample_prompts", "sample.prompts", lines)
    else:
        raise UserError(
            f"'{text}' is no file of prompts",
            where="--sample_prompts",
            remedy="Give a .txt, .toml or .json file.",
        )
    draft.put("sample.steps", _THEIR_STEPS)


def _curves(draft: Draft) -> None:
    """Takes logging: without a folder for it sd-scripts writes no curves."""
    given = draft.given
    wanted = given.has("logging_dir") or given.get("log_with") in ("tensorboard", "all")
    draft.put("train.tensorboard", wanted, "log_with")
    if given.has("logging_dir"):
        why = "curves lie in tensorboard/ of the run's folder"
        draft.take("logging_dir", "train.tensorboard", True, why)
    if given.get("log_with") == "wandb":
        draft.idle("log_with", "curves are written for TensorBoard only")
    elif given.has("log_with"):
        why = "Weights & Biases is left out" if given.get("log_with") == "all" else ""
        draft.take("log_with", "train.tensorboard", True, why)
    else:
        draft.take("log_with", "train.tensorboard", wanted)
