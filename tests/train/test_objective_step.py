"""One training step of renma against plain torch: the same losses, the same gradients (E13).

The plain side shares nothing with renma but the loaded U-Net: it merges the LoRA into copies of the
weights, calls the U-Net itself, and writes the schedule, the target and the loss out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from renma.config.adapter import Lora
from renma.config.objective import ObjectiveConfig
from renma.config.targets import TargetConfig
from renma.diffusion.schedule import NoiseSchedule
from renma.engine.network import Network
from renma.families._base import Condition, Family
from renma.families._twins import Kind, tiny
from renma.train.objectives import denoise
from renma.train.objectives.denoise import Samples
from renma.train.objectives.draws import Draws

MODELS: dict[Kind, tuple[str, ...]] = {
    "sd1": ("epsilon", "v_prediction"),
    "sd2": ("epsilon",),
    "sd2-v": ("v_prediction", "zero terminal"),
    "sdxl": ("epsilon", "v_prediction", "zero terminal"),
}
"""Tiny random twins, and what each is trained as."""
RANK, ALPHA = 2, 1.0
TIMES = torch.tensor([20, 700])
BOTH: dict[str, dict[str, Any]] = {
    "default": {},
    "l1": {"loss": "l1"},
    "huber": {"loss": "huber"},
    "huber exponential": {"loss": "huber", "huber_schedule": "exponential"},
    "smooth constant": {"loss": "smooth_l1", "huber_schedule": "constant"},
    "min-SNR": {"min_snr_gamma": 5.0},
    "debiased": {"debiased_estimation": True},
    "mask": {"mask": True},
    "input noise": {"input noise": True},
    "preservation": {"preserve": True},
    "prior weight": {"prior": True},
}
ALL = {
    "epsilon": BOTH | {"v-like": {"v_pred_like_loss": 0.5}},
    "v_prediction": BOTH | {"like noise": {"scale_v_pred_loss_like_noise_pred": True}},
    "zero terminal": {"default": {}, "min-SNR": {"min_snr_gamma": 5.0}},
}
CASES = [
    (model, kind, name) for model, kinds in MODELS.items() for kind in kinds for name in ALL[kind]
]
MASKS = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(4))
PRIOR = torch.tensor([1.0, 0.3])
MARKED = torch.tensor([False, True])


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Family]:
    """Makes each twin once."""
    folder = tmp_path_factory.mktemp("twins")
    return cache(lambda model: tiny(model, folder))


def network_of(family: Family) -> Network:
    """A LoRA on some layers of each kind, with weights as after some training."""
    some = TargetConfig(only=("*mid_block*", "*down_blocks.1.attentions.0*"))
    network = Network.fresh(family, Lora(rank=RANK, alpha=ALPHA, targets=some), 0, ("unet",))
    for number, member in enumerate(network.members.values()):
        adapter: Any = member.adapter
        adapter.up.data = normal(number, *adapter.up.shape) * 0.3
    return network


def condition_of(family: Family) -> Condition:
    with torch.no_grad():
        condition = family.encode_text(["a red ball", "two cats, sitting"])
    if family.wants_sizes:
        sizes = torch.tensor([[64, 64, 0, 0, 64, 64], [90, 64, 13, 0, 64, 64]])
        condition = condition.with_sizes(sizes.float())
    return condition


def plain_prediction(
    unet: torch.nn.Module, weights: dict[str, Tensor], noisy: Tensor, times: Tensor, said: Condition
) -> Tensor:
    words = {"encoder_hidden_states": said.states}
    if said.pooled is not None:
        words["added_cond_kwargs"] = {"text_embeds": said.pooled, "time_ids": said.sizes}  # pyright: ignore
    return functional_call(unet, weights, (noisy, times), {**words, "return_dict": False})[0]


def merged(unet: torch.nn.Module, factors: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """W + alpha / rank * B A for each layer."""
    own = dict(unet.named_parameters())
    changed = {}
    for path, (down, up) in factors.items():
        weight = own[f"{path}.weight"].detach()
        change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        changed[f"{path}.weight"] = weight + ALPHA / RANK * change
    return changed


def left_of(kind: str) -> Tensor:
    """What is left of the picture at TIMES, (2, 1, 1, 1)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    root = torch.cumprod(1 - betas, 0).sqrt()
    if kind == "zero terminal":
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return root[TIMES].square().view(-1, 1, 1, 1)


def plain_losses(kind: str, options: dict[str, Any], off: Tensor) -> Tensor:
    """The loss of each sample, from what the prediction is off by."""
    left = left_of(kind).float()
    snr, v = (left / (1 - left)).flatten(), kind != "epsilon"
    each = off.abs() if options.get("loss") == "l1" else off**2
    if options.get("loss") in ("huber", "smooth_l1"):
        c = {
            "constant": torch.full((2,), 0.1),
            "exponential": torch.exp(math.log(0.1) * TIMES / 1000),
            "snr": 0.9 / (1 + snr**-0.5) ** 2 + 0.1,
        }[options.get("huber_schedule", "snr")].view(-1, 1, 1, 1)
        each = 2 * ((off**2 + c**2).sqrt() - c) * (c if options["loss"] == "huber" else 1)
    if "mask" in options:
        whole = MASKS.expand_as(each)
        each = (each * whole).flatten(1).sum(1) / whole.flatten(1).sum(1)
    else:
        each = each.flatten(1).mean(1)
    if gamma := options.get("min_snr_gamma"):
        each = each * snr.clamp(max=gamma) / (snr + v)
    if options.get("debiased_estimation"):
        each = each * (1 / (snr + 1) if v else snr.clamp(max=1000).rsqrt())
    if options.get("scale_v_pred_loss_like_noise_pred"):
        each = each * snr.clamp(max=1000) / (snr.clamp(max=1000) + 1)
    if share := options.get("v_pred_like_loss"):
        each = each * (1 + share * (snr.clamp(max=1000) + 1) / snr.clamp(max=1000))
    return each * PRIOR if "prior" in options else each


def plain_step(
    family: Family, kind: str, options: dict[str, Any], draws: Draws, factors: dict[str, Any]
) -> Tensor:
    """The losses (2,), ready for backward into the factors."""
    unet, said = family.parts()["unet"], condition_of(family)
    left = left_of(kind).float()
    seen = draws.noise if draws.noised_with is None else draws.noised_with
    noisy = left.sqrt() * draws.latents + (1 - left).sqrt() * seen
    target = draws.noise
    if kind != "epsilon":
        target = left.sqrt() * draws.noise - (1 - left).sqrt() * draws.latents
    if "preserve" in options:
        with torch.no_grad():
            base = plain_prediction(unet, {}, noisy, TIMES, said)
        target = torch.where(MARKED.view(-1, 1, 1, 1), base, target)
    predicted = plain_prediction(unet, merged(unet, factors), noisy, TIMES, said)
    return plain_losses(kind, options, predicted - target)


@pytest.mark.parametrize(("model", "kind", "name"), CASES, ids=["-".join(c) for c in CASES])
def test_a_step_is_that_of_plain_torch(
    twins: Callable[[Kind], Family], model: Kind, kind: str, name: str
):
    family, options = twins(model), ALL[kind][name]
    network = network_of(family)
    draws = Draws(normal(1, 2, 4, 8, 8), normal(2, 2, 4, 8, 8), TIMES)
    if "input noise" in options:
        draws = Draws(draws.latents, draws.noise, TIMES, draws.noise + 0.1 * normal(3, 2, 4, 8, 8))
    prediction = "epsilon" if kind == "epsilon" else "v_prediction"
    own = {**family.scheduler_config, "prediction_type": prediction}
    schedule = NoiseSchedule.of(own, kind == "zero terminal")
    fields = {k: v for k, v in options.items() if k in ObjectiveConfig.model_fields}
    samples = Samples(
        PRIOR if "prior" in options else torch.ones(2),
        MASKS if "mask" in options else None,
        MARKED if "preserve" in options else None,
    )
    with network.at(unet=1.0):
        off = partial(network.at, unet=0.0, text_encoder=0.0)
        given = (family, schedule, draws, condition_of(family), samples)
        losses = denoise.loss(*given, ObjectiveConfig(**fields), off)
        losses.mean().backward()

    paths = {id(m): path for path, m in family.parts()["unet"].named_modules()}
    adapters: dict[str, Any] = {
        paths[id(m.target.layer)]: m.adapter for m in network.members.values()
    }
    factors = {
        path: tuple(getattr(a, side).detach().clone().requires_grad_() for side in ("down", "up"))
        for path, a in adapters.items()
    }
    expected = plain_step(family, kind, options, draws, factors)
    expected.mean().backward()
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-6)
    theirs = torch.cat([f.grad.flatten() for pair in factors.values() for f in pair])
    ours = torch.cat(
        [getattr(a, s).grad.flatten() for a in adapters.values() for s in ("down", "up")]
    )
    assert theirs.norm() > 0
    assert len(adapters) > 10
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-4
    cosine = torch.nn.functional.cosine_similarity(ours, theirs, dim=0)
    assert float(cosine) > 1 - 1e-6
