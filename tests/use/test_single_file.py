"""Single-file checkpoints in the file tools, beside diffusers' converter and diffusers folders."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import renma
from renma.cli import main
from renma.config.adapter import Lora
from renma.config.layer_table import Slot, choose, slots
from renma.config.targets import TargetConfig
from renma.formats import checkpoint, lora_file
from renma.formats.lora_file import LoraFile
from renma.formats.model_weights import ModelWeights

VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
# kohya's own counts of modules: U-Net's transformers, with convolutions, text encoders
COUNTS = {"sd1": (192, 278, 72), "sd2": (192, 278, 138), "sdxl": (722, 788, 264)}

Layers = dict[str, dict[str, Tensor]]


def table(single: Any) -> list[Slot]:
    """The layers by diffusers' names and shapes."""
    parts = [{n: tuple(t.shape) for n, t in state.items()} for state in single.states.values()]
    return slots(*parts)


def lora(slot: Slot, rank: int = 2, size: float = 0.3) -> dict[str, Tensor]:
    one = [1, 1] if len(slot.shape) == 4 else []
    return {
        "lora_up.weight": torch.randn(slot.outputs, rank, *one) * size,
        "lora_down.weight": torch.randn(rank, *slot.shape[1:]) * size,
        "alpha": torch.tensor(rank / 2),
    }


def whole(single: Any) -> Layers:
    """A LoRA of everything, with biases and norms changed here and there."""
    torch.manual_seed(1)
    layers: Layers = {}
    for number, slot in enumerate(table(single)):
        if slot.is_norm:
            layers[slot.name] = {"w_norm": torch.randn(slot.outputs)}
            if slot.bias:
                layers[slot.name]["b_norm"] = torch.randn(slot.outputs)
        elif number % 3 == 0 and slot.bias:
            layers[slot.name] = {
                "diff": torch.randn(slot.shape),
                "diff_b": torch.randn(slot.outputs),
            }
        else:
            layers[slot.name] = lora(slot)
    return layers


def written(path: Path, layers: Layers) -> Path:
    lora_file.write(path, LoraFile(layers))
    return path


def delta(layer: dict[str, Tensor]) -> Tensor:
    up, down = layer["lora_up.weight"].flatten(1), layer["lora_down.weight"].flatten(1)
    return float(layer["alpha"]) / len(down) * up @ down


def test_every_layer_lies_where_diffusers_finds_it(single):
    model, found = ModelWeights(str(single.path)), checkpoint.read(single.path)
    assert found.family == single.family
    expected = {slot.name: slot for slot in table(single)}
    assert model.layers == expected
    for key, slot in expected.items():
        weight, bias = model.layer(key)
        state = single.states[slot.part]
        assert torch.equal(weight, state[f"{slot.path}.weight"])
        assert (bias is None) == (not slot.bias)
        assert bias is None or torch.equal(bias, state[f"{slot.path}.bias"])
    names = {(place.part, place.name) for place in found.places}
    assert names == {(part, name) for part, state in single.states.items() for name in state}
    keys = {place.key for place in found.places if place.kind == "weight"}
    assert set(expected) <= keys


def test_merged_weights_are_those_that_diffusers_reads(single, tmp_path: Path):
    layers = whole(single)
    source, out = written(tmp_path / "l.safetensors", layers), tmp_path / "new.safetensors"
    assert main(["file", "merge", f"{source}:0.7", "--base", str(single.path), "-o", str(out)]) == 0
    new = load_file(out)
    states = single.converted(new)
    for slot in table(single):
        old, found = single.states[slot.part], states[slot.part]
        bias = old.get(f"{slot.path}.bias")
        pair = renma.merged_weight(
            old[f"{slot.path}.weight"].float(),
            None if bias is None else bias.float(),
            layers[slot.name],
            0.7,
        )
        assert found[f"{slot.path}.weight"].dtype == torch.float16
        assert torch.equal(found[f"{slot.path}.weight"], pair[0].half())
        assert bias is None or torch.equal(found[f"{slot.path}.bias"], pair[1].half())
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"modelspec.title": "tiny"}  # the old hash would be wrong
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_other_tensors_keep_their_bits(single, tmp_path: Path):
    text = next(s for s in table(single) if s.path.endswith("layers.1.self_attn.k_proj"))
    unet = next(s for s in table(single) if s.path.endswith("proj_in"))
    chosen = [text, unet]
    source = written(tmp_path / "l.safetensors", {slot.name: lora(slot) for slot in chosen})
    out = tmp_path / "new.safetensors"
    assert main(["file", "merge", str(source), "--base", str(single.path), "-o", str(out)]) == 0
    old, new = bits(single.path), bits(out)
    assert list(old) == list(new)
    changed = {name for name in old if old[name] != new[name]}
    places = {p.tensor: p for p in checkpoint.read(single.path).places if p.key == text.name}
    assert len(changed) == 2
    before, after = load_file(single.path), load_file(out)
    (fused,) = changed - {n for n in changed if n.startswith("model.")}
    if single.family == "sd2":  # only the key's rows of query, key and value
        rows = (before[fused] != after[fused]).any(dim=1).nonzero().flatten().tolist()
        assert rows == list(range(8, 16))
        assert places[fused].rows == (8, 16)


def bits(path: Path) -> dict[str, tuple[str, bytes]]:
    """Every tensor's type and bytes, in the file's order."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {
        name: (row["dtype"], data[8 + size :][slice(*row["data_offsets"])])
        for name, row in header.items()
    }


def test_a_precision_is_for_weights_not_for_the_noise_schedule(single, tmp_path: Path):
    slot = next(s for s in table(single) if s.path.endswith("proj_in"))
    layers = {slot.name: lora(slot)}
    source, out = written(tmp_path / "l.safetensors", layers), tmp_path / "new.safetensors"
    words = ["--base", str(single.path), "-o", str(out), "--precision", "bf16"]
    assert main(["file", "merge", str(source), *words]) == 0
    new = load_file(out)
    for name, tensor in single.tensors.items():
        if name == "alphas_cumprod" or not tensor.is_floating_point():
            assert torch.equal(new[name], tensor), "as it was"
        else:
            assert new[name].dtype == torch.bfloat16
    weight = single.states["unet"][f"{slot.path}.weight"].float()
    expected = renma.merged_weight(weight, None, layers[slot.name])[0].bfloat16()
    assert torch.equal(single.converted(new)["unet"][f"{slot.path}.weight"], expected)


def test_matrices_and_1x1_convolutions_fit_each_other(single, tmp_path: Path):
    """SD 1 projects with convolutions; LoRAs of either shape exist for every family."""
    slot = next(s for s in table(single) if s.path.endswith("proj_out"))
    assert len(slot.shape) == (4 if single.family == "sd1" else 2)
    row = lora(slot)
    up, down = row["lora_up.weight"].flatten(1), row["lora_down.weight"].flatten(1)
    forms = [(up, down), (up[:, :, None, None], down[:, :, None, None])]
    results = []
    for number, (one, other) in enumerate(forms):
        changed = {**row, "lora_up.weight": one, "lora_down.weight": other}
        source = written(tmp_path / f"{number}.safetensors", {slot.name: changed})
        out = tmp_path / f"new{number}.safetensors"
        assert main(["file", "merge", str(source), "--base", str(single.path), "-o", str(out)]) == 0
        results.append(bits(out))
    assert results[0] == results[1]
    assert results[0] != bits(single.path)


def test_extract_returns_what_was_merged_whatever_the_files(single, tmp_path: Path, capfd):
    torch.manual_seed(2)
    chosen = [slot for slot, _, _ in choose(Lora(rank=1), table(single))]
    assert {slot.part for slot in chosen} == set(single.states)
    layers = {slot.name: lora(slot) for slot in chosen}
    source = written(tmp_path / "l.safetensors", layers)
    words = ["file", "merge", str(source), "--precision", "fp32", "--base"]
    file, folder = tmp_path / "new.safetensors", tmp_path / "new"
    assert main([*words, str(single.path), "-o", str(file)]) == 0
    assert main([*words, str(single.folder), "-o", str(folder)]) == 0
    results = []
    for base, tuned in ((single.path, file), (single.path, folder), (single.folder, file)):
        out = tmp_path / "o.safetensors"
        rank = ["--rank", "2"]
        assert main(["file", "extract", str(base), str(tuned), str(out), *rank]) == 0
        found = lora_file.read(out)
        assert found.layers.keys() == layers.keys()
        for key, row in layers.items():
            error = (delta(found.layers[key]) - delta(row)).norm()
            assert error < 1e-4 * delta(row).norm()
        assert found.metadata["ss_base_model_version"] == VERSIONS[single.family]
        assert found.metadata["ss_v2"] == str(single.family == "sd2")
        results.append({k: delta(row) for k, row in found.layers.items()})
        assert "no other weight differs" in capfd.readouterr().out
    assert all(torch.equal(one[k], results[0][k]) for one in results for k in layers)


def test_what_lies_outside_is_said(single, tmp_path: Path, capfd):
    torch.manual_seed(3)
    target = next(s for s in table(single) if s.path.endswith("attn1.to_q"))
    others = {
        "unet": ["conv_in.bias", "mid_block.resnets.0.norm1.weight", "conv_out.weight"],
        "text_encoder": ["text_model.embeddings.token_embedding.weight"],
    }
    if single.family == "sdxl":
        others["text_encoder_2"] = ["text_projection.weight"]
    states = {p: {n: t.float() for n, t in s.items()} for p, s in single.states.items()}
    inside, outside = torch.randn(target.shape) / 4, 0.0
    states["unet"][f"{target.path}.weight"] += inside
    for part, names in others.items():
        for name in names:
            change = torch.randn(states[part][name].shape) / 8
            states[part][name] += change
            outside += change.square().sum().item()
    type(single).write_states(tmp_path / "tuned", states)
    words = [str(single.path), str(tmp_path / "tuned"), str(tmp_path / "o.safetensors")]
    assert main(["file", "extract", *words, "--rank", "8"]) == 0
    share = (outside / (outside + inside.square().sum().item())) ** 0.5
    said = capfd.readouterr().out
    assert f"not extracted: {share:.2%} of the whole difference's norm" in said
    for kind in ("embeddings", "norms", "biases", "convolutions"):
        assert kind in said
    assert ("other layers" in said) == (single.family == "sdxl")


def test_convert_and_verify_take_it_as_the_folder(single, tmp_path: Path, capfd):
    torch.manual_seed(4)
    layers = {slot.name: lora(slot) for slot in table(single) if not slot.is_norm}
    for key in list(layers)[::2]:
        rows = len(layers[key]["lora_up.weight"])
        axes = [1] * (layers[key]["lora_up.weight"].ndim - 1)
        layers[key]["dora_scale"] = torch.rand(rows, *axes) + 0.5
    source = written(tmp_path / "l.safetensors", layers)
    made = []
    for base in (single.path, single.folder):
        out = tmp_path / "o.safetensors"
        words = ["--to", "kohya", "--as", "merged", "--base", str(base)]
        assert main(["file", "convert", str(source), str(out), *words]) == 0
        assert main(["file", "verify", str(source), "--model", str(base)]) == 0
        made.append(out.read_bytes())
    assert made[0] == made[1]
    strange = {"lora_te_text_model_encoder_layers_9_mlp_fc1": next(iter(layers.values()))}
    wrong = written(tmp_path / "w.safetensors", strange)
    capfd.readouterr()
    assert main(["file", "verify", str(wrong), "--model", str(single.path)]) == 2
    assert f"is no layer of {single.path}" in capfd.readouterr().err


def test_published_models_have_kohyas_layers(published_single):
    single = published_single
    header = {
        name: {"dtype": "F16", "shape": list(t.shape), "data_offsets": [0, 0]}
        for name, t in single.tensors.items()
    }
    family = checkpoint.family_of(header)
    assert family == single.family
    places = list(checkpoint.places(header, family, Path()))
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for place in places:
        shapes.setdefault(place.part, {})[place.name] = place.shape
    parts = {part: shapes[part] for part in single.states}  # the table's order of parts
    found = slots(*parts.values())
    unused = "layers_23_" if family == "sd2" else "none"  # SD 2's last text layer is never run
    expected = [s for s in table(single) if unused not in s.name]
    assert {(s.name, s.shape, s.bias) for s in found} == {
        (s.name, s.shape, s.bias) for s in expected
    }
    assert {s.name for s in found} <= {p.key for p in places if p.kind == "weight"}
    for preset, unet in zip(("transformer", "conv"), COUNTS[single.family][:2], strict=True):
        chosen = [s for s, _, _ in choose(Lora(targets=TargetConfig(preset=preset)), found)]
        assert sum(s.part == "unet" for s in chosen) == unet
        assert sum(s.part != "unet" for s in chosen) == COUNTS[single.family][2]


def test_mistakes_are_one_line(tmp_path: Path, capfd):
    pickled, out = tmp_path / "model.ckpt", tmp_path / "out.safetensors"
    pickled.write_bytes(b"PK\3\4")
    key = "lora_unet_mid_block_attentions_0_proj_in"
    small = {"lora_up.weight": torch.ones(128, 1), "lora_down.weight": torch.ones(1, 128)}
    source = str(written(tmp_path / "l.safetensors", {key: small}))
    flux = tmp_path / "flux.safetensors"
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.ones(3, 3)}, flux)
    refiner = tmp_path / "refiner.safetensors"
    save_file({"conditioner.embedders.0.model.text_projection": torch.ones(3, 3)}, refiner)
    unet = "model.diffusion_model"
    eight = {
        f"{unet}.input_blocks.0.0.weight": torch.ones(4, 4, 3, 3),
        f"{unet}.middle_block.1.proj_in.weight": torch.ones(128, 128, 1, 1),
    }
    good, quarter = tmp_path / "good.safetensors", tmp_path / "quarter.safetensors"
    save_file(eight, good)
    save_file({name: t.to(torch.float8_e4m3fn) for name, t in eight.items()}, quarter)
    merge = ["merge", source, "-o", str(out), "--base"]
    convert = ["convert", source, str(out), "--to", "kohya", "--as", "merged", "--base"]
    extract_words = ["--rank", "1"]
    for words, message in (
        ([*merge, str(pickled)], "pickled"),
        ([*convert, str(pickled)], "pickled"),
        (["verify", source, "--model", str(pickled)], "pickled"),
        (["extract", str(pickled), str(good), str(out), *extract_words], "pickled"),
        ([*merge, str(flux)], "no checkpoint of SD 1.x"),
        ([*merge, str(refiner)], "refiner"),
        ([*merge, str(tmp_path / "none.safetensors")], "no such file"),
        ([*merge, str(quarter)], "--precision fp16"),
        (["merge", source, "-o", str(tmp_path / "folder"), "--base", str(good)], "file"),
        (["merge", source, "-o", str(out), "--base", "mame"], "not the name of a folder"),
        (["merge", source, "-o", str(good), "--base", str(good)], "is there already"),
        (["merge", f"{source}:1e38", "-o", str(out), "--base", str(good), "--precision", "fp16"], "fp32"),
    ):  # fmt: skip
        assert main(["file", *words]) == 2
        err = capfd.readouterr().err
        assert message in err
        assert len(err.splitlines()) == 1
        assert not out.exists()
    assert list(tmp_path.glob(".*")) == []
    assert main(["file", *merge, str(quarter), "--precision", "fp16"]) == 0
    merged = load_file(out)[f"{unet}.middle_block.1.proj_in.weight"]
    assert torch.equal(merged, torch.full((128, 128, 1, 1), 2.0).half())
