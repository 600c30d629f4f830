"""What this machine surely cannot do, known without torch; what is in doubt is left to torch."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
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
_BUILD = re.compile(r"^(cuda|hip)\b[^=\n]*=[ \t]*(\S+)[ \t]*$", re.MULTILINE)
"""Lines of torch/version.py that say which GPUs a build knows: NVIDIA's, AMD's."""


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
    knows = _torch_knows()
    if sys.platform == "darwin" or knows == {"cuda": False, "hip": False}:
        return True
    if _hidden(knows):
        return True
    return sys.platform == "linux" and not any(Path(node).exists() for node in _NODES)


def _hidden(knows: Mapping[str, bool]) -> bool:
    """Says whether the environment surely hides every GPU from this build of torch.

    AMD's runtime looks at CUDA's variable too, but at its own first, and takes an empty one for one
    that is not set. CUDA never looks at AMD's. Of an unknown build nothing is sure.
    """
    cuda, hip = (os.environ.get(f"{name}_VISIBLE_DEVICES") for name in ("CUDA", "HIP"))
    if knows.get("hip"):
        return (hip or cuda) == "-1"
    return bool(knows.get("cuda")) and cuda in ("", "-1")


@lru_cache(maxsize=1)
def _torch_knows() -> Mapping[str, bool]:
    """Returns whether the installed torch was built for CUDA and HIP; nothing where unknown."""
    found = find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return {}
    version = Path(found.submodule_search_locations[0]) / "version.py"
    if not version.is_file():
        return {}
    text = version.read_text(encoding="utf-8", errors="replace")
    return {name: value != "None" for name, value in _BUILD.findall(text)}
