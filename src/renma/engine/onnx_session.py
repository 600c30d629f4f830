"""Opening an ONNX file with onnxruntime: where it runs, with how many threads, what is wrong."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from renma.core.errors import UserError
from renma.engine.spawning import share

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_ENGINES = {
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_PACKAGES = {"cuda": "onnxruntime-gpu", "directml": "onnxruntime-directml"}


def opened(file: Path, device: str = "auto", threads: int | None = None) -> InferenceSession:
    """Returns a session that runs a network.

    Args:
        file: the .onnx file.
        device: auto, cpu, cuda or directml; ``auto`` takes the first of the last two that is there.
        threads: it computes with on the processor; None for this process's share of the cores.

    Raises:
        UserError: onnxruntime is not installed or not for that device, or the file is missing or
            no network.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "networks of this kind need onnxruntime", remedy="pip install onnxruntime"
        ) from None
    if not file.is_file():
        raise UserError("there is no such file", where=file)
    engine = _engine(device, onnxruntime.get_available_providers())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = share() if threads is None else threads
    # threads that wait must not burn what other workers need
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # its warnings about graphs are for those who export them
    engines = list(dict.fromkeys([engine, _ENGINES["cpu"]]))
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=engines)
    except failures() as error:
        raise UserError(f"is no ONNX model that can be run ({_first(error)})", where=file) from None
    if device != "auto" and session.get_providers()[0] != engine:
        raise UserError(f"cannot be run on {device}: its libraries do not load", where=file)
    return session


def device_of(session: InferenceSession) -> str:
    """Returns where a session runs: cpu, cuda, directml, or onnxruntime's name for it."""
    engine = session.get_providers()[0]
    return {engine: name for name, engine in _ENGINES.items()}.get(engine, engine)


def failures() -> tuple[type[BaseException], ...]:
    """Returns what onnxruntime raises; its errors share no class of their own."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = (
        "EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf",
        "ModelLoaded", "NoModel", "NoSuchFile", "NotImplemented", "RuntimeException",
    )  # fmt: skip
    return (*(getattr(state, name) for name in names), RuntimeError)


def _engine(device: str, there: list[str]) -> str:
    if device == "auto":
        return next(engine for engine in _ENGINES.values() if engine in there)
    if _ENGINES[device] not in there:
        raise UserError(
            f"the installed onnxruntime cannot run on {device}",
            where="device",
            remedy=f"Install {_PACKAGES.get(device, 'onnxruntime')} in its place, "
            "or say --device cpu.",
        )
    return _ENGINES[device]


def _first(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
