"""LoRAs of different base models are not added up; a weight that is none is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from renma.cli import main
from renma.formats import lora_file
from renma.use.lora_family import family_of
from testbed.lora_files import Q, lora, merged, write

SD_KEY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
XL_KEY = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
DEEP = "lora_unet_middle_block_1_transformer_blocks_9_ff_net_2"
FLAT = "lora_unet_mid_block_attentions_0_proj_in"


def file_of(path: Path, key: str, columns: int, metadata: dict[str, str] | None = None) -> Path:
    """A LoRA of rank 2 on one layer, as kohya-ss writes it."""
    tensors = {
        f"{key}.lora_down.weight": torch.ones(2, columns),
        f"{key}.lora_up.weight": torch.ones(64, 2),
        f"{key}.alpha": torch.tensor(2.0),
    }
    save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize(
    ("key", "columns", "metadata", "family"),
    [
        # cross-attention widths of the published models
        (SD_KEY, 768, None, "sd1"),
        (SD_KEY, 1024, None, "sd2"),
        (XL_KEY, 2048, None, "sdxl"),
        (SD_KEY, 768, {"ss_base_model_version": "sdxl_base_v1-0"}, "sd1"),
        (DEEP, 64, None, "sdxl"),
        (FLAT, 64, {"ss_base_model_version": "sd_v1"}, "sd1"),
        (FLAT, 64, {"ss_base_model_version": "sd_v2_v"}, "sd2"),
        (FLAT, 64, {"modelspec.architecture": "stable-diffusion-v2-512/lora"}, "sd2"),
        (FLAT, 64, {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "sdxl"),
        (FLAT, 64, {"modelspec.architecture": "stable-diffusion-v1/lora"}, "sd1"),
        (FLAT, 64, {"ss_base_model_version": "flux1"}, None),
        (FLAT, 64, None, None),
    ],
)
def test_family_of_a_file(tmp_path: Path, key: str, columns: int, metadata, family):
    path = file_of(tmp_path / "a.safetensors", key, columns, metadata)
    assert family_of(lora_file.read(path)) == family


@pytest.mark.parametrize("more", [(), ("--base", "mame")], ids=["into one", "into a model"])
@pytest.mark.parametrize("turned", [False, True])
def test_two_families_are_refused_by_name(tmp_path: Path, capfd, more, turned):
    one = file_of(tmp_path / "one.safetensors", SD_KEY, 768)
    two = file_of(tmp_path / "two.safetensors", XL_KEY, 2048)
    names = [str(two), str(one)] if turned else [str(one), str(two)]
    out = tmp_path / "o.safetensors"
    assert main(["file", "merge", *names, *more, "-o", str(out)]) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    first, second = (f"{two} is for SDXL", f"{one} is for SD 1.x")[:: 1 if turned else -1]
    assert f"{first} and {second.replace(' is for ', ' for ')}: LoRAs of different" in err
    assert not out.exists()


def test_a_file_of_weight_0_stands_in_nobodys_way(tmp_path: Path):
    one = file_of(tmp_path / "one.safetensors", SD_KEY, 768)
    two = file_of(tmp_path / "two.safetensors", XL_KEY, 2048)
    assert list(merged(tmp_path / "o.safetensors", str(one), f"{two}:0")) == [SD_KEY]


def test_a_file_that_tells_nothing_goes_with_any(tmp_path: Path):
    one = write(tmp_path / "one.safetensors", {Q: lora(Q, 2, 1.0, 0)})
    two = file_of(tmp_path / "two.safetensors", SD_KEY, 768)
    assert set(merged(tmp_path / "o.safetensors", str(one), str(two))) == {Q, SD_KEY}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("x:x", "x:x: 'x' is no weight. Write a number, such as x:0.7."),
        ("a.safetensors:0,7", "'0,7' is no weight. Write a number, such as a.safetensors:0.7."),
        ("a.safetensors:", "'' is no weight."),
        ("a.safetensors:inf", "'inf' is no weight."),
        ("C:\\none.safetensors", "C:\\none.safetensors: there is no such file."),
        ("none:dir/x.safetensors", "none:dir/x.safetensors: there is no such file."),
    ],
)
def test_what_is_no_weight_is_said(tmp_path: Path, capfd, word: str, said: str):
    out = tmp_path / "o.safetensors"
    assert main(["file", "merge", word, "-o", str(out)]) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert said in err


def test_a_path_through_a_file_is_no_defect(tmp_path: Path, capfd):
    (tmp_path / "a").write_text("no folder")
    assert main(["file", "show", str(tmp_path / "a" / "b.safetensors")]) == 2
    err = capfd.readouterr().err
    assert "cannot be read: Not a directory" in err
    assert err.count("b.safetensors") == 1
