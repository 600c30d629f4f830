"""How much memory this process has needed at most."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch


def peak_mib() -> float | None:
    """Returns the peak resident memory in MiB (GPU: peak allocated there), None if unknown."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    if sys.platform == "win32":
        return None
    status = Path("/proc/self/status")
    if status.exists():  # a process inherits ru_maxrss from the one that started it, this not
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return round(int(found[1]) / 2**10, 1) if found else None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def restart_peak() -> float | None:
    """Forgets a GPU's peak and returns it in MiB; None on a CPU, whose peak cannot be forgotten."""
    if not torch.cuda.is_available():
        return None
    peak = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.reset_peak_memory_stats()
    return round(peak, 1)
