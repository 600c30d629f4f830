"""An L1 penalty pulls a LoRA to where it changes nothing, whatever its algorithm (E3)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from renma import adapters, optimizers
from renma.adapters._base import LayerSpec
from renma.config.optimizers.custom import Custom
from testbed.random_layers import VARIANTS, every

PLAIN = "torch.optim.SGD"


def layer_of(kind: str) -> nn.Module:
    torch.manual_seed(3)
    made = nn.Linear(8, 12) if kind == "linear" else nn.Conv2d(4, 6, 3, padding=1)
    return made.requires_grad_(False)


@pytest.mark.parametrize("kind", ["linear", "conv2d"])
@every
def test_the_penalty_alone_gives_the_base_model_back(variant: str, kind: str):
    """Every trained number is moved away, then nothing but the penalty acts: W' = W again."""
    layer = layer_of(kind)
    made = adapters.build(LayerSpec.of(layer), VARIANTS[variant], torch.Generator().manual_seed(5))
    made.start(layer.weight)
    trained = [p for p in made.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.data += 0.3 * torch.randn_like(parameter)
    moved, _ = made.apply_weight(layer.weight, layer.bias)
    assert not torch.allclose(moved, layer.weight, atol=1e-3)
    groups = [{"params": trained, "lr": 0.1}]
    config = Custom(class_path=PLAIN, l1=1.0)
    optimizer = optimizers.build(groups, config, made.unchanged(layer.weight))
    for _ in range(100):
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    weight, bias = made.apply_weight(layer.weight, layer.bias)
    torch.testing.assert_close(weight, layer.weight, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(bias, layer.bias, atol=1e-6, rtol=0)


def test_one_step_goes_that_far_towards_the_centre_and_not_past_it():
    """c + sign(p - c) max(|p - c| - rate l1, 0), written out for four numbers."""
    centre = torch.tensor([2.0, 2.0, -1.0, 0.5])
    numbers = nn.Parameter(torch.tensor([2.5, 1.9, 0.0, 0.5]))
    other = nn.Parameter(torch.tensor([2.5, -0.1]))
    groups = [{"params": [numbers, other], "lr": 0.1}]
    optimizer = optimizers.build(groups, Custom(class_path=PLAIN, l1=2.0), [(numbers, centre)])
    numbers.grad, other.grad = torch.zeros(4), torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(numbers.detach(), torch.tensor([2.3, 2.0, -0.2, 0.5]))
    torch.testing.assert_close(other.detach(), torch.tensor([2.3, 0.0]))


def test_factors_of_a_file_that_rescale_go_to_one():
    """OFT files of kohya's networks.oft may hold `rescale`, where 1 leaves a row as it is."""
    tensors = {
        "oft_blocks": torch.zeros(3, 4, 4),
        "alpha": torch.tensor(0.0),
        "rescale": torch.full((12, 1), 1.5),
    }
    layer = layer_of("linear")
    made = adapters.restore(LayerSpec.of(layer), tensors)
    ((parameter, centre),) = made.unchanged(layer.weight)
    assert parameter is made.rescale
    parameter.data.copy_(centre)
    torch.testing.assert_close(made.apply_weight(layer.weight, None)[0], layer.weight)
