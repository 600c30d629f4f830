"""What this machine surely cannot do, known without torch; what is in doubt is left to torch."""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from renma.config import Run
from renma.core.errors import UserError

_NODES = (
    "/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version",  # NVIDIA
    "/dev/nvgpu", "/dev/nvmap", "/dev/nvhost-gpu",  # NVIDIA's boards
    "/dev/dxg", "/dev/kfd",  # Windows' Linux, AMD
)  # fmt: skip
"""One of these is there wherever a GPU can be reached on Linux."""
_HIDING = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_WITHOUT = re.compile(r"^(cuda|hip)\b[^=\n]*=\s*None\s*$", re.MULTILINE)
"""Lines of torch/version.py in a build that knows no GPU."""


def check(run: Run) -> None:
    """Refuses what training would refuse as soon as torch is there.

    Raises:
        UserError: CUDA or xformers are asked for and surely not there.
    """
    if run.train.device == "cuda" and no_gpu():
        raise UserError(
            "train.device = 'cuda', but torch sees no CUDA device", remedy="Use 'auto'."
        )
    if run.model.attention != "xformers":
        return
    remedy = "Use model.attention = 'auto': torch's own kernels are as fast and need nothing."
    if find_spec("xformers") is None:
        raise UserError(
            "model.attention = 'xformers', but xformers is not installed",
            remedy=f"pip install xformers. Or: {remedy}",
        )
    if on_processor(run):
        raise UserError(
            "model.attention = 'xformers' needs a CUDA device, the model is on cpu", remedy=remedy
        )


def on_processor(run: Run) -> bool:
    """Says whether a run will surely compute without a GPU."""
    return run.train.device == "cpu" or (run.train.device == "auto" and no_gpu())


def no_gpu() -> bool:
    """Says whether torch surely finds no GPU: hidden, without a driver, or unknown to torch."""
    if any(os.environ.get(name, "0").strip() in ("", "-1") for name in _HIDING):
        return True
    if sys.platform == "darwin" or _torch_without():
        return True
    return sys.platform == "linux" and not any(Path(node).exists() for node in _NODES)


@lru_cache(maxsize=1)
def _torch_without() -> bool:
    """Says whether the installed torch was built for processors only."""
    found = find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return False
    version = Path(found.submodule_search_locations[0]) / "version.py"
    if not version.is_file():
        return False
    return len(_WITHOUT.findall(version.read_text(encoding="utf-8", errors="replace"))) == 2
