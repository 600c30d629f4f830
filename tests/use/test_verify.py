"""`renma file verify`: whole files pass, every kind of damage is found and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from renma.config.file_tasks import VerifyOptions
from renma.core.errors import UserError
from renma.formats import lora_file, safetensors
from renma.formats.lora_file import LoraFile
from renma.formats.model_weights import ModelWeights
from renma.use import verify


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def event(self, kind: str, **data: Any) -> None: ...


@pytest.fixture
def layers() -> dict[str, dict[str, torch.Tensor]]:
    made = {}
    for key, slot in ModelWeights("mame").layers.items():
        if slot.group == "attention":
            made[key] = {
                "lora_down.weight": torch.randn(2, slot.shape[1]),
                "lora_up.weight": torch.randn(slot.outputs, 2),
                "alpha": torch.tensor(1.0),
            }
    return made


def check(path: Path, layers: dict, model: str = "") -> list[str]:
    lora_file.write(path, LoraFile(layers))
    report = Lines()
    verify.run(VerifyOptions(file=path, model=model), report)
    return report.lines


def test_a_good_file_fits_its_model(tmp_path: Path, layers):
    lines = check(tmp_path / "x.safetensors", layers, "mame")
    assert lines[-1] == "nothing wrong"
    assert not any("failed" in line for line in lines)


def nan(row: dict) -> None:
    row["lora_up.weight"][0, 0] = float("nan")
    row["lora_down.weight"][0, 0] = float("inf")


DAMAGE: dict[str, Any] = {
    "nan": nan,
    "alpha nan": lambda row: row.update(alpha=torch.tensor(float("nan"))),
    "alpha huge": lambda row: row.update(alpha=torch.tensor(1e30)),
    "alpha negative": lambda row: row.update(alpha=torch.tensor(-1.0)),
    "alpha many": lambda row: row.update(alpha=torch.ones(3)),
    "ranks differ": lambda row: row.update(
        {"lora_up.weight": torch.randn(len(row["lora_up.weight"]), 3)}
    ),
    "half of it": lambda row: row.pop("lora_up.weight"),
    "another size": lambda row: row.update({"lora_down.weight": torch.randn(2, 99)}),
    "ia3 of another size": lambda row: (
        row.clear(),
        row.update(weight=torch.ones(7), on_input=torch.tensor(0)),
    ),
}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nan", r"NaN.*and \d+ more"),
        ("alpha nan", "nan"),
        ("alpha huge", "1e[+]30"),
        ("alpha negative", "-1"),
        ("alpha many", "single number"),
        ("ranks differ", "fit together"),
        ("half of it", "fit together"),
        ("another size", "99"),
        ("another layer", "layers_99"),
        ("ia3 of another size", "fit"),
    ],
)
def test_damage_is_found(tmp_path: Path, layers, name, words):
    if name == "another layer":
        key = next(iter(layers))
        layers[key.replace("layers_0", "layers_99")] = layers.pop(key)
    else:
        DAMAGE[name](next(iter(layers.values())))
    with pytest.raises(UserError, match=words) as caught:
        check(tmp_path / "x.safetensors", layers, "mame")
    assert "x.safetensors" in caught.value.line()


def test_changed_weights_do_not_have_the_hash(tmp_path: Path, layers):
    path = tmp_path / "x.safetensors"
    check(path, layers)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # one bit of one weight
    path.write_bytes(data)
    with pytest.raises(UserError, match="sshs_model_hash"):
        verify.run(VerifyOptions(file=path), Lines())


def test_hash_of_modelspec(tmp_path: Path, layers):
    path = tmp_path / "x.safetensors"
    tensors, _ = lora_file.named(LoraFile(layers), "kohya")
    right = safetensors.payload_hash(tensors)
    safetensors.save(path, tensors, {"modelspec.hash_sha256": f"0x{right}"})
    verify.run(VerifyOptions(file=path), Lines())
    safetensors.save(path, tensors, {"modelspec.hash_sha256": "0x" + "0" * 64})
    with pytest.raises(UserError, match=r"modelspec.hash_sha256"):
        verify.run(VerifyOptions(file=path), Lines())


def test_other_files_are_refused(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"PK\3\4 zip")
    with pytest.raises(UserError, match="not a safetensors file"):
        verify.run(VerifyOptions(file=path), Lines())


def test_real_files_are_whole(reference: Path):
    for path in (reference / "real-loras").glob("*.safetensors"):
        report = Lines()
        verify.run(VerifyOptions(file=path), report)
        assert report.lines[-1] == "nothing wrong"
        with pytest.raises(UserError, match="mame"):  # they are made for SD 1.5
            verify.run(VerifyOptions(file=path, model="mame"), Lines())
