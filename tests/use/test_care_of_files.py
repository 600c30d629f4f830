"""What no file tool may do: write over what it reads, lose or take in something unsaid."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from renma.cli import main
from renma.config.file_tasks import ShowOptions, VerifyOptions
from renma.engine.low_rank import Factors
from renma.formats import lora_file
from renma.use import loha_fit, show, verify

KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
PATH = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
EMBEDDING = {"bundle_emb.cat.string_to_param.*": torch.arange(6.0).reshape(1, 6)}


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def event(self, kind: str, **data: Any) -> None: ...


def lora(path: Path, rank: int = 4, extra: dict | None = None, **others: torch.Tensor) -> Path:
    g = torch.Generator().manual_seed(0)
    row = {
        "lora_up.weight": torch.randn(128, rank, generator=g),
        "lora_down.weight": torch.randn(rank, 128, generator=g),
        "alpha": torch.tensor(2.0),
        **others,
    }
    metadata = {"ss_network_module": "networks.dylora"}
    save_file({f"{KEY}.{s}": t for s, t in row.items()} | (extra or {}), path, metadata)
    return path


COMMANDS = {
    "merge": ["{a}", "{b}", "-o", "{out}"],
    "resize": ["{a}", "{out}", "--rank", "2"],
    "cut": ["{a}", "{out}", "--rank", "2"],
    "convert": ["{a}", "{out}", "--to", "kohya"],
    "extract": ["{a}", "{b}", "{out}", "--rank", "2"],
}


def command(verb: str, a: Path, b: Path, out: Path) -> list[str]:
    return ["file", verb, *(word.format(a=a, b=b, out=out) for word in COMMANDS[verb])]


@pytest.mark.parametrize("verb", COMMANDS)
@pytest.mark.parametrize("alias", [False, True])
def test_an_input_is_not_written_over(tmp_path: Path, capfd, verb, alias):
    a, b = lora(tmp_path / "a.safetensors"), lora(tmp_path / "b.safetensors", 2)
    inputs = [a, b] if verb in {"merge", "extract"} else [a]
    for path in inputs:
        before, out = path.read_bytes(), path
        if alias:
            out = tmp_path / f"also-{path.name}"
            os.link(path, out)
        assert main(command(verb, a, b, out)) == 2
        error = capfd.readouterr().err
        assert "would be written over" in error
        assert "another name" in error
        assert len(error.splitlines()) == 1
        assert path.read_bytes() == before


def test_a_models_folder_is_not_written_into(tmp_path: Path, capfd):
    weights = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.parent.mkdir(parents=True)
    lora(weights)
    before = weights.read_bytes()
    words = ["file", "extract", str(tmp_path / "model"), str(tmp_path / "model"), str(weights)]
    assert main([*words, "--rank", "2"]) == 2
    assert "would be written over" in capfd.readouterr().err
    assert weights.read_bytes() == before


def test_an_old_result_is_replaced(tmp_path: Path):
    a, out = lora(tmp_path / "a.safetensors"), lora(tmp_path / "o.safetensors", 2)
    assert main(["file", "resize", str(a), str(out), "--rank", "3"]) == 0
    assert lora_file.read(out).layers[KEY]["lora_down.weight"].shape[0] == 3


def test_a_mapped_file_can_be_edited(tmp_path: Path):
    path = lora(tmp_path / "a.safetensors")
    mapped, before = load_file(path), lora_file.read(path).layers[KEY]
    copies = {name: tensor.clone() for name, tensor in mapped.items()}
    assert main(["file", "edit", str(path), "--set", "note=" + "x" * 9999]) == 0
    assert all(torch.equal(tensor, copies[name]) for name, tensor in mapped.items())
    assert all(torch.equal(t, before[s]) for s, t in lora_file.read(path).layers[KEY].items())


# embeddings in LoRA files


@pytest.mark.parametrize("verb", ["merge", "resize", "cut"])
def test_embeddings_are_left_out_aloud(tmp_path: Path, capfd, verb):
    a = lora(tmp_path / "a.safetensors", extra=EMBEDDING)
    out = tmp_path / "o.safetensors"
    assert main(command(verb, a, lora(tmp_path / "b.safetensors"), out)) == 0
    said = "".join(capfd.readouterr())
    assert "(cat) are left out of the new file" in " ".join(said.split())
    assert all(name.startswith(KEY) for name in load_file(out))


@pytest.mark.parametrize(("to", "kept"), [("kohya", True), ("lycoris", True), ("diffusers", False)])
def test_embeddings_are_kept_where_the_naming_has_them(tmp_path: Path, capfd, to, kept):
    a, out = lora(tmp_path / "a.safetensors", extra=EMBEDDING), tmp_path / "o.safetensors"
    assert main(["file", "convert", str(a), str(out), "--to", to]) == 0
    said = " ".join("".join(capfd.readouterr()).split())
    assert ("are kept as they are" if kept else "are left out") in said
    found = load_file(out)
    assert bool(EMBEDDING.keys() & found.keys()) == kept
    assert all(torch.equal(found[n], t) for n, t in EMBEDDING.items() if kept)
    verify.run(VerifyOptions(file=out), report := Lines())
    assert report.lines[-1] == "nothing wrong"


def test_embeddings_are_passed_over_with_a_note(tmp_path: Path):
    path = lora(tmp_path / "a.safetensors", extra=EMBEDDING)
    for run in (
        lambda report: show.run(ShowOptions(file=path), report),
        lambda report: verify.run(VerifyOptions(file=path), report),
    ):
        run(report := Lines())
        assert "note: embeddings beside the LoRA (cat) are passed over" in report.lines
    show.run(ShowOptions(file=path, json=True), report := Lines())
    assert "passed over" in json.loads(report.lines[0])["notes"][0]


def test_a_configuration_that_was_used_is_named(tmp_path: Path, capfd):
    path, out = tmp_path / "x.safetensors", tmp_path / "o.safetensors"
    names = {f"unet.{PATH}.lora_A.weight": torch.ones(4, 8), f"unet.{PATH}.lora_B.weight": torch.ones(8, 4)}  # fmt: skip
    save_file(names, path)
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 8}')
    assert main(["file", "convert", str(path), str(out), "--to", "kohya"]) == 0
    assert "alpha comes from adapter_config.json" in " ".join("".join(capfd.readouterr()).split())
    show.run(ShowOptions(file=path), report := Lines())
    assert any("note: alpha comes from adapter_config.json" in line for line in report.lines)


# what no layer may hold


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "negative alpha": ({"alpha": torch.tensor(-1.0)}, "alpha -1, below 0"),
    "alpha nan": ({"alpha": torch.tensor(float("nan"))}, "alpha nan"),
    "two alphas": ({"alpha": torch.ones(2)}, "2 numbers for alpha"),
    "rank": ({"rank": 4097}, "rank 4097, more than 4096"),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("verb", ["merge", "resize", "cut", "convert", "into a model"])
def test_odd_layers_are_refused_in_one_sentence(tmp_path: Path, capfd, name, verb):
    change, words = ODD[name]
    a, b = lora(tmp_path / "a.safetensors", **change), lora(tmp_path / "b.safetensors")
    out = tmp_path / "o.safetensors"
    arguments = command("merge" if verb == "into a model" else verb, a, b, out)
    if verb == "convert":
        arguments += ["--as", "diff"]
    elif verb == "into a model":
        arguments[-1] = str(tmp_path / "model")
        arguments += ["--base", "mame"]
    assert main(arguments) == 2
    error = capfd.readouterr().err
    assert words in error
    assert KEY in error
    assert "validation" not in error
    assert len(error.splitlines()) == 1
    assert error.rstrip().count(". ") >= 1, "a remedy follows"
    assert not out.exists()


@pytest.mark.parametrize("to", ["kohya", "diffusers", "lycoris"])
def test_two_alphas_have_no_name_in_any_naming(tmp_path: Path, capfd, to):
    a, out = lora(tmp_path / "a.safetensors", alpha=torch.ones(2)), tmp_path / "o.safetensors"
    assert main(["file", "convert", str(a), str(out), "--to", to]) == 2
    assert "2 numbers for alpha" in capfd.readouterr().err
    assert not out.exists()


def test_ranks_of_any_size_are_named_by_verify(tmp_path: Path, capfd):
    path = lora(tmp_path / "a.safetensors", rank=4097)
    assert main(["file", "verify", str(path)]) == 2
    error = capfd.readouterr().err
    assert "rank 4097, more than 4096" in error
    assert "Download it again" in error
    assert "validation" not in error


def test_fitting_stays_on_its_device():
    like = Factors(torch.ones(6, 2, device="meta"), torch.ones(2, 8, device="meta"))
    matrix = torch.ones(6, 8, device="meta")
    ones = loha_fit._ones(like, 0.1, 0)
    made = loha_fit._solved(matrix, ones, matrix)
    assert ones.up.device.type == ones.down.device.type == "meta"
    assert made.up.device.type == made.down.device.type == "meta"
