"""How a LoRA came to be, in plain words: what the entries of its metadata mean together."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping

from renma.formats.metadata import parse, shown

_LONGEST = 300
_NOTHING = {"", "none", "null", "false", "0", "0.0", "{}", "[]"}


def facts(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns (name of the fact, text) of what is known; texts are safe to show.

    Args:
        metadata: of the file, by kohya's and Stability's keys.
    """
    rows = [*_author(metadata), *_length(metadata), *_pictures(metadata), *_rates(metadata)]
    rows += [*_more(metadata), *_times(metadata)]
    return [(name, shown(text, _LONGEST)) for name, text in rows if text]


def triggers(metadata: Mapping[str, str]) -> list[str]:
    """Returns the words that call the LoRA: what the author says, else what the folders say."""
    told = metadata.get("modelspec.trigger_phrase", "").strip()
    if told:
        return [shown(told, _LONGEST)]
    words = []
    for name in _folders(metadata):
        match = re.fullmatch(r"\d+_(.+)", name)
        if match:
            words.append(shown(match[1].strip(), _LONGEST))
    return list(dict.fromkeys(words))[:20]


def _value(metadata: Mapping[str, str], *keys: str) -> str:
    """Returns the first entry that says something."""
    found = (metadata.get(key, "").strip() for key in keys)
    return next((text for text in found if text.lower() not in _NOTHING), "")


def _author(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in ("title", "author", "description", "usage_hint", "license"):
        yield name, _value(metadata, f"modelspec.{name}")
    yield "comment", _value(metadata, "ss_training_comment")
    yield "merged", _value(metadata, "modelspec.merged_from")


def _length(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, done, planned in (
        ("steps", "ss_steps", "ss_max_train_steps"),
        ("epochs", "ss_epoch", "ss_num_epochs"),
    ):
        have, of = _value(metadata, done), _value(metadata, planned)
        yield name, f"{have} / {of}" if have and of else have or of
    yield "batch", _value(metadata, "ss_total_batch_size", "ss_batch_size_per_device")
    steps = _value(metadata, "ss_gradient_accumulation_steps")
    yield "accumulation", steps if steps != "1" else ""


def _pictures(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "pictures", _value(metadata, "ss_num_train_images")
    yield "regularization", _value(metadata, "ss_num_reg_images")
    yield "resolution", _value(metadata, "ss_resolution", "modelspec.resolution").strip("()")
    rows = [
        f"{name}: {row.get('img_count', '?')} × {row.get('n_repeats', '?')}"
        for name, row in _folders(metadata).items()
    ]
    yield "folders", ", ".join(rows[:20])


def _folders(metadata: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """Returns the rows of ``ss_dataset_dirs`` that have the form that kohya writes."""
    found = parse(metadata.get("ss_dataset_dirs", ""))
    rows = found.items() if isinstance(found, dict) else ()
    return {str(name): row for name, row in rows if isinstance(row, dict)}


def _rates(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    unet, text = _value(metadata, "ss_unet_lr"), _value(metadata, "ss_text_encoder_lr")
    if unet or text:
        parts = (f"U-Net {unet}" if unet else "", f"text encoder {text}" if text else "")
        yield "rates", ", ".join(part for part in parts if part)
    else:
        yield "rates", _value(metadata, "ss_learning_rate")
    optimizer = _value(metadata, "ss_optimizer")
    name, bracket, rest = optimizer.partition("(")
    yield "optimizer", name.rpartition(".")[2] + bracket + rest
    warmup = _value(metadata, "ss_lr_warmup_steps")
    yield "schedule", _value(metadata, "ss_lr_scheduler") + (f", warmup {warmup}" if warmup else "")


def _more(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    seed = metadata.get("ss_seed", "")
    yield "seed", "" if seed == "None" else seed
    for name, key in (
        ("clip_skip", "ss_clip_skip"),
        ("loss", "ss_loss_type"),
        ("snr", "ss_min_snr_gamma"),
        ("noise_offset", "ss_noise_offset"),
        ("dropout", "ss_network_dropout"),
        ("precision_training", "ss_mixed_precision"),
    ):
        yield name, _value(metadata, key)


def _times(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in ("started", "finished"):
        yield name, _date(metadata.get(f"ss_training_{name}_at", ""))
    program = _value(metadata, "modelspec.implementation_version", "ss_sd_scripts_commit_hash")
    renma = _value(metadata, "renma_version")
    yield "program", f"renma {renma}" if renma else program


def _date(text: str) -> str:
    """Returns seconds since 1970 as a date; empty where they are no sensible number."""
    try:
        found = datetime.datetime.fromtimestamp(float(text), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return found.strftime("%Y-%m-%d %H:%M UTC") if 2020 <= found.year < 2100 else ""
