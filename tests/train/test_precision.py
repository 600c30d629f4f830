"""Precision of the frozen model (E7): what `auto` means, bf16 and fp16 with a scaled loss."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from renma.config import precision
from renma.config.run_tasks import TrainOptions
from renma.config.train import TrainConfig
from renma.core.events import Silent, read_events
from renma.formats import safetensors
from renma.train import task
from renma.train.assemble import emulates_bf16

FLAGS = "flags\t\t: fpu sse avx2 {} rdrand\n"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx512_bf16", "bf16"),
        ("amx_bf16 amx_tile", "bf16"),
        ("avx512f", "fp32"),
        ("xbf16x", "fp32"),
    ],
)
def test_auto_is_what_the_processor_multiplies_in(tmp_path, monkeypatch, flags, expected):
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(FLAGS.format(flags))
    monkeypatch.setattr(precision, "_CPU", cpu)
    monkeypatch.setattr(precision, "_NVIDIA", tmp_path / "none")
    assert precision.resolved(TrainConfig()).precision == expected
    assert precision.resolved(TrainConfig(precision="fp32")).precision == "fp32"


@pytest.mark.parametrize(
    ("features", "expected"), [("fp asimd bf16 i8mm", True), ("fp asimd ebf16", False)]
)
def test_arm_processors_say_it_among_their_features(tmp_path, monkeypatch, features, expected):
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(f"processor\t: 0\nFeatures\t: {features}\nCPU part\t: 0xd40\n")
    monkeypatch.setattr(precision, "_CPU", cpu)
    assert precision.processor_knows_bf16() is expected
    monkeypatch.setattr(precision, "_CPU", tmp_path / "none")
    assert not precision.processor_knows_bf16()


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(),
    reason="torch tells the abilities of x86 processors only",
)
def test_the_processor_is_judged_as_torch_judges_it():
    own = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert precision.processor_knows_bf16() == own


@pytest.mark.parametrize("able", [True, False])
def test_emulated_bf16_is_none_of_the_gpus_own(able, monkeypatch):
    def supported(including_emulation: bool = True) -> bool:
        return able or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert emulates_bf16(torch.device("cuda")) is not able
    assert not emulates_bf16(torch.device("cpu"))


@pytest.mark.parametrize(("told", "expected"), [("8.6\n7.5", "fp16"), ("9.0", "bf16")])
def test_auto_asks_the_oldest_gpu(tmp_path, monkeypatch, told, expected):
    """E7: cards before NVIDIA's Ampere (8.0) have no bf16 of their own."""
    asked = tmp_path / "nvidia-smi"
    asked.write_text(f"#!/bin/sh\nprintf '{told}'\n")
    asked.chmod(0o755)
    monkeypatch.setattr(precision, "_NVIDIA", asked)
    monkeypatch.setattr(precision, "_ASK", [str(asked)])
    assert precision.resolved(TrainConfig()).precision == expected
    assert precision.resolved(TrainConfig(device="cpu")).precision in {"fp32", "bf16"}


def trained(project: Path, kind: str) -> tuple[dict[str, torch.Tensor], list[dict]]:
    values = (f"train.precision={kind}", "output.precision=fp32", "train.max_steps=4")
    out = project / kind
    task.run(TrainOptions(run=project / "run.toml", set=values, out=out), Silent())
    rows = [row for row in read_events(out / "events.jsonl") if row["kind"] == "step"]
    return dict(safetensors.read_tensors(out / "lora" / "lora.safetensors")), rows


def test_half_precisions_learn_what_full_precision_learns(project: Path):
    """The update of four steps points the same way; only fp16 scales its loss."""
    full, _ = trained(project, "fp32")
    ups = [name for name in full if "lora_up" in name]
    reference = torch.cat([full[name].flatten() for name in ups])
    for kind in ("bf16", "fp16"):
        half, rows = trained(project, kind)
        own = torch.cat([half[name].flatten() for name in ups])
        assert torch.cosine_similarity(own, reference, dim=0) > 0.9
        assert all(row["loss"] is not None for row in rows)
        assert [row.get("loss_scale", 1) > 1 for row in rows] == [kind == "fp16"] * 4


def test_a_loss_scale_that_is_too_large_is_halved_and_costs_only_the_step(
    project: Path, monkeypatch
):
    """fp16: the step is skipped without a warning, and nothing counts as a bad step."""
    from renma.train import loop

    real = torch.amp.GradScaler

    def large(device: str, enabled: bool) -> torch.amp.GradScaler:
        return real(device, init_scale=2.0**40, enabled=enabled)

    monkeypatch.setattr(loop.torch.amp, "GradScaler", large)
    _, rows = trained(project, "fp16")
    scales = [row["loss_scale"] for row in rows]
    assert rows[0]["loss"] is None
    assert scales[1] == scales[0] / 2
    told = [
        row for row in read_events(project / "fp16" / "events.jsonl") if row["kind"] == "warned"
    ]
    assert not any("was skipped" in row["text"] for row in told)
