"""`renma file convert`: other forms change a weight exactly as the algorithm does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import renma
from renma.config.file_tasks import ConvertOptions
from renma.core.errors import UserError
from renma.formats import lora_file, safetensors
from renma.formats.lora_file import LoraFile
from renma.formats.model_weights import ModelWeights
from renma.formats.portability import portability
from renma.use import convert

LINEAR = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
FORMER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
CONV = "lora_unet_mid_block_resnets_0_conv1"
NORM = "lora_unet_mid_block_resnets_0_norm1"


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warned: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def event(self, kind: str, **data: Any) -> None:
        if kind == "warned":
            self.warned.append(data["text"])


@pytest.fixture(scope="module")
def model() -> ModelWeights:
    return ModelWeights("mame")


def layer_of(algorithm: str, outputs: int, inputs: int, k: int = 1) -> dict[str, torch.Tensor]:
    def r(*shape: int) -> torch.Tensor:
        return torch.randn(*shape) / 4

    one, columns = ([k, k] if k > 1 else []), inputs * k * k
    ones = [1, 1] if k > 1 else []
    alpha = {"alpha": torch.tensor(1.5)}
    lora = {"lora_down.weight": r(2, inputs, *one), "lora_up.weight": r(outputs, 2, *ones), **alpha}
    return {
        "lora": lora,
        "dora": lora | {"dora_scale": torch.rand(outputs, 1, *ones) + 0.5},
        "dora in": lora | {"dora_scale": torch.rand(1, inputs, *ones) + 0.5},
        "loha": {"hada_w1_a": r(outputs, 2), "hada_w1_b": r(2, columns), "hada_w2_a": r(outputs, 2),
                 "hada_w2_b": r(2, columns), **alpha},
        "lokr": {"lokr_w1": r(2, 2), "lokr_w2_a": r(outputs // 2, 2), "lokr_w2_b": r(2, columns // 2), **alpha},
        "lokr full": {"lokr_w1": r(4, 4), "lokr_w2": r(outputs // 4, inputs // 4, *one), **alpha},
        "full": {"diff": r(outputs, inputs, *one), "diff_b": r(outputs)},
        "ia3": {"weight": r(outputs), "on_input": torch.tensor(0), "bias_scaled": torch.tensor(1)},
    }[algorithm]  # fmt: skip


def made(model: ModelWeights, algorithm: str) -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    layers = {}
    for key in (LINEAR, FORMER, CONV):
        shape = model.layers[key].shape
        layers[key] = layer_of(algorithm, shape[0], shape[1], shape[2] if len(shape) > 2 else 1)
    return layers


def converted(path: Path, layers: dict, **options: Any) -> tuple[LoraFile, Lines]:
    source, out, report = path / "in.safetensors", path / "out.safetensors", Lines()
    lora_file.write(source, LoraFile(layers, {"ss_network_module": "x"}))
    options = {"to": "kohya", **{"as" if k == "as_form" else k: v for k, v in options.items()}}
    convert.run(ConvertOptions(file=source, out=out, **options), report)
    return lora_file.read(out), report


def difference(model: ModelWeights, a: dict, b: dict, key: str) -> float:
    """The largest difference of the merged weights and biases, relative to the update."""
    weight, bias = model.layer(key)
    weight, bias = weight.float(), torch.zeros(weight.shape[0]) if bias is None else bias.float()
    first, second = (renma.merged_weight(weight, bias, row) for row in (a, b))
    update = (first[0] - weight).norm()
    assert update > 1e-3
    assert first[1] is not None
    assert second[1] is not None
    change = (first[0] - second[0]).norm() / update + (first[1] - second[1]).abs().max()
    return float(change)


@pytest.mark.parametrize("form", ["diff", "merged"])
@pytest.mark.parametrize(
    "algorithm", ["lora", "dora", "dora in", "loha", "lokr", "lokr full", "full", "ia3"]
)
def test_differences_change_the_weight_alike(tmp_path: Path, model, algorithm, form):
    layers = made(model, algorithm)
    additive = algorithm in {"lora", "loha", "lokr", "lokr full", "full"}
    base = {} if form == "diff" and additive else {"base": "mame"}
    file, _ = converted(tmp_path, layers, as_form=form, **base)
    for key, row in layers.items():
        assert file.layers[key].keys() <= {"diff", "diff_b"}
        assert file.layers[key]["diff"].shape == model.layers[key].shape
        assert difference(model, row, file.layers[key], key) < 1e-4
    assert file.metadata["ss_network_module"] == "lycoris.kohya"


@pytest.mark.parametrize("algorithm", ["lora", "loha", "lokr"])
def test_exact_loras(tmp_path: Path, model, algorithm):
    layers = made(model, algorithm)
    file, report = converted(tmp_path, layers, as_form="lora")
    for key, row in layers.items():
        assert file.layers[key].keys() == {"lora_down.weight", "lora_up.weight", "alpha"}
        assert difference(model, row, file.layers[key], key) < 1e-5
    assert report.lines == ["exact"]
    if algorithm == "lora":  # nothing to compute: the same bits
        assert all(
            torch.equal(t, file.layers[k][s]) for k, r in layers.items() for s, t in r.items()
        )


def test_nearest_lora_states_its_error(tmp_path: Path, model):
    layers = {key: row for key, row in made(model, "full").items() if key != CONV}
    for row in layers.values():
        del row["diff_b"]
    file, report = converted(tmp_path, layers, as_form="lora", rank=8)
    total = rest = 0.0
    for key, row in layers.items():
        values = torch.linalg.svdvals(row["diff"].double())
        total += float(values.square().sum())
        rest += float(values[8:].square().sum())
        left = difference(model, row, file.layers[key], key)
        assert left == pytest.approx(
            float((values[8:].square().sum() / values.square().sum()).sqrt()), rel=1e-3
        )
    assert report.lines == [f"error of the whole update: {100 * (rest / total) ** 0.5:.3g} %"]
    assert report.warned == []


def test_a_shorter_lora_is_the_best_of_its_rank(tmp_path: Path, model):
    layers = {LINEAR: made(model, "lora")[LINEAR]}
    file, report = converted(tmp_path, layers, as_form="lora", rank=1)
    weight = model.layer(LINEAR)[0]
    update, _ = renma.merged_weight(torch.zeros(weight.shape), None, layers[LINEAR])
    values = torch.linalg.svdvals(update)
    left = difference(model, layers[LINEAR], file.layers[LINEAR], LINEAR)
    assert left == pytest.approx(float(values[1:].norm() / values.norm()), rel=1e-4)
    assert "error" in report.lines[0]


def test_what_a_lora_cannot_hold_is_said(tmp_path: Path, model):
    layers = made(model, "lora") | {NORM: {"w_norm": torch.ones(model.layers[NORM].shape)}}
    file, report = converted(tmp_path, layers, as_form="lora")
    assert NORM not in file.layers
    assert len(report.warned) == 1
    assert NORM in report.warned[0]


@pytest.mark.parametrize(
    ("algorithm", "options", "words"),
    [
        ("dora", {"as_form": "diff"}, "--base"),
        ("dora", {"as_form": "lora", "rank": 4}, "--base"),
        ("ia3", {"as_form": "diff"}, "--base"),
        ("lora", {"as_form": "merged"}, "--base"),
        ("full", {"as_form": "lora"}, "--rank"),
        ("dora", {"as_form": "lora", "base": "mame"}, "--rank"),
    ],
)
def test_what_is_missing_is_asked_for(tmp_path: Path, model, algorithm, options, words):
    with pytest.raises(UserError, match=words):
        converted(tmp_path, made(model, algorithm), **options)
    assert not (tmp_path / "out.safetensors").exists()


def test_flat_factors_of_1x1_layers_are_questioned(tmp_path: Path, model):
    key = "lora_unet_mid_block_attentions_0_proj_in"
    layers = {key: layer_of("loha", *model.layers[key].shape[:2])}
    file, report = converted(tmp_path, layers, as_form="diff")
    assert file.layers[key]["diff"].dim() == 2
    assert any(key in text and "--base" in text for text in report.warned)
    file, report = converted(tmp_path, layers, as_form="diff", base="mame")
    assert file.layers[key]["diff"].shape == model.layers[key].shape
    assert not any(key in text for text in report.warned)


@pytest.mark.parametrize("to", ["kohya", "diffusers", "lycoris"])
def test_naming_and_precision(tmp_path: Path, model, to):
    layers = made(model, "lora")
    file, report = converted(tmp_path, layers, to=to, precision="bf16")
    assert file.naming == to
    assert file.layers.keys() == layers.keys()
    for key, row in layers.items():
        for suffix, tensor in row.items():
            assert torch.equal(file.layers[key][suffix], tensor.bfloat16()), (key, suffix)
    assert report.warned == []


def test_numbers_too_large_for_a_precision(tmp_path: Path, model):
    layers = made(model, "lora")
    layers[LINEAR]["lora_up.weight"][0, 0] = 1e6
    with pytest.raises(UserError, match="too large"):
        converted(tmp_path, layers, precision="fp16")
    layers[LINEAR]["lora_up.weight"][0, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        converted(tmp_path, layers)
    assert not (tmp_path / "out.safetensors").exists()


def test_trouble_is_told_when_writing(tmp_path: Path, model):
    _, report = converted(tmp_path, made(model, "dora"))
    assert len(report.warned) == 1
    assert "ComfyUI" in report.warned[0]
    _, report = converted(tmp_path, made(model, "dora"), to="diffusers")
    assert report.warned == []  # in this naming diffusers loads it
    _, report = converted(tmp_path, made(model, "lora"), rank=3)
    assert report.warned == ["--rank has no effect without --as"]


def test_portability_names_the_way_out():
    (text,) = portability(["lora", "mora", "lora_fa", "dylora", "mora"])
    assert text.startswith("mora: ")
    assert "--as merged" in text


def test_the_model_without_the_layer(tmp_path: Path, model):
    key = LINEAR.replace("attentions_0", "attentions_7")
    with pytest.raises(UserError, match="attentions_7"):
        converted(tmp_path, {key: made(model, "lora")[LINEAR]}, as_form="merged", base="mame")
    assert safetensors.read_header(tmp_path / "in.safetensors")
