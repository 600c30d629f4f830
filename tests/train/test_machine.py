"""What training would refuse, refused by the check already, with the same line (G2, C class)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from renma.config import load_run
from renma.core.errors import UserError
from renma.train import foreign, machine
from renma.train.plan import prepare


@pytest.fixture
def gpu(monkeypatch) -> None:
    """A machine that could have a GPU, for all that is known without torch."""
    monkeypatch.setattr(machine, "no_gpu", lambda: False)


@pytest.fixture
def no_gpu(monkeypatch) -> None:
    monkeypatch.setattr(machine, "no_gpu", lambda: True)


def refusal(project: Path, *values: str) -> UserError:
    with pytest.raises(UserError) as caught:
        prepare(load_run(project / "run.toml", values), project)
    return caught.value


def passes(project: Path, *values: str) -> None:
    prepare(load_run(project / "run.toml", values), project)


def engine_says(call) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return caught.value.line()


def test_cuda_without_a_gpu(project: Path, no_gpu, monkeypatch):
    import torch

    from renma.engine.model import pick_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = refusal(project, "train.device=cuda").line()
    assert line == engine_says(lambda: pick_device("cuda"))


def test_xformers_that_is_not_installed_or_has_no_gpu(project: Path, no_gpu, monkeypatch):
    import torch

    from renma.engine import attention

    values = ("model.attention=xformers",)
    model = torch.nn.Linear(1, 1)
    for spec, text in ((None, "is not installed"), ("there", "needs a CUDA device")):
        monkeypatch.setattr(machine, "find_spec", lambda _, spec=spec: spec)
        monkeypatch.setattr(attention, "find_spec", lambda _, spec=spec: spec)
        line = refusal(project, *values).line()
        assert text in line
        assert line == engine_says(lambda: attention._check_xformers(model))


def test_paged_memory_without_a_gpu(project: Path, no_gpu):
    """The processor's own form is named, as it is when the optimizer is built."""
    names = {
        "pagedadamw8bit": "adamw8bit", "pagedadamw32bit": "adamw", "pagedlion8bit": "lion8bit",
    }  # fmt: skip
    for name, plain in names.items():
        error = refusal(project, f"optimizer.name={name}")
        assert error.where == "optimizer.name"
        assert "which only GPUs have" in error.what
        assert error.remedy == f"Take '{plain}' on a CPU."
        passes(project, f"optimizer.name={plain}")


def test_what_is_in_doubt_passes(project: Path, gpu, monkeypatch):
    monkeypatch.setattr(machine, "find_spec", lambda _: "there")
    values = ("train.device=cuda", "model.attention=xformers", "optimizer.name=pagedadamw8bit")
    passes(project, *values, "optimizer.learning_rate=1e-4")
    assert "pagedadamw8bit" in refusal(project, "train.device=cpu", values[2]).what


@pytest.mark.parametrize(
    ("there", "platform", "build", "hidden", "absent"),
    [
        ([], "linux", "cuda: Optional[str] = '12.8'\nhip: Optional[str] = None", None, True),
        (["/dev/nvidiactl"], "linux", "cuda = '12.8'\nhip = None", None, False),
        (["/dev/dxg"], "linux", "cuda = '12.8'\nhip = None", None, False),
        (["/dev/kfd"], "linux", "cuda = None\nhip = '6.4'", None, False),
        (["/dev/nvidiactl"], "linux", "cuda: Optional[str] = None\nhip: Optional[str] = None", None, True),
        (["/dev/nvidiactl"], "linux", "cuda = '12.8'\nhip = None", {"CUDA": ""}, True),
        (["/dev/nvidiactl"], "linux", "cuda = '12.8'\nhip = None", {"CUDA": "-1"}, True),
        (["/dev/nvidiactl"], "linux", "cuda = '12.8'\nhip = None", {"CUDA": "1"}, False),
        # CUDA never looks at AMD's variable
        (["/dev/nvidiactl"], "linux", "cuda = '12.8'\nhip = None", {"HIP": "-1"}, False),
        (["/dev/nvidiactl"], "linux", "cuda = '12.8'\nhip = None", {"HIP": ""}, False),
        # AMD's looks at both, at its own first; empty ones count as not set
        (["/dev/kfd"], "linux", "cuda = None\nhip = '6.4'", {"HIP": "-1"}, True),
        (["/dev/kfd"], "linux", "cuda = None\nhip = '6.4'", {"CUDA": "-1"}, True),
        (["/dev/kfd"], "linux", "cuda = None\nhip = '6.4'", {"HIP": "0", "CUDA": "-1"}, False),
        (["/dev/kfd"], "linux", "cuda = None\nhip = '6.4'", {"HIP": "", "CUDA": ""}, False),
        (["/dev/nvidiactl"], "linux", "", {"CUDA": "-1", "HIP": "-1"}, False),
        ([], "win32", "cuda = '12.8'\nhip = None", None, False),
        ([], "darwin", "", None, True),
        ([], "win32", "", None, False),
    ],
)  # fmt: skip
def test_a_gpu_is_denied_only_where_there_is_none(
    tmp_path: Path, monkeypatch, there, platform: str, build: str, hidden, absent: bool
):
    for name in ("CUDA", "HIP"):
        monkeypatch.delenv(f"{name}_VISIBLE_DEVICES", raising=False)
    for name, value in (hidden or {}).items():
        monkeypatch.setenv(f"{name}_VISIBLE_DEVICES", value)
    torch = tmp_path / "torch"
    torch.mkdir()
    (torch / "__init__.py").write_text("raise AssertionError('imported')")
    (torch / "version.py").write_text(f"__version__ = '2'\n{build}\n")
    monkeypatch.setattr(machine, "find_spec", lambda _: _Spec([str(torch)]))
    monkeypatch.setattr(machine, "_torch_knows", machine._torch_knows.__wrapped__)
    monkeypatch.setattr(machine.sys, "platform", platform)
    nodes = [tmp_path / name[1:] for name in machine._NODES]
    monkeypatch.setattr(machine, "_NODES", [str(node) for node in nodes])
    for name in there:
        path = tmp_path / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert machine.no_gpu() is absent


class _Spec:
    """What find_spec returns, as far as it is read."""

    def __init__(self, places: list[str]) -> None:
        self.submodule_search_locations = places


PATHS = {
    "torch.optim.NAdam": "",
    "torch.optim.adamw.AdamW": "",
    "pytorch_optimizer.Ranger21": "",  # star imports: in doubt
    "nopackage.Adam": "cannot import 'nopackage': No module named 'nopackage'",
    "nopackage.deep.Adam": "cannot import 'nopackage.deep': No module named 'nopackage'",
    "torch.optm.Adam": "cannot import 'torch.optm': No module named 'torch.optm'",
    "torch.optim.adamw.AdamWWW": "'torch.optim.adamw.AdamWWW' is no optimizer class",
    "renma.core.errors.Adam": "'renma.core.errors.Adam' is no optimizer class",
}


@pytest.mark.parametrize("path", PATHS)
def test_a_class_of_ones_own_that_is_not_there(project: Path, path: str):
    """The same words as the import itself gets, without it."""
    values = (f"optimizer={{name='custom',class_path='{path}'}}",)
    if not PATHS[path]:
        foreign.check(load_run(project / "run.toml", values))
        return
    from renma.optimizers._build import find

    error = refusal(project, *values)
    assert error.what == PATHS[path]
    assert error.where == "optimizer.class_path"
    assert engine_says(lambda: find(path)).startswith(f"optimizer.class_path: {PATHS[path]}")


def test_near_names_are_offered(project: Path):
    values = ("optimizer={name='custom',class_path='torch.optim.adamw.AdmaW'}",)
    assert refusal(project, *values).remedy == "Did you mean 'AdamW'?"


def test_a_module_made_in_memory_or_by_its_package_is_believed(tmp_path: Path, monkeypatch):
    package = tmp_path / "aliased"
    package.mkdir()
    (package / "__init__.py").write_text("import sys\nsys.modules['aliased.optim'] = sys\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert foreign.missing_module("aliased.optim") == ""
    assert foreign.missing_module("aliased.other") == "aliased.other"
    monkeypatch.setitem(sys.modules, "in_memory", type(sys)("in_memory"))
    assert foreign.missing_module("in_memory") == ""


def test_neither_look_imports_the_package():
    """A check answers before torch could even be imported."""
    code = (
        "import sys; from renma.train import foreign, machine;"
        "foreign.missing_module('torch.optim.adamw'); machine.no_gpu();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
