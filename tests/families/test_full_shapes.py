"""E1, E7: published shapes in one file: loading takes the memory of the weights and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from renma.families import _twins

pytestmark = pytest.mark.slow
MIB = 2**20
# loads in a process of its own, touches every number, and predicts once at 64x64 pixels
LOAD = """
import sys, torch
from renma.config.model import ModelConfig
from renma.engine import model as engine
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModelWithProjection

def status(name):
    line = next(l for l in open("/proc/self/status") if l.startswith(name))
    return int(line.split()[1]) * 1024

before = status("VmRSS")
family = engine.load_family(ModelConfig(path=sys.argv[1]), device="cpu", precision=sys.argv[2])
for part in family.parts().values():
    for tensor in part.state_dict().values():
        tensor.view(-1)[:: 1024].sum().item()  # a page holds 4096 bytes
peak = status("VmHWM") - before
held = sum(t.nbytes for part in family.parts().values() for t in part.state_dict().values())
print(peak, held, family.name, family.facts.prediction)
if sys.argv[2] != "fp16":
    with torch.no_grad():
        condition = family.encode_text(["a photo of a cat"])
        if family.wants_sizes:
            condition = condition.with_sizes(torch.tensor([[64, 64, 0, 0, 64, 64]]))
        output = family.predict(torch.randn(1, 4, 8, 8), torch.tensor([500]), condition)
    print(tuple(output.shape), bool(output.isfinite().all()))
"""


@pytest.fixture(scope="module", params=["sd1", "sd2-v", "sdxl"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("full") / f"{request.param}.safetensors"
    yield _twins.write_file(request.param, path, dtype=torch.float16, full=True)
    path.unlink()


def loaded(path: Path, precision: str) -> tuple[int, int, list[str]]:
    command = [sys.executable, "-c", LOAD, str(path), precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    peak, held = lines[0].split()[:2]
    return int(peak), int(held), lines


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_loading_takes_the_memory_of_the_weights(file: Path, precision: str):
    peak, held, lines = loaded(file, precision)
    stored = file.stat().st_size
    print(f"{file.stem} {precision}: peak {peak / MIB:.0f} MiB, held {held / MIB:.0f}, file {stored / MIB:.0f}")  # fmt: skip
    assert held > 0.95 * stored  # the autoencoder grows, SD 2's last text layer is left out
    assert peak <= 1.15 * stored
    name, prediction = lines[0].split()[2:]
    assert (name, prediction) == {
        "sd1": ("sd1", "epsilon"),
        "sd2-v": ("sd2", "v_prediction"),
        "sdxl": ("sdxl", "epsilon"),
    }[file.stem]
    if precision == "bf16":
        assert lines[1] == "(1, 4, 8, 8) True"
