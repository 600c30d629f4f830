"""`renma file show`: facts of real and hostile files, norms against the full update."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import renma
from renma.config.file_tasks import ShowOptions
from renma.core.errors import UserError
from renma.formats import lora_file
from renma.formats.lora_file import LoraFile
from renma.use import show
from renma.use.file_facts import facts

HEAD = "lora_unet_down_blocks_0_attentions_0"
TO_Q = f"{HEAD}_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_mid_block_resnets_0_conv1"
TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def event(self, kind: str, **data: Any) -> None:
        self.events.append((kind, data))


def written(path: Path, metadata: dict[str, str] | None = None, **layers: dict) -> Path:
    lora_file.write(path, LoraFile({k: dict(v) for k, v in layers.items()}, metadata or {}))
    return path


def rows() -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    r = torch.randn
    return {
        TO_Q: {"lora_down.weight": r(4, 8), "lora_up.weight": r(6, 4), "alpha": torch.tensor(2.0)},
        CONV: {"lora_down.weight": r(2, 4, 3, 3), "lora_up.weight": r(6, 2, 1, 1)},
        TEXT: {"hada_w1_a": r(6, 2), "hada_w1_b": r(2, 8), "hada_w2_a": r(6, 2), "hada_w2_b": r(2, 8),
               "alpha": torch.tensor(1.0)},
        f"{HEAD}_proj_in": {"lokr_w1": r(2, 2), "lokr_w2_a": r(3, 1), "lokr_w2_b": r(1, 4), "alpha": torch.tensor(1.0)},
        f"{HEAD}_proj_out": {"diff": r(6, 8)},
        f"{HEAD}_transformer_blocks_0_attn2_to_k": {
            "lora_down.weight": r(2, 5, 1, 1), "lora_mid.weight": r(2, 2, 3, 3), "lora_up.weight": r(6, 2, 1, 1)},
    }  # fmt: skip


def test_norms_are_those_of_the_whole_update(tmp_path: Path):
    layers = rows()
    found = facts(written(tmp_path / "x.safetensors", **layers))
    assert found.algorithms == {"lora": 3, "loha": 1, "lokr": 1, "full": 1}
    for layer in found.layers:
        assert layer.shape is not None
        change, _ = renma.merged_weight(torch.zeros(layer.shape), None, layers[layer.key])
        assert layer.norm == pytest.approx(float(change.norm()), rel=1e-5), layer.key
    blocks = {block.block: block for block in found.blocks}
    assert [block.block for block in found.blocks] == ["TE", "IN01", "M00"]
    assert blocks["IN01"].layers == 4
    squares = sum((layer.norm or 0) ** 2 for layer in found.layers if layer.block == "IN01")
    assert blocks["IN01"].norm == pytest.approx(squares**0.5)


def test_ranks_alphas_targets_and_size(tmp_path: Path):
    layers = rows()
    path = written(tmp_path / "x.safetensors", **layers)
    found = facts(path)
    by_key = {layer.key: layer for layer in found.layers}
    assert (by_key[TO_Q].rank, by_key[TO_Q].alpha) == (4, 2.0)
    assert (by_key[CONV].rank, by_key[CONV].alpha) == (2, None)
    assert by_key[CONV].shape == (6, 4, 3, 3)
    assert found.targets["unet"]["self-attention"] == 1
    assert found.targets["text_encoder"] == {"MLP": 1}
    assert found.bytes == path.stat().st_size
    # alpha is a setting, not a trained number
    numbers = sum(t.numel() for row in layers.values() for s, t in row.items() if s != "alpha")
    assert found.parameters == numbers


def test_shown_as_text_json_and_page(tmp_path: Path):
    tags = json.dumps({"10_a": {"red": 3, "blue": 1}, "5_b": {"red": 4}})
    path = written(
        tmp_path / "x.safetensors", {"ss_tag_frequency": tags, "ss_seed": "42"}, **rows()
    )
    report = Lines()
    show.run(ShowOptions(file=path), report)
    text = "\n".join(report.lines)
    assert "lora: 3" in text
    assert [line.split()[:2] for line in report.lines if line.startswith(("red", "blue"))] == [
        ["red", "7"], ["blue", "1"],
    ]  # fmt: skip
    bars = {
        line.split()[0]: line.count("█")
        for line in report.lines
        if line.startswith(("red", "blue"))
    }
    assert bars["red"] == 32
    assert bars["blue"] == 4  # a seventh of it
    report = Lines()
    show.run(ShowOptions(file=path, json=True), report)  # pyright: ignore[reportCallIssue]
    data = json.loads(report.lines[0])
    assert data["tags"] == {"red": 7, "blue": 1}
    assert {layer["key"] for layer in data["layers"]} == set(rows())
    report = Lines()
    show.run(ShowOptions(file=path, search="SEED"), report)
    assert report.lines == ["ss_seed: 42"]
    show.run(ShowOptions(file=path, html=tmp_path / "x.html"), report)
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert page.count("<rect") == 3 + 2
    assert "ss_seed" in page


def test_the_page_is_written_over_nothing_but_a_page(tmp_path: Path):
    """G3, F19: --html with the name of something else leaves that as it is."""
    path = written(tmp_path / "a.safetensors", **rows())
    page = tmp_path / "x.html"
    for _ in range(2):
        show.run(ShowOptions(file=path, html=page), Lines())
    page.write_text("<p>mine")
    before = path.read_bytes()
    for target, said in ((page, "was not written by --html"), (path, r"must end in \.html")):
        with pytest.raises(UserError, match=said):
            show.run(ShowOptions(file=path, html=target), Lines())
    assert page.read_text() == "<p>mine"
    assert path.read_bytes() == before


HOSTILE = {
    "a": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "b": "\x1b[2J\x07 clears the screen",
    "c": "\u202egnp.exe",
    "d": "x" * 5_000_000,
    "ss_tag_frequency": json.dumps(
        {"a": {"\x1b[31m<b>": 1, "x": "many", "y": -3, "z": True, "w": [1]}, "b": 3}
    ),
    "ss_datasets": "[" * 100_000,
    "\x1b]0;title\x07": "key",
}


def test_hostile_metadata_is_shown_as_harmless_text(tmp_path: Path):
    path = written(tmp_path / "x.safetensors", HOSTILE, **rows())
    report = Lines()
    show.run(ShowOptions(file=path), report)
    text = "".join(report.lines)
    assert text.isprintable()
    assert "\\x1b[2J" in text
    assert "\\u202e" in text
    assert max(map(len, report.lines)) < 400
    page = show.page(facts(path))
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "\x1b" not in page
    assert facts(path).tags == {"\x1b[31m<b>": 1}


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 50 + "1" + "}" * 50, "nonsense", "[1, 2]", '{"a": 3}', ""]
)
def test_tags_that_are_none(tmp_path: Path, text):
    path = written(tmp_path / "x.safetensors", {"ss_tag_frequency": text}, **rows())
    assert facts(path).tags == {}


def test_nan_is_flagged_not_hidden(tmp_path: Path):
    layers = rows()
    layers[TO_Q]["lora_up.weight"][0, 0] = float("nan")
    path = written(tmp_path / "x.safetensors", **layers)
    report = Lines()
    show.run(ShowOptions(file=path), report)
    assert any("NaN" in line and "attn1_to_q.lora_up.weight" in line for line in report.lines)
    report = Lines()
    show.run(ShowOptions(file=path, json=True), report)  # pyright: ignore[reportCallIssue]
    assert json.loads(report.lines[0])["not_finite"] == [f"{TO_Q}.lora_up.weight"]


def test_trouble_with_other_programs_is_told(tmp_path: Path):
    report = Lines()
    show.run(ShowOptions(file=written(tmp_path / "x.safetensors", **rows())), report)
    warned = [line for line in report.lines if line.startswith("warning: ")]
    assert {line.split(": ")[1] for line in warned} == {"loha", "lokr", "full", "tucker"}


def test_a_plain_file_has_no_trouble(tmp_path: Path):
    plain = {key: row for key, row in rows().items() if key in (TO_Q, CONV)}
    assert facts(written(tmp_path / "x.safetensors", **plain)).trouble == []


def test_unknown_models_and_algorithms_are_shown_all_the_same(tmp_path: Path):
    layers = {
        "lora_unet_double_blocks_0_img_attn_proj": rows()[TO_Q],
        f"{HEAD}_proj_in": {"scalar": torch.ones(1), "rescale": torch.ones(3)},
        f"{HEAD}_proj_out": {"weight": torch.ones(3), "on_input": torch.tensor(0)},
    }
    found = facts(written(tmp_path / "x.safetensors", **layers))
    by_key = {layer.key: layer for layer in found.layers}
    assert by_key["lora_unet_double_blocks_0_img_attn_proj"].part == "unknown model"
    assert by_key[f"{HEAD}_proj_in"].algorithm == "unknown"
    assert by_key[f"{HEAD}_proj_out"].norm is None
    report = Lines()
    show.run(ShowOptions(file=tmp_path / "x.safetensors"), report)
    assert report.lines


def test_no_lora_no_facts(tmp_path: Path):
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(UserError):
        show.run(ShowOptions(file=tmp_path / "x.safetensors"), Lines())


@pytest.mark.timed
def test_real_files_are_shown_in_under_a_second(reference: Path):
    for path in (reference / "real-loras").glob("*.safetensors"):
        start = time.process_time()
        found = facts(path)
        show.page(found)
        assert time.process_time() - start < 1
        assert found.ranks == {"4": 128}
        assert found.algorithms == {"lora": 128}
        assert found.targets == {"unet": {"self-attention": 64, "cross-attention": 64}}
        assert found.parameters == 797_184  # 128 layers of the SD 1.5 attention at rank 4
