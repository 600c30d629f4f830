"""Which precision ``train.precision = "auto"`` means on this machine (no torch)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from renma.config.train import TrainConfig

_CPU = Path("/proc/cpuinfo")
_NVIDIA = Path("/proc/driver/nvidia/version")
_ASK = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
_FLAGS = re.compile(r"\b(avx512_bf16|amx_bf16|bf16|svebf16)\b")
"""What Linux calls processors that multiply in bf16 (x86, Arm)."""
_AMPERE = 8.0
"""Compute capability of the first NVIDIA GPUs that multiply in bf16."""


def resolved(train: TrainConfig) -> TrainConfig:
    """Returns the section with ``auto`` replaced by what this machine computes best in.

    That is bf16 on GPUs and processors that multiply in it, fp16 on older GPUs, else fp32.
    """
    if train.precision != "auto":
        return train
    if train.device != "cpu" and _NVIDIA.exists():
        best = "bf16" if _gpu_knows_bf16() else "fp16"
    else:
        best = "bf16" if processor_knows_bf16() else "fp32"
    return train.model_copy(update={"precision": best})


def processor_knows_bf16() -> bool:
    """Says whether this processor multiplies in bf16; one that only converts is slower with it."""
    return _CPU.exists() and _FLAGS.search(_CPU.read_text(errors="replace")) is not None


def _gpu_knows_bf16() -> bool:
    """Asks the driver for the oldest GPU; where it does not answer, training will ask torch."""
    try:
        answer = subprocess.run(_ASK, capture_output=True, text=True, timeout=10, check=True)
        return min(float(line) for line in answer.stdout.split()) >= _AMPERE
    except (OSError, ValueError, subprocess.SubprocessError):
        return True
