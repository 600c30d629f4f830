"""Recipes that show different pictures differ: a cell is never another model's (F1, G3)."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from renma.config.picture_recipe import Recipe
from renma.config.prompts import Prompt
from renma.drawing import picture_source
from renma.drawing.picture_source import Shelf, Source, layout_hash, payload_hash
from renma.drawing.recipe_scene import key_of
from renma.formats import diffusers_lora, lora_file


def drawn_with(model: Path) -> str:
    source = Source.of(str(model))
    prompt = Prompt(text="a", seed=1, width=64, height=64)
    return Recipe(**source.basis(source.facts()), prompt=prompt).digest()


def test_every_file_and_the_schedule_of_a_model_count(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(str(files("renma") / "assets" / "mame"), model)
    seen = {drawn_with(model)}
    for part in ("text_encoder", "vae", "unet"):
        (path,) = (model / part).glob("*.safetensors")
        tensors = load_file(path)
        save_file({name: value * 1.5 for name, value in tensors.items()}, path, {"format": "pt"})
        seen.add(drawn_with(model))
    path = model / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta_end": 0.02}))
    seen.add(drawn_with(model))
    assert len(seen) == 5
    moved = shutil.move(model, tmp_path / "elsewhere")
    assert drawn_with(Path(moved)) in seen


def test_strengths_and_names_in_a_loras_header_count_and_titles_do_not(tmp_path: Path) -> None:
    tensors = {"unet.a.lora_A.weight": torch.ones(2, 4), "unet.a.lora_B.weight": torch.ones(4, 2)}
    shelf = Shelf(None, {})

    def used(name: str, rows: dict[str, torch.Tensor], **metadata: str):
        path = tmp_path / f"{name}.safetensors"
        save_file(rows, path, metadata)
        return shelf.used(name, path)

    weak = used("weak", tensors, lora_adapter_metadata='{"unet.lora_alpha": 0.01}')
    strong = used("strong", tensors, lora_adapter_metadata='{"unet.lora_alpha": 8}')
    titled = used("titled", tensors, lora_adapter_metadata='{"unet.lora_alpha": 8}', title="x")
    renamed = used("renamed", {k.replace(".a.", ".b."): v for k, v in tensors.items()})
    assert len({one.sha256 for one in (weak, strong, titled, renamed)}) == 1
    assert key_of(weak) != key_of(strong)
    assert key_of(titled) == key_of(strong)
    assert key_of(renamed) not in {key_of(weak), key_of(strong)}
    assert payload_hash(tmp_path / "weak.safetensors") == weak.sha256
    assert layout_hash(tmp_path / "weak.safetensors") == weak.layout


def test_metadata_that_acts_is_what_the_formats_read() -> None:
    assert {*diffusers_lora.KEYS, lora_file.ADDED} <= set(picture_source._ACTING)
