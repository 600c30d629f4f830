"""Networks of the steps over pictures: on an accelerator where a worker is alone with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from renma.engine.onnx_session import device_of, opened
from renma.engine.spawning import beside_others

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def session(path: Path) -> InferenceSession:
    """Returns a session with this worker's share of the cores; several workers stay on these.

    Each of them would hold the network on the accelerator, and all would wait for it in turn.

    Args:
        path: the .onnx file.

    Raises:
        UserError: see :func:`renma.engine.onnx_session.opened`.
    """
    return opened(path, "cpu" if beside_others() else "auto")


def named(name: str, network: InferenceSession) -> str:
    """Returns who found something, and where it ran if not on the processor: ``yolo on cuda``."""
    device = device_of(network)
    return name if device == "cpu" else f"{name} on {device}"
