"""A network on a model: targets, strengths, files that others read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from renma.config.adapter import Lora
from renma.config.estimate import adaptable, parameters
from renma.config.layer_table import choose, slots
from renma.core.errors import UserError
from renma.engine.network import Network
from renma.engine.sample import Shot, denoise
from renma.formats import safetensors
from renma.formats.diffusers_folder import weight_file

SHOT = Shot("person, pink hair, smile", negative="frown", seed=3, steps=4, scale=4)


@pytest.fixture
def network(mame):
    found = Network.fresh(mame, Lora(rank=4, alpha=2), 0, ("unet", "text_encoder"))
    generator = torch.Generator().manual_seed(1)
    for adapter in (member.adapter for member in found.members.values()):
        adapter.up.data.copy_(torch.randn(adapter.up.shape, generator=generator) * 0.05)
    return found


def test_attached_at_zero_and_detached_are_the_base_bit_by_bit(mame, network):
    before = denoise(mame, [SHOT])
    with network.at(unet=0.0, text_encoder=0.0):
        assert torch.equal(denoise(mame, [SHOT]), before)
    with network.at():
        assert not torch.allclose(denoise(mame, [SHOT]), before, atol=1e-2)
    assert torch.equal(denoise(mame, [SHOT]), before)


def test_strengths_of_unet_and_text_encoder_are_separate(mame, network):
    with network.at(unet=1.0, text_encoder=0.0):
        unet_only = denoise(mame, [SHOT])
    with network.at(unet=0.0, text_encoder=1.0):
        text_only = denoise(mame, [SHOT])
        same = mame.encode_text(["smile"]).states
    assert not torch.equal(unet_only, text_only)
    assert not torch.equal(mame.encode_text(["smile"]).states, same)


def test_two_networks_add_up(mame, network):
    other = Network.fresh(mame, Lora(rank=2, alpha=2), 9, ("unet",))
    for adapter in (member.adapter for member in other.members.values()):
        adapter.up.data.fill_(0.01)
    member = next(iter(other.members.values()))
    target, adapter = member.target, member.adapter
    name = next(iter(other.members))
    x = (
        torch.randn(1, 3, adapter.spec.inputs)
        if adapter.spec.kind == "linear"
        else torch.randn(1, adapter.spec.inputs, 4, 4)
    )
    with torch.no_grad(), network.at(), other.at(unet=0.5):
        both = target.layer(x)
    weight, bias = network.members[name].adapter.apply_weight(
        target.layer.weight, target.layer.bias
    )
    weight, bias = adapter.apply_weight(weight, bias, 0.5)
    torch.testing.assert_close(both, adapter.spec.apply(x, weight, bias), rtol=1e-4, atol=1e-5)


def test_trained_numbers_are_known_from_file_headers(mame):
    shapes = []
    for part in ("unet", "text_encoder"):
        header, _ = safetensors.read_header(weight_file(mame.path / part))
        shapes.append({name: tuple(row["shape"]) for name, row in header.items()})
    config = Lora(rank=5)
    network = Network.fresh(mame, config, 0, ("unet", "text_encoder"))
    trained = sum(p.numel() for part in ("unet", "text_encoder") for p in network.parameters(part))
    assert parameters(adaptable(*shapes), config) == trained


def test_file_gives_diffusers_the_same_picture(mame, network, tmp_path: Path):
    from diffusers import StableDiffusionPipeline

    path = tmp_path / "x.safetensors"
    safetensors.save(path, network.tensors(), {})
    pipe = StableDiffusionPipeline.from_pretrained(mame.path, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(str(path))
    theirs = pipe(
        SHOT.prompt, negative_prompt=SHOT.negative, guidance_scale=SHOT.scale,
        num_inference_steps=SHOT.steps, generator=torch.Generator().manual_seed(SHOT.seed),
        output_type="latent", width=mame.native_size, height=mame.native_size,
    ).images  # fmt: skip
    with network.at():
        ours = denoise(mame, [SHOT])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    read = Network.from_file(mame, path)
    with read.at():
        assert torch.equal(denoise(mame, [SHOT]), ours)


def test_lycoris_reads_every_layer_and_computes_the_same(mame, network, monkeypatch):
    from lycoris import LycorisNetwork, create_lycoris_from_weights

    tensors = network.tensors()
    x, times = torch.randn(2, 4, 16, 16), torch.tensor([500, 20])
    with torch.no_grad(), network.at():
        states = mame.encode_text(["smile", "frown"]).states
        noise = mame.unet(x, times, states).sample

    def theirs(prefix: str, module, compute):
        monkeypatch.setattr(LycorisNetwork, "LORA_PREFIX", prefix)
        chosen = {k: v for k, v in tensors.items() if k.startswith(prefix)}
        other, _ = create_lycoris_from_weights(1.0, "", module, weights_sd=chosen)
        assert len(other.loras) == len(chosen) // 3
        other.apply_to()
        try:
            with torch.no_grad():
                return compute()
        finally:
            other.restore()

    text = theirs(
        "lora_te_text_model", mame.text_encoder, lambda: mame.encode_text(["smile", "frown"]).states
    )
    unet = theirs("lora_unet", mame.unet, lambda: mame.unet(x, times, states).sample)
    torch.testing.assert_close(text, states, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(unet, noise, rtol=1e-4, atol=1e-4)


def test_noise_does_not_depend_on_the_batch(mame):
    other = Shot("person, bald", negative="x", seed=8, steps=4, scale=4)
    alone = denoise(mame, [SHOT])
    together = denoise(mame, [other, SHOT])
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-4)


def test_lora_of_another_model_is_refused_by_name(mame, tmp_path: Path):
    path = tmp_path / "other.safetensors"
    tensors = {"lora_unet_input_blocks_1_1_proj_in.lora_down.weight": torch.zeros(4, 4)}
    safetensors.save(path, tensors, {})
    with pytest.raises(UserError, match="lora_unet_input_blocks_1_1_proj_in.*model family"):
        Network.from_file(mame, path)


@pytest.mark.parametrize(
    "damage",
    [
        {"alpha": torch.tensor(-1.0)},
        {"alpha": torch.tensor(float("nan"))},
        {"lora_down.weight": torch.zeros(0, 5)},
        {"lora_up.weight": torch.zeros(3, 3)},
        {"lora_down.weight": torch.zeros(())},
    ],
)
def test_damaged_lora_is_refused_by_name(mame, network, tmp_path: Path, damage):
    name = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = {k: v for k, v in network.tensors().items() if k.startswith(f"{name}.")}
    tensors |= {f"{name}.{suffix}": tensor for suffix, tensor in damage.items()}
    safetensors.save(tmp_path / "x.safetensors", tensors, {})
    with pytest.raises(
        UserError, match=rf"x.safetensors: '{name}.*' (cannot be used|has no numbers)"
    ):
        Network.from_file(mame, tmp_path / "x.safetensors")


def test_names_and_shapes_of_a_real_kohya_file_on_the_full_sd15_shape():
    facts = Path(__file__).parents[3] / "shared" / "spec" / "kohya_header.json"
    if not facts.exists():
        pytest.skip("the header of a real kohya file is not beside this checkout")
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8,
            block_out_channels=(320, 640, 1280, 1280),
        )  # fmt: skip
    shapes = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    ours = {slot.name: slot.shape for slot, _, _ in choose(Lora(), slots(shapes))}
    theirs = json.loads(facts.read_text())["tensors"]
    names = theirs if isinstance(theirs, dict) else {row["name"]: row for row in theirs}
    expected = {n.split(".")[0] for n in names if n.startswith("lora_unet_")}
    assert set(ours) == expected
    assert len(ours) == 192
    assert sum(s[0] + s[1] for s in ours.values()) == 423_936
