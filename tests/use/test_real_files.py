"""LoRAs that strangers trained, through the command line: shown, converted, merged, resized.

What is expected is worked out from their own tensors with torch and safetensors alone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from renma.cli.app import main

FILES = ("pokemon-diffusers", "sd-lora")
SIDES = {"A": "down", "B": "up"}
OLD = re.compile(
    r"(?:unet\.)?(.+?)(?:\.processor)?\.to_(q|k|v|out)_?(?:\.0)?\.?lora\.(down|up)\.weight"
)


@pytest.fixture(params=FILES)
def real(request, reference: Path) -> Path:
    return reference / "real-loras" / f"{request.param}.safetensors"


def told(path: Path) -> dict[tuple[str, str], Tensor]:
    """(module path, side) to tensor, of the two old spellings that these files use."""
    found = {}
    for name, tensor in load_file(path).items():
        match = OLD.fullmatch(name)
        assert match, name
        layer = "to_out.0" if match[2] == "out" else f"to_{match[2]}"
        found[f"{match[1]}.{layer}", match[3]] = tensor
    return found


def renma(*words: str | Path) -> None:
    assert main(["file", *map(str, words)]) == 0


def test_show(real: Path, capsys):
    renma("show", real, "--json")
    found = json.loads(capsys.readouterr().out)
    tensors = told(real)
    assert found["parameters"] == sum(t.numel() for t in tensors.values())
    assert len(found["layers"]) == len(tensors) // 2 == 128
    by_key = {layer["key"]: layer for layer in found["layers"]}
    for path, _ in tensors:
        update = tensors[path, "up"].double() @ tensors[path, "down"].double()
        layer = by_key["lora_unet_" + path.replace(".", "_")]
        assert (layer["algorithm"], layer["rank"]) == ("lora", 4)
        assert layer["norm"] == pytest.approx(float(update.norm()), rel=1e-6)
    assert found["trouble"] == []


def test_convert_there_and_back(real: Path, tmp_path: Path, capsys):
    """No bit of any tensor changes; the second kohya file is the first one byte by byte."""
    kohya, other, again, third = (tmp_path / f"{n}.safetensors" for n in "abcd")
    renma("convert", real, kohya, "--to", "kohya")
    renma("convert", kohya, other, "--to", "diffusers")
    renma("convert", other, again, "--to", "kohya")
    renma("convert", again, third, "--to", "diffusers")
    assert again.read_bytes() == kohya.read_bytes()
    assert third.read_bytes() == other.read_bytes()
    flat, dotted, before = load_file(kohya), load_file(other), told(real)
    assert len(flat) == len(dotted) == len(before)  # no alpha was made up
    for (path, side), tensor in before.items():
        letter = "A" if side == "down" else "B"
        for found in (
            flat[f"lora_unet_{path.replace('.', '_')}.lora_{side}.weight"],
            dotted[f"unet.{path}.lora_{letter}.weight"],
        ):
            assert found.dtype == tensor.dtype
            assert torch.equal(found, tensor)
    for made in (kohya, other):
        renma("verify", made)
    assert "nothing wrong" in capsys.readouterr().out


def test_merge_with_weights_and_resize(reference: Path, tmp_path: Path, capsys):
    """Both into one file, the exact sum; cut to rank 5, the nearest that there is."""
    first, second = (reference / "real-loras" / f"{name}.safetensors" for name in FILES)
    both, small = tmp_path / "both.safetensors", tmp_path / "small.safetensors"
    renma("merge", f"{first}:0.7", f"{second}:-0.4", "-o", both)
    renma("resize", both, small, "--rank", "5")
    one, two, exact, cut = told(first), told(second), load_file(both), load_file(small)
    paths = sorted({path for path, _ in one})
    assert {path for path, _ in two} == set(paths)
    for path in [p for p in paths if one[p, "up"].shape[0] <= 640][::9]:
        total = (
            0.7 * one[path, "up"] @ one[path, "down"] - 0.4 * two[path, "up"] @ two[path, "down"]
        )
        u, s, v = torch.linalg.svd(total, full_matrices=False)
        best = (u[:, :5] * s[:5]) @ v[:5]
        for tensors, rank, expected in ((exact, 8, total), (cut, 5, best)):
            down, up = (tensors[f"unet.{path}.lora_{letter}.weight"] for letter in SIDES)
            assert down.shape[0] == rank
            assert (up @ down - expected).norm() < 1e-5 * total.norm()
    for made in (both, small):
        renma("verify", made)
    capsys.readouterr()
