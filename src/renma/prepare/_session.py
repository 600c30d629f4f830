"""Opening an ONNX file with onnxruntime; whatever is wrong with it is one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from renma.core.errors import UserError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def session(path: Path, threads: int = 1) -> InferenceSession:
    """Returns a session that runs a network.

    Args:
        path: the .onnx file.
        threads: 0 for all cores; 1 where several processes work beside each other.

    Raises:
        UserError: onnxruntime is not installed, or the file is missing or no network.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "networks of this kind need onnxruntime", remedy="pip install onnxruntime"
        ) from None
    if not path.is_file():
        raise UserError("there is no such file", where=path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # its remarks on the graph are nobody's business here
    known = onnxruntime.get_available_providers()
    wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in known]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:  # its exceptions share no base of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"is no network that can be run ({reason})", where=path) from None
