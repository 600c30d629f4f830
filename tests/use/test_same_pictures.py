"""Files as the trainer writes them mean the same everywhere: renma, diffusers, PEFT, LyCORIS.

Every algorithm gets random numbers, is written, loaded by another program and asked for the text
states and the predicted noise. Where a program cannot load it, :mod:`renma.formats.portability`
must say so - and the command that it names must write a file that gives the same picture.
ComfyUI is not installed: the rule of its simplest loader is written down here again.
"""

from __future__ import annotations

import copy
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from lycoris import LycorisNetwork, create_lycoris_from_weights
from torch import Tensor, nn

from renma import adapters
from renma.cli.app import main
from renma.config.adapter import (
    IA3,
    AdapterSection,
    DyLora,
    Full,
    GLora,
    LoHa,
    LoKr,
    Lora,
    LoraFA,
    Mora,
    Oft,
)
from renma.config.targets import TargetConfig
from renma.core import registry
from renma.engine.network import Network
from renma.engine.sample import Shot, denoise
from renma.formats import lora_file, safetensors
from renma.formats.portability import portability, programs

# every kind of layer once: attention of text and picture, resnets with and without a shortcut,
# both changes of size; "lora" has all layers, and so every name
SOME = (
    "*layers.0*", "*down_blocks.0.attentions*", "*down_blocks.0.downsamplers*",
    "*mid_block.resnets.0*", "*up_blocks.2.resnets.0*", "*up_blocks.2.upsamplers*",
)  # fmt: skip
ATTENTION = TargetConfig(only=SOME)
CONV = TargetConfig(preset="conv", only=SOME)
NORMS = TargetConfig(preset="conv", only=SOME, norms=True)
CONFIGS: dict[str, AdapterSection] = {
    "lora": Lora(rank=4, alpha=2, targets=TargetConfig(preset="full")),
    "rslora": Lora(rank=5, alpha=2, rank_stabilized=True, targets=ATTENTION),
    "locon": Lora(rank=4, alpha=3, conv_rank=2, conv_alpha=1, targets=CONV),
    "tucker": Lora(rank=4, alpha=2, tucker=True, targets=CONV),
    "dora": Lora(rank=4, alpha=2, dora="output", targets=CONV),
    "dora on inputs": Lora(rank=4, alpha=2, dora="input", targets=CONV),
    "pissa": Lora(rank=2, alpha=2, start="pissa", targets=CONV),
    "lora_fa": LoraFA(rank=4, alpha=2, targets=CONV),
    "dylora": DyLora(rank=4, alpha=2, unit=2, targets=CONV),
    "loha": LoHa(rank=3, alpha=2, targets=CONV),
    "loha tucker": LoHa(rank=3, alpha=2, tucker=True, targets=CONV),
    "loha dora": LoHa(rank=3, alpha=2, dora="output", targets=CONV),
    "lokr": LoKr(rank=2, alpha=1, factor=4, targets=CONV),
    "lokr both": LoKr(rank=2, alpha=1, decompose_both=True, targets=CONV),
    "lokr whole": LoKr(full_matrix=True, targets=CONV),
    "lokr dora": LoKr(rank=2, alpha=1, dora="output", targets=CONV),
    "ia3": IA3(targets=TargetConfig(preset="ia3")),
    "ia3 conv": IA3(targets=CONV),
    "mora": Mora(rank=4, targets=CONV),
    "mora sharing": Mora(rank=4, kind="sharing", targets=CONV),
    "mora dora": Mora(rank=4, dora="output", targets=CONV),
    "full": Full(targets=NORMS),
    "full without bias": Full(bias=False, targets=CONV),
    "full dora": Full(dora="output", targets=CONV),
    "glora": GLora(rank=3, alpha=2, targets=CONV),
    "oft": Oft(rank=4, targets=CONV),
    "oft with constraint": Oft(rank=4, constraint=0.001, targets=CONV),
}
ALL = pytest.mark.parametrize("name", CONFIGS)
SHOT = Shot("person, pink hair, smile", negative="frown", seed=3, steps=4, scale=4)
FULL_RANK = 4096
Seen = tuple[Tensor, Tensor]


@dataclass
class Case:
    """A network, its file, and what it does at a strength."""

    network: Network
    path: Path
    seen: dict[float, Seen] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        layers = lora_file.read(self.path).layers
        return [kind for layer in layers.values() for kind in adapters.kinds(layer)]


@pytest.fixture(scope="module")
def base(mame) -> Seen:
    return look(mame)


@pytest.fixture(scope="module")
def case(mame, tmp_path_factory) -> Callable[[str], Case]:
    """Makes each algorithm's network and file once."""
    folder, found = tmp_path_factory.mktemp("files"), {}

    def make(name: str) -> Case:
        if name not in found:
            network = Network.fresh(mame, CONFIGS[name], 0, ("unet", "text_encoder"))
            generator = torch.Generator().manual_seed(1)
            for part in ("unet", "text_encoder"):
                for p in network.parameters(part):
                    p.data.add_(torch.randn(p.shape, generator=generator) * 0.05)
            path = folder / f"{name}.safetensors"
            safetensors.save(path, network.tensors(), {})
            found[name] = Case(network, path)
            for strength in (1.0, 0.5):
                with network.at(unet=strength, text_encoder=strength):
                    found[name].seen[strength] = look(mame)
        return found[name]

    return make


@pytest.fixture(scope="module")
def pipeline(mame) -> Any:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import StableDiffusionPipeline

        pipe = StableDiffusionPipeline.from_pretrained(mame.path, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def look(mame, unet: Any = None, text_encoder: Any = None) -> Seen:
    """Text states and predicted noise of mame, or of the same with other modules."""
    words = mame.tokens[0]
    prompts = ("smile", "person, pink hair")
    tokens = torch.tensor([words.rows(words.numbers(prompt), 1)[0] for prompt in prompts])
    states = (text_encoder or mame.text_encoder)(tokens).last_hidden_state
    generator = torch.Generator().manual_seed(0)
    x, times = torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([500, 20])
    return states, (unet or mame.unet)(x, times, states).sample


def far(seen: Seen, ours: Seen, base: Seen) -> float:
    """The largest difference, as a share of what the adapter changes."""
    changed = [(a - b).norm() for a, b in zip(ours, base, strict=True)]
    assert min(changed) > 1e-3 * base[0].norm()
    missed = [(a - b).norm() for a, b in zip(seen, ours, strict=True)]
    return max(float(m / c) for m, c in zip(missed, changed, strict=True))


SAME = 2e-4


def in_diffusers(pipe: Any, mame, path: Path, strength: float = 1.0) -> Seen:
    with quiet():
        pipe.load_lora_weights(path, adapter_name="x")
        try:
            pipe.set_adapters("x", strength)
            return look(mame, pipe.unet, pipe.text_encoder)
        finally:
            pipe.unload_lora_weights()


def in_lycoris(mame, path: Path, strength: float = 1.0) -> Seen:
    """Loads the U-Net's and the text encoder's half, each by its own prefix."""
    tensors, networks = safetensors.read_tensors(path), []
    before = LycorisNetwork.LORA_PREFIX
    try:
        for prefix, model in (("lora_te_text_model", mame.text_encoder), ("lora_unet", mame.unet)):
            own = {k: v for k, v in tensors.items() if k.startswith(prefix)}
            LycorisNetwork.LORA_PREFIX = prefix
            with quiet():
                network, _ = create_lycoris_from_weights(strength, "", model, weights_sd=own)
            assert len(network.loras) == len({name.partition(".")[0] for name in own})
            networks.append(network)
        for network in networks:
            network.apply_to()
        return look(mame)
    finally:
        LycorisNetwork.LORA_PREFIX = before
        for network in networks:
            network.restore()


def in_comfyui(mame, path: Path, strength: float = 1.0) -> Seen:
    """Its rule for plain differences: W + strength * diff, b + strength * diff_b; norms alike.

    Suffixes that the rule does not know are a mistake here: ComfyUI would pass over them.
    """
    parts = {name: copy.deepcopy(getattr(mame, name)) for name in ("unet", "text_encoder")}
    flat = {
        key: module
        for prefix, root in (("lora_unet_", "unet"), ("lora_te_text_model_", "text_encoder"))
        for name, module in parts[root].named_modules()
        for key in [prefix + name.removeprefix("text_model.").replace(".", "_")]
    }
    meanings = {"diff": "weight", "w_norm": "weight", "diff_b": "bias", "b_norm": "bias"}
    for name, tensor in safetensors.read_tensors(path).items():
        key, _, suffix = name.partition(".")
        getattr(flat[key], meanings[suffix]).data.add_(strength * tensor)
    return look(mame, parts["unet"], parts["text_encoder"])


@contextmanager
def quiet() -> Iterator[None]:
    """Other libraries' warnings are not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def convert(case: Case, out: Path, *options: str) -> Path:
    assert main(["file", "convert", str(case.path), str(out), *options]) == 0
    return out


def outcome(load: Callable[[], Seen], ours: Seen, base: Seen) -> str:
    """``same``, ``other`` picture, or ``refused``."""
    try:
        return "same" if far(load(), ours, base) < SAME else "other"
    except (ValueError, RuntimeError, TypeError, AttributeError):
        return "refused"


def test_every_algorithm_is_here():
    names = {config.algorithm for config in CONFIGS.values()}
    assert names == set(registry.names("renma.adapters"))


@ALL
def test_renma_reads_its_own_file(mame, case, base, name):
    made = case(name)
    network = Network.from_file(mame, made.path)
    for strength, ours in made.seen.items():
        with network.at(unet=strength, text_encoder=strength):
            assert far(look(mame), ours, base) < SAME


LOSES = {"dora": "other", "dora on inputs": "other"}
"""Where diffusers leaves something out instead of refusing the file."""


@ALL
def test_what_is_said_of_diffusers_is_what_happens(
    mame, case, base, pipeline, name, tmp_path, capsys
):
    """In kohya's names and in its own; the numbers come back bit by bit."""
    made = case(name)
    ours = made.seen[1.0]
    happened = outcome(lambda: in_diffusers(pipeline, mame, made.path), ours, base)
    refused = "refused" if "diffusers" in programs(made.kinds) else "same"
    assert happened == LOSES.get(name, refused)
    other = convert(made, tmp_path / "d.safetensors", "--to", "diffusers")
    happened = outcome(lambda: in_diffusers(pipeline, mame, other), ours, base)
    assert happened == ("refused" if "diffusers" in programs(made.kinds, "diffusers") else "same")
    back = convert(Case(made.network, other), tmp_path / "k.safetensors", "--to", "kohya")
    before, after = safetensors.read_tensors(made.path), safetensors.read_tensors(back)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    capsys.readouterr()


@ALL
def test_what_is_said_of_lycoris_is_what_happens(mame, case, base, name):
    made = case(name)
    happened = outcome(lambda: in_lycoris(mame, made.path), made.seen[1.0], base)
    cannot = "other" if name == "full dora" else "refused"
    assert happened == (cannot if "LyCORIS" in programs(made.kinds) else "same")


@pytest.mark.parametrize("name", ["rslora", "locon", "loha", "lokr", "glora", "oft", "full"])
def test_half_strength_is_half_everywhere(mame, case, base, pipeline, name):
    made = case(name)
    assert far(in_lycoris(mame, made.path, 0.5), made.seen[0.5], base) < SAME
    if "diffusers" not in programs(made.kinds):
        seen = in_diffusers(pipeline, mame, made.path, 0.5)
        assert far(seen, made.seen[0.5], base) < SAME


COMMAND = re.compile(r"`renma (file [^`]*)` writes (\w+ \w+ )?")


@ALL
def test_the_way_out_is_one(mame, case, base, pipeline, name, tmp_path, capsys):
    """Every command that a sentence names is run, and its file loaded where it is for."""
    made = case(name)
    ours, commands = made.seen[1.0], set()
    for text in portability(made.kinds):
        commands |= {match[1] for match in COMMAND.finditer(text)}
    assert bool(commands) == bool(programs(made.kinds))
    for number, command in enumerate(sorted(commands)):
        model = command.startswith("file merge")
        out = tmp_path / (f"model{number}" if model else f"{number}.safetensors")
        words = {"IN": str(made.path), "OUT": str(out), "N": str(FULL_RANK), "MODEL": "mame"}
        assert main([words.get(word, word) for word in command.split()]) == 0
        if model:
            with quiet():
                pipe = type(pipeline).from_pretrained(out)
            seen = look(mame, pipe.unet.float(), pipe.text_encoder.float())
            assert far(seen, ours, base) < 2e-2  # the model's own precision is fp16
        elif "--to diffusers" in command:
            assert far(in_diffusers(pipeline, mame, out), ours, base) < SAME
        else:
            assert far(in_lycoris(mame, out), ours, base) < SAME
    capsys.readouterr()


@ALL
def test_differences_are_the_same_in_comfyui(mame, case, base, name, tmp_path, capsys):
    """At half strength too, where other programs mean other things by a half DoRA."""
    made = case(name)
    whole = convert(
        made, tmp_path / "x.safetensors", "--to", "kohya", "--as", "merged", "--base", "mame"
    )
    for strength, ours in made.seen.items():
        assert far(in_comfyui(mame, whole, strength), ours, base) < SAME
    capsys.readouterr()


@pytest.mark.parametrize(
    "name", ["dora", "full", "full without bias", "full dora", "ia3", "ia3 conv"]
)
def test_full_rank_lora_is_the_same_in_diffusers(
    mame, case, base, pipeline, name, tmp_path, capsys
):
    """What a LoRA has no place for, biases and norms, is told and nothing else is lost.

    The other algorithms go the same way in the test above.
    """
    made = case(name)
    how = ("--to", "diffusers", "--as", "lora", "--rank", str(FULL_RANK), "--base", "mame")
    lora = convert(made, tmp_path / "x.safetensors", *how)
    said = capsys.readouterr()
    seen = in_diffusers(pipeline, mame, lora)
    if name in {"full", "full dora", "ia3", "ia3 conv"}:
        assert "no place for biases" in said.out + said.err
        weights = convert(
            made, tmp_path / "w.safetensors", "--to", "kohya", "--as", "merged", "--base", "mame"
        )
        tensors = safetensors.read_tensors(weights)
        safetensors.save(weights, {k: t for k, t in tensors.items() if k.endswith(".diff")}, {})
        ours = in_comfyui(mame, weights)
    else:
        ours = made.seen[1.0]
    assert far(seen, ours, base) < SAME
    capsys.readouterr()


def of_lora(_: AdapterSection, options: dict[str, Any], __: list[str]) -> peft.PeftConfig:
    return peft.LoraConfig(**options)


def of_loha(config: Any, _: dict[str, Any], layers: list[str]) -> peft.PeftConfig:
    return peft.LoHaConfig(r=config.rank, alpha=config.alpha, target_modules=layers)


def of_lokr(config: Any, _: dict[str, Any], layers: list[str]) -> peft.PeftConfig:
    rank, alpha = (9999, 9999) if config.full_matrix else (config.rank, config.alpha)
    options = {"decompose_factor": config.factor, "decompose_both": config.decompose_both}
    return peft.LoKrConfig(r=rank, alpha=alpha, target_modules=layers, **options)


def of_ia3(_: AdapterSection, __: dict[str, Any], layers: list[str]) -> peft.PeftConfig:
    inner = [layer for layer in layers if layer.endswith(("ff.net.2", "mlp.fc2"))]
    return peft.IA3Config(target_modules=layers, feedforward_modules=inner)


@pytest.mark.parametrize(
    ("name", "make"),
    [(n, of_lora) for n in ("lora", "rslora", "locon", "dora", "pissa", "lora_fa", "dylora")]
    + [("loha", of_loha)]
    + [(n, of_lokr) for n in ("lokr", "lokr both", "lokr whole")]
    + [(n, of_ia3) for n in ("ia3", "ia3 conv")],
)
def test_peft_computes_the_same_from_diffusers_names(
    mame, case, base, name, make, tmp_path, capsys
):
    """LoRA and DoRA with the file's own configuration; the others as somebody would set them up."""
    made = case(name)
    path = convert(made, tmp_path / "x.safetensors", "--to", "diffusers")
    tensors, (_, metadata) = safetensors.read_tensors(path), safetensors.read_header(path)
    options = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    parts: dict[str, nn.Module] = {}
    for part in ("text_encoder", "unet"):
        head = f"{part}.text_model." if part == "text_encoder" else f"{part}."
        own = {k.removeprefix(head): t for k, t in tensors.items() if k.startswith(head)}
        layers = sorted({re.sub(r"\.(lora_|hada_|lokr_|ia3_|alpha).*", "", k) for k in own})
        kept = {
            k.removeprefix(f"{part}."): v for k, v in options.items() if k.startswith(f"{part}.")
        }
        with quiet():
            config = make(CONFIGS[name], kept, layers)
            parts[part] = peft.inject_adapter_in_model(config, copy.deepcopy(getattr(mame, part)))
            told = peft.set_peft_model_state_dict(parts[part], own)
        assert all(key.endswith("alpha") for key in told.unexpected_keys)
        assert not [k for k in told.missing_keys if re.search("lora_|hada_|lokr_|ia3_", k)]
    assert far(look(mame, parts["unet"], parts["text_encoder"]), made.seen[1.0], base) < SAME
    capsys.readouterr()


@pytest.mark.parametrize("name", ["locon", "dora", "lokr", "oft"])
def test_whole_pictures_are_the_same_in_diffusers(mame, case, pipeline, name, tmp_path, capsys):
    made = case(name)
    form = [] if name in {"locon", "dora"} else ["--as", "lora", "--rank", "4096", "--base", "mame"]
    path = convert(made, tmp_path / "x.safetensors", "--to", "diffusers", *form)
    before = denoise(mame, [SHOT])
    with made.network.at():
        ours = denoise(mame, [SHOT])
    with quiet():
        pipeline.load_lora_weights(path)
        theirs = pipeline(
            SHOT.prompt, negative_prompt=SHOT.negative, guidance_scale=SHOT.scale,
            num_inference_steps=SHOT.steps, generator=torch.Generator().manual_seed(SHOT.seed),
            output_type="latent", width=mame.native_size, height=mame.native_size,
        ).images  # fmt: skip
        pipeline.unload_lora_weights()
    assert (ours - before).norm() > 0.02 * before.norm()
    assert (theirs - ours).norm() < 1e-3 * (ours - before).norm()
    capsys.readouterr()
