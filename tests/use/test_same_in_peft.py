"""PEFT computes what renma computes, from a file converted to diffusers' names."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import peft
import pytest
from torch import nn

from renma.config.adapter import (
    AdapterSection,
)
from renma.formats import safetensors
from testbed.every_algorithm import CONFIGS, SAME, convert, far, look, quiet


def of_lora(_: AdapterSection, options: dict[str, Any], __: list[str]) -> peft.PeftConfig:
    return peft.LoraConfig(**options)


def of_loha(config: Any, _: dict[str, Any], layers: list[str]) -> peft.PeftConfig:
    return peft.LoHaConfig(r=config.rank, alpha=config.alpha, target_modules=layers)


def of_lokr(config: Any, _: dict[str, Any], layers: list[str]) -> peft.PeftConfig:
    rank, alpha = (9999, 9999) if config.full_matrix else (config.rank, config.alpha)
    options = {"decompose_factor": config.factor, "decompose_both": config.decompose_both}
    return peft.LoKrConfig(r=rank, alpha=alpha, target_modules=layers, **options)


def of_ia3(_: AdapterSection, __: dict[str, Any], layers: list[str]) -> peft.PeftConfig:
    inner = [layer for layer in layers if layer.endswith(("ff.net.2", "mlp.fc2"))]
    return peft.IA3Config(target_modules=layers, feedforward_modules=inner)


@pytest.mark.parametrize(
    ("name", "make"),
    [(n, of_lora) for n in ("lora", "rslora", "locon", "dora", "pissa", "lora_fa", "dylora")]
    + [("loha", of_loha)]
    + [(n, of_lokr) for n in ("lokr", "lokr both", "lokr whole")]
    + [(n, of_ia3) for n in ("ia3", "ia3 conv")],
)
def test_peft_computes_the_same_from_diffusers_names(
    mame, case, base, name, make, tmp_path, capsys
):
    """LoRA and DoRA with the file's own configuration; the others as somebody would set them up."""
    made = case(name)
    path = convert(made, tmp_path / "x.safetensors", "--to", "diffusers")
    tensors, (_, metadata) = safetensors.read_tensors(path), safetensors.read_header(path)
    options = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    parts: dict[str, nn.Module] = {}
    for part in ("text_encoder", "unet"):
        head = f"{part}.text_model." if part == "text_encoder" else f"{part}."
        own = {k.removeprefix(head): t for k, t in tensors.items() if k.startswith(head)}
        layers = sorted({re.sub(r"\.(lora_|hada_|lokr_|ia3_|alpha).*", "", k) for k in own})
        kept = {
            k.removeprefix(f"{part}."): v for k, v in options.items() if k.startswith(f"{part}.")
        }
        with quiet():
            config = make(CONFIGS[name], kept, layers)
            parts[part] = peft.inject_adapter_in_model(config, copy.deepcopy(getattr(mame, part)))
            told = peft.set_peft_model_state_dict(parts[part], own)
        assert all(key.endswith("alpha") for key in told.unexpected_keys)
        assert not [k for k in told.missing_keys if re.search("lora_|hada_|lokr_|ia3_", k)]
    assert far(look(mame, parts["unet"], parts["text_encoder"]), made.seen[1.0], base) < SAME
    capsys.readouterr()
