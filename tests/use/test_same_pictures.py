"""Files as the trainer writes them mean the same everywhere: renma, diffusers, PEFT, LyCORIS.

Every algorithm gets random numbers, is written, loaded by another program and asked for the text
states and the predicted noise. Where a program cannot load it, :mod:`renma.formats.portability`
must say so - and the command that it names must write a file that gives the same picture.
ComfyUI is not installed: the rule of its simplest loader is written down here again.
"""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lycoris import LycorisNetwork, create_lycoris_from_weights

from renma.cli.app import main
from renma.core import registry
from renma.engine.network import Network
from renma.engine.sample import Shot, denoise
from renma.formats import safetensors
from renma.formats.portability import portability, programs
from testbed.every_algorithm import ALL, CONFIGS, SAME, Case, Seen, convert, far, look, quiet

SHOT = Shot("person, pink hair, smile", negative="frown", seed=3, steps=4, scale=4)
FULL_RANK = 4096


@pytest.fixture(scope="module")
def pipeline(mame) -> Any:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import StableDiffusionPipeline

        pipe = StableDiffusionPipeline.from_pretrained(mame.path, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


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
