"""Real files and facts kept outside the repository, and tiny models in a single file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from renma.engine.network import Network
from renma.formats import safetensors
from testbed.every_algorithm import CONFIGS, Case, Seen, look
from testbed.lora_files import CONV, POINT, TEXT, Q, lora, write


class SingleFile:
    """A tiny random model as a diffusers folder and as a checkpoint in Stability's names.

    The checkpoint's names are made here from diffusers' names, and proven by diffusers' own
    converter, which gives every weight back from them.

    Attributes:
        family: sd1, sd2 or sdxl.
        states: weights by part and diffusers' name, text encoders with ``text_model.``.
        tensors: the checkpoint.
        folder: the diffusers folder.
        path: the checkpoint's file.
    """

    def __init__(self, family: str, modules: dict[str, Any], root: Path) -> None:
        self.family, self.modules = family, modules
        self.states = {
            part: {
                name if part == "unet" or name.startswith("text_") else f"text_model.{name}": tensor
                for name, tensor in module.state_dict().items()
            }
            for part, module in modules.items()
        }
        self.tensors = checkpoint_of(family, self.states)
        self.folder, self.path = root / family, root / f"{family}.safetensors"

    def write(self) -> None:
        """Writes folder and file."""
        self.write_states(self.folder, self.states)
        metadata = {"modelspec.title": "tiny", "modelspec.hash_sha256": "0x00"}
        save_file(self.tensors, self.path, metadata)

    @staticmethod
    def write_states(folder: Path, states: dict[str, dict[str, Tensor]]) -> None:
        """Writes a diffusers folder."""
        for part, state in states.items():
            stem = "diffusion_pytorch_model" if part == "unet" else "model"
            (folder / part).mkdir(parents=True)
            save_file(state, folder / part / f"{stem}.safetensors")

    def converted(self, tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Returns the weights that diffusers' converter finds in a checkpoint."""
        from diffusers.loaders import single_file_utils as diffusers_own

        unet = self.modules["unet"]
        found = {"unet": diffusers_own.convert_ldm_unet_checkpoint(tensors, dict(unet.config))}
        for part in list(self.states)[1:]:
            if self.family == "sd1" or (self.family == "sdxl" and part == "text_encoder"):
                state = diffusers_own.convert_ldm_clip_checkpoint(tensors)
            else:
                prefix = "cond_stage_model.model."
                prefix = "conditioner.embedders.1.model." if self.family == "sdxl" else prefix
                module = self.modules[part]
                state = diffusers_own.convert_open_clip_checkpoint(module, tensors, prefix)
            found[part] = {n: t for n, t in state.items() if not n.endswith("position_ids")}
        return found


def checkpoint_of(family: str, states: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Returns a checkpoint of weights by diffusers' names."""
    found = {}
    for name, tensor in states["unet"].items():
        found[f"model.diffusion_model.{stability_name(name, states['unet'])}"] = tensor
    clip = "cond_stage_model.transformer."
    clip = "conditioner.embedders.0.transformer." if family == "sdxl" else clip
    if family != "sd2":
        found |= {clip + name: tensor for name, tensor in states["text_encoder"].items()}
    if family == "sd2":
        found |= open_clip_of(states["text_encoder"], "cond_stage_model.model.")
    if family == "sdxl":
        found |= open_clip_of(states["text_encoder_2"], "conditioner.embedders.1.model.")
    return found


def stability_name(name: str, unet: dict[str, Tensor]) -> str:
    """Returns a U-Net weight's name in Stability's code; blocks of two layers."""
    ends = {
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
        "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
    }  # fmt: skip
    for i in range(4):
        for j in range(3):
            ends[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{3 * i + j + 1}.0"
            ends[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{3 * i + j + 1}.1"
            ends[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{3 * i + j}.0"
            ends[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{3 * i + j}.1"
        ends[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{3 * i + 3}.0.op"
        place = 2 if any(key.startswith(f"up_blocks.{i}.attentions.") for key in unet) else 1
        ends[f"up_blocks.{i}.upsamplers.0.conv"] = f"output_blocks.{3 * i + 2}.{place}.conv"
    resnet = {
        "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0",
        "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
    }  # fmt: skip
    head = next(head for head in ends if name.startswith(f"{head}."))
    rest = name.removeprefix(f"{head}.")
    if ".resnets." in name:
        module, _, kind = rest.rpartition(".")
        rest = f"{resnet[module]}.{kind}"
    return f"{ends[head]}.{rest}"


def open_clip_of(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns a CLIP text encoder as OpenCLIP stores it: q, k, v as one, the projection turned."""
    around = {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
    }
    inside = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
              "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}  # fmt: skip
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in around:
            found[prefix + around[name]] = tensor
        elif name == "text_projection.weight":
            found[prefix + "text_projection"] = tensor.t().contiguous()
        elif "q_proj" in name:
            three = [state[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            block, kind = name.split(".")[3], name.split(".")[-1]
            fused = torch.cat(three)
            found[f"{prefix}transformer.resblocks.{block}.attn.in_proj_{kind}"] = fused
        elif "k_proj" not in name and "v_proj" not in name:
            block, _, rest = name.removeprefix("text_model.encoder.layers.").partition(".")
            module, _, kind = rest.rpartition(".")
            found[f"{prefix}transformer.resblocks.{block}.{inside[module]}.{kind}"] = tensor
    return found


def tiny(configuration: dict[str, Any]) -> dict[str, Any]:
    """Returns a published configuration with few channels; its names stay."""
    unet = configuration["unet"]
    unet["block_out_channels"] = [8, 16, 16, 16][: len(unet["block_out_channels"])]
    unet |= {"norm_num_groups": 4, "attention_head_dim": 4, "cross_attention_dim": 24}
    if "addition_embed_type" in unet:
        unet["transformer_layers_per_block"] = [1, 2, 3]
        unet |= {"addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 28}
    text = {"vocab_size": 60, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 16,
            "max_position_embeddings": 8}  # fmt: skip
    for part in ("text_encoder", "text_encoder_2"):
        if part in configuration:
            size = 16 if part == "text_encoder_2" else 8
            configuration[part] |= {**text, "hidden_size": size, "intermediate_size": 4 * size}
    return configuration


def modules_of(configuration: dict[str, Any]) -> dict[str, Any]:
    """Returns the modules that a configuration describes."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    found: dict[str, Any] = {"unet": UNet2DConditionModel.from_config(configuration["unet"])}
    for part, kind in kinds.items():
        if part in configuration:
            found[part] = kind(CLIPTextConfig(**configuration[part]))
    return found


def architectures() -> dict[str, Any]:
    """Configurations of the published models."""
    file = Path(__file__).parent.parent / "config" / "architectures.json"
    return json.loads(file.read_text())


@pytest.fixture(scope="session", params=["sd1", "sd2", "sdxl"])
def single(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SingleFile:
    """Tiny models of every family, stored in half precision."""
    torch.manual_seed(0)
    modules = modules_of(tiny(architectures()[request.param]))
    for module in modules.values():
        for tensor in module.state_dict().values():
            tensor.normal_()  # norms and biases too, so that no two weights are alike
        module.half()
    made = SingleFile(request.param, modules, tmp_path_factory.mktemp("models"))
    made.tensors |= {
        "first_stage_model.encoder.conv_in.weight": torch.randn(4, 3, 3, 3).half(),
        "first_stage_model.encoder.mid.attn_1.q.bias": torch.full((4,), torch.nan).half(),
        "alphas_cumprod": torch.rand(1000) * 1e-9,
    }
    if made.family == "sd1":
        ids = "cond_stage_model.transformer.text_model.embeddings.position_ids"
        made.tensors[ids] = torch.arange(8)[None]
    made.write()
    for part, state in made.converted(made.tensors).items():
        assert state.keys() == made.states[part].keys()
        assert all(torch.equal(state[name], t) for name, t in made.states[part].items())
    return made


@pytest.fixture(scope="session", params=["sd1", "sd2", "sdxl"])
def published_single(request: pytest.FixtureRequest) -> SingleFile:
    """The published models without weights."""
    configuration = architectures()[request.param]
    with torch.device("meta"):
        if request.param == "sd2":
            configuration["text_encoder"]["num_hidden_layers"] = 24  # as in the file
        modules = modules_of(configuration)
    return SingleFile(request.param, modules, Path())


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two LoRAs of mame that share two layers and have one each of their own."""
    a = {Q: lora(Q, 4, 2.0, 0), POINT: lora(POINT, 4, 2.0, 1), CONV: lora(CONV, 4, 2.0, 2)}
    b = {Q: lora(Q, 6, 6.0, 3), CONV: lora(CONV, 2, 1.0, 4), TEXT: lora(TEXT, 6, 6.0, 5)}
    shared = {"ss_base_model_version": "sd_v1", "ss_v2": "False", "ss_sd_model_name": "base.ckpt"}
    tags = {"ss_tag_frequency": '{"x": {"tag": 3}}', "ss_seed": "1"}
    first = write(tmp_path / "a.safetensors", a, {**shared, **tags, "ss_network_dim": "4"})
    second = write(tmp_path / "b.safetensors", b, {**shared, "ss_network_dim": "6"})
    return first, second


@pytest.fixture(scope="session")
def base(mame) -> Seen:
    """What mame computes without an adapter."""
    return look(mame)


@pytest.fixture(scope="session")
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
