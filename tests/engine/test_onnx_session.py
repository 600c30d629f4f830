"""Networks are opened in one way: share of the cores, no spinning, the device said (rows B6, C1)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from renma.core.errors import UserError
from renma.engine.onnx_session import device_of, opened
from renma.engine.spawning import surroundings
from renma.prepare._session import session

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A network that gives what it is given."""
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", [shape], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "same.onnx")
    return tmp_path / "same.onnx"


class _Spy:
    """Stands for onnxruntime's session where a machine has no such accelerator."""

    def __init__(self, path: str, options: Any, providers: list[str]) -> None:
        self.options, self.providers = options, providers

    def get_providers(self) -> list[str]:
        return self.providers


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose onnxruntime could use CUDA."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [_CUDA, _CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", _Spy)


def test_threads_are_the_share_and_do_not_spin(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for found in (opened(file), session(file)):
        options = found.get_session_options()
        assert options.intra_op_num_threads == 1
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert opened(file, threads=3).get_session_options().intra_op_num_threads == 3


@pytest.mark.usefixtures("with_cuda")
def test_an_accelerator_is_for_a_worker_that_is_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several would each hold the network there; and whoever asked for one gets it."""
    assert device_of(session(file)) == "cuda"
    for name, value in surroundings(1, workers=2).items():
        monkeypatch.setenv(name, value)
    assert device_of(session(file)) == "cpu"
    assert device_of(opened(file, "cuda")) == "cuda"
    assert device_of(opened(file, "cpu")) == "cpu"


def test_what_is_not_there_is_said(file: Path) -> None:
    with pytest.raises(UserError, match="cannot run on directml.*onnxruntime-directml"):
        opened(file, "directml")
    with pytest.raises(UserError, match="there is no such file"):
        opened(file.with_name("gone.onnx"))
    file.write_bytes(b"<html>")
    with pytest.raises(UserError, match="is no ONNX model that can be run") as caught:
        opened(file)
    assert "\n" not in caught.value.what


def test_steps_and_captions_start_without_torch() -> None:
    """Design 3: and without OpenCV and onnxruntime, which take as long; in every module of both."""
    code = """
import importlib, pkgutil, sys
import renma.prepare, renma.caption, renma.engine.executors, renma.engine.onnx_session
for room in (renma.prepare, renma.caption):
    for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        importlib.import_module(module.name)
print([n for n in ("torch", "transformers", "cv2", "onnxruntime", "ray") if n in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
