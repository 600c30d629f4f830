"""Which precision a device is good at."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def prefers_bf16(device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Says whether a device multiplies bfloat16 in hardware, so that training is faster in it.

    Args:
        device: where the model computes.
        cpuinfo: where Linux tells an ARM processor's abilities.
    """
    if device.type == "cuda":
        # emulated on older cards, and slow
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    if platform.machine().lower() in {"x86_64", "amd64"}:
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if not cpuinfo.exists():
        return False
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    return any("bf16" in line.split() for line in lines if line.startswith("Features"))
