"""``renma file merge --base``: LoRAs that a model takes in."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from renma import assets
from renma.cli import main
from renma.formats import lora_file
from testbed.lora_files import (
    CONV,
    POINT,
    Q,
    delta,
    lora,
    write,
)


def test_into_a_model(files, tmp_path: Path, capfd):
    out = tmp_path / "model"
    words = [
        "file",
        "merge",
        f"{files[0]}:0.7",
        f"{files[1]}:-0.4",
        "--base",
        "mame",
        "-o",
        str(out),
    ]
    assert main(words) == 0
    a, b = (lora_file.read(f).layers for f in files)
    paths = {Q: "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", POINT: "mid_block.attentions.0.proj_in",
             CONV: "mid_block.resnets.0.conv1"}  # fmt: skip
    place = Path("unet/diffusion_pytorch_model.safetensors")
    old, new = load_file(assets.MAME / place), load_file(out / place)
    assert list(old) == list(new)
    changed = set()
    for key, path in paths.items():
        expected = old[f"{path}.weight"].double().flatten(1) + 0.7 * delta(a[key])
        expected = expected - 0.4 * delta(b[key]) if key in b else expected
        found = new[f"{path}.weight"]
        assert found.dtype == torch.float16
        assert torch.allclose(found.double().flatten(1), expected, atol=1e-7, rtol=2**-10)
        changed.add(f"{path}.weight")
    assert {name for name in old if not torch.equal(old[name], new[name])} == changed
    place = Path("text_encoder/model.safetensors")
    old, new = load_file(assets.MAME / place), load_file(out / place)
    assert {n for n in old if not torch.equal(old[n], new[n])} == {
        "encoder.layers.0.mlp.fc1.weight"
    }
    files_of = [
        sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in (assets.MAME, out)
    ]
    assert files_of[0] == files_of[1]
    assert list(tmp_path.glob(".*")) == [], "nothing half made is left"
    assert main(words) == 2
    assert "is there already" in capfd.readouterr().err


def test_the_merged_model_loads_and_weight_zero_is_the_base(files, tmp_path: Path):
    from diffusers import UNet2DConditionModel

    out = tmp_path / "model"
    words = ["--base", "mame", "-o", str(out), "--precision", "fp32"]
    assert main(["file", "merge", f"{files[0]}:0", *words]) == 0
    merged_unet = UNet2DConditionModel.from_pretrained(out / "unet")
    assert merged_unet.dtype == torch.float32
    old = load_file(assets.MAME / "unet/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(t, old[n].float()) for n, t in merged_unet.state_dict().items())


def test_what_depends_on_the_base_merges_into_it(tmp_path: Path):
    g = torch.Generator().manual_seed(0)
    dora = {**lora(Q, 2, 1.0, 0), "dora_scale": torch.rand(128, 1, generator=g) + 0.5}
    scale = torch.randn(128, generator=g) * 0.1
    ia3 = {"weight": scale, "on_input": torch.tensor(0)}
    source = write(
        tmp_path / "d.safetensors",
        {Q: dora, POINT: {k: v.reshape(1, -1, 1, 1) if v.dim() else v for k, v in ia3.items()}},
    )
    out = tmp_path / "model"
    assert (
        main(
            [
                "file",
                "merge",
                f"{source}:0.5",
                "--base",
                "mame",
                "-o",
                str(out),
                "--precision",
                "fp32",
            ]
        )
        == 0
    )
    place = "unet/diffusion_pytorch_model.safetensors"
    old, new = load_file(assets.MAME / place), load_file(out / place)
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    w = old[name].double()
    moved = w + delta(dora)
    full = dora["dora_scale"].double() * moved / moved.norm(dim=1, keepdim=True)
    assert torch.allclose(new[name].double(), w + 0.5 * (full - w), atol=1e-6)
    name = "mid_block.attentions.0.proj_in.weight"
    assert torch.allclose(
        new[name], old[name].float() * (1 + 0.5 * scale[:, None, None, None]), atol=1e-6
    )


def test_a_lora_for_another_model_is_refused(files, tmp_path: Path, capfd):
    other = write(
        tmp_path / "x.safetensors",
        {Q.replace("mid_block_attentions_0", "down_blocks_3_attentions_0"): lora(Q, 2, 1.0, 0)},
    )
    out = tmp_path / "model"
    assert main(["file", "merge", str(other), "--base", "mame", "-o", str(out)]) == 2
    assert "layers that the model does not have" in capfd.readouterr().err
    bad = write(
        tmp_path / "y.safetensors",
        {Q: {"lora_up.weight": torch.ones(8, 2), "lora_down.weight": torch.ones(2, 8)}},
    )
    assert main(["file", "merge", str(bad), "--base", "mame", "-o", str(out)]) == 2
    err = capfd.readouterr().err
    assert "does not fit the model" in err
    assert not out.exists()
    assert list(tmp_path.glob(".*")) == []
