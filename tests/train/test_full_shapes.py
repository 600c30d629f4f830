"""SD 1.5, SD 2.1-v and SDXL of the full shape, single files: trained and drawn with (E1, E13)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from renma.core.events import read_events
from renma.families import _twins
from renma.formats import safetensors

pytestmark = pytest.mark.slow
GIB = 1024
SETTINGS = (
    "data.resolution=256", "data.min_bucket_reso=128", "data.max_bucket_reso=512",
    "data.bucket_reso_steps=64", "data.batch_size=1", "train.max_steps=2", "train.save_every_steps=0",
    "train.precision=bf16", "train.threads=2", "optimizer.learning_rate=1e-3",
    "sample.prompts=['aa12, smile --w 256 --h 256 --s 2 --l 5']", "sample.every_steps=2",
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "version", "prediction"),
    [("sd1", "sd_v1", "epsilon"), ("sd2-v", "sd_v2_v", "v"), ("sdxl", "sdxl_base_v1-0", "epsilon")],
)
def test_a_single_file_of_the_full_shape_trains_and_draws_within_24_gib(
    project: Path, tmp_path: Path, kind, version: str, prediction: str
):
    model = _twins.write_file(kind, tmp_path / "model.safetensors", dtype=torch.float16, full=True)
    values = [*SETTINGS, f"model.path={model}"]
    if kind == "sd2-v":
        values.append("model.prediction=v_prediction")
    command = [sys.executable, "-m", "renma", "train", "run.toml", "--out", "out"]
    for value in values:
        command += ["--set", value]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = list(read_events(project / "out" / "events.jsonl"))
    losses = [row["loss"] for row in rows if row["kind"] == "step"]
    assert len(losses) == 2
    assert all(loss is not None for loss in losses)
    (finished,) = [row for row in rows if row["kind"] == "finished"]
    print(f"{kind}: peak {finished['peak_memory_mib'] / GIB:.1f} GiB, {finished['seconds']} s")
    assert finished["peak_memory_mib"] < 24 * GIB
    (drawn,) = [row for row in rows if row["kind"] == "sample"]
    with Image.open(project / "out" / drawn["path"]) as picture:
        assert picture.size == (256, 256)
    header, metadata = safetensors.read_header(project / "out" / "lora" / "lora.safetensors")
    assert metadata["ss_base_model_version"] == version
    assert metadata["modelspec.prediction_type"] == prediction
    assert any(name.startswith("lora_unet_") for name in header)
    encoders = {"lora_te1_", "lora_te2_"} if kind == "sdxl" else {"lora_te_"}
    assert all(any(name.startswith(prefix) for name in header) for prefix in encoders)
    assert json.loads(metadata["ss_datasets"])
