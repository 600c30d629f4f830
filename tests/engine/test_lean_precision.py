"""Which devices prefer bfloat16 (E7)."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from renma.engine.precision import prefers_bf16

CPU = torch.device("cpu")


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(),
    reason="the kernel's own list of x86 abilities is the witness",
)
def test_x86_agrees_with_the_kernel():
    flags = Path("/proc/cpuinfo").read_text().split()
    assert prefers_bf16(CPU) == bool({"avx512_bf16", "amx_tile"} & set(flags))


@pytest.mark.parametrize(
    ("features", "expected"),
    [("fp asimd bf16 i8mm", True), ("fp asimd ebf16", False), (None, False)],
)
def test_arm_reads_the_features_of_the_processor(features, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    path = tmp_path / "cpuinfo"
    if features is not None:
        path.write_text(f"processor\t: 0\nFeatures\t: {features}\nCPU part\t: 0xd40\n")
    assert prefers_bf16(CPU, path) is expected


@pytest.mark.parametrize("able", [True, False])
def test_cuda_counts_hardware_only(able, monkeypatch):
    def supported(including_emulation: bool = True) -> bool:
        return able or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert prefers_bf16(torch.device("cuda")) is able


def test_other_devices_do_not():
    assert not prefers_bf16(torch.device("meta"))
