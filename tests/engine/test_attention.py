"""Ways to compute attention give the same numbers (E7)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import (
    Attention,
    AttnProcessor,
    AttnProcessor2_0,
    XFormersAttnProcessor,
)
from torch.nn import functional

from renma.adapters._product import knows
from renma.core.errors import UserError
from renma.engine import attention, cpu_attention, lean
from renma.engine.attention import set_attention
from renma.engine.team import Team


@pytest.fixture
def unet(mame) -> Any:
    return copy.deepcopy(mame.unet)


def predicted(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 16, 16, generator=generator)
    states = torch.randn(2, 77, 128, generator=generator)
    with torch.no_grad():
        return unet(x, torch.tensor([3, 900]), states, return_dict=False)[0]


def processors(unet: Any) -> set[type]:
    return {type(m.processor) for m in unet.modules() if isinstance(m, Attention)}


def test_all_ways_on_a_cpu_predict_the_same(unet, monkeypatch):
    monkeypatch.setattr(cpu_attention, "LEAST_SCORES", 0)
    assert set_attention(unet, "none") == 20
    assert processors(unet) == {AttnProcessor}
    expected = predicted(unet)
    set_attention(unet, "sdpa")
    assert processors(unet) == {AttnProcessor2_0}
    torch.testing.assert_close(predicted(unet), expected, rtol=1e-4, atol=1e-5)
    set_attention(unet, "auto")
    done = lean.apply(unet, recomputed=False, convolutions=False, products=False)
    assert processors(unet) == {cpu_attention.Processor}
    assert done.attention == 20
    torch.testing.assert_close(predicted(unet), expected, rtol=1e-4, atol=1e-5)


def test_plain_attention_is_left_alone_by_the_lean_step(unet):
    set_attention(unet, "none")
    assert lean.apply(unet).attention == 0
    assert processors(unet) == {AttnProcessor}


def test_xformers_is_refused_where_it_cannot_run(unet, monkeypatch):
    monkeypatch.setattr(attention, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed.*pip install xformers") as caught:
        set_attention(unet, "xformers")
    assert "auto" in caught.value.line()
    monkeypatch.setattr(attention, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="needs a CUDA device, the model is on cpu"):
        set_attention(unet, "xformers")
    assert processors(unet) == {AttnProcessor2_0}


def test_xformers_stands_in_everywhere_once_it_may(unet, monkeypatch):
    monkeypatch.setattr(attention, "_check_xformers", lambda root: None)
    assert set_attention(unet, "xformers") == 20
    assert processors(unet) == {XFormersAttnProcessor}


def heads(tokens: int, width: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(2, tokens, 3, width, generator=generator) * 1.5).to(dtype).requires_grad_()


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T / sqrt(d)) v as it is written."""
    q, k, v = (t.transpose(1, 2) for t in (query, key, value))
    return (torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v).transpose(1, 2)


@pytest.mark.parametrize("block", [64, 4096, 2**19])
@pytest.mark.parametrize(("tokens", "others"), [(70, 70), (65, 77), (64, 1), (1, 9)])
def test_output_and_gradients_in_float32(tokens, others, block, monkeypatch):
    monkeypatch.setattr(cpu_attention, "BLOCK", block)
    given = [heads(n, 24, torch.float32, n + i) for i, n in enumerate((tokens, others, others))]
    expected = plain(*(t.double() for t in given))
    grad = torch.randn(expected.shape, generator=torch.Generator().manual_seed(9))
    wanted = torch.autograd.grad(expected, given, grad.double())
    got = cpu_attention.attend(*given, Team())
    found = torch.autograd.grad(got, given, grad)
    for ours, exact in zip((got, *found), (expected, *wanted), strict=True):
        assert (ours - exact).norm() <= 3e-6 * exact.norm() + 1e-6


@pytest.mark.skipif(
    not knows(torch.zeros(1, dtype=torch.bfloat16)), reason="oneDNN has no bfloat16 on this CPU"
)
def test_no_worse_than_torchs_kernel_in_bfloat16():
    given = [heads(256, 40, torch.bfloat16, seed) for seed in range(3)]
    exact = plain(*(t.double() for t in given))
    grad = torch.randn(exact.shape, generator=torch.Generator().manual_seed(9)).bfloat16()
    wanted = [exact, *torch.autograd.grad(exact, given, grad.double())]

    def kernel(*tensors: torch.Tensor) -> torch.Tensor:
        turned = (t.transpose(1, 2) for t in tensors)
        return functional.scaled_dot_product_attention(*turned).transpose(1, 2)

    errors = []
    for function in (lambda *t: cpu_attention.attend(*t, Team()), kernel):
        out = function(*given)
        found = [out, *torch.autograd.grad(out, given, grad)]
        errors.append([(f - w).norm() / w.norm() for f, w in zip(found, wanted, strict=True)])
    for ours, theirs in zip(*errors, strict=True):
        assert ours < 1.5 * theirs
        assert ours < 5e-3


def test_keeps_only_its_inputs():
    given = [heads(300, 8, torch.float32, seed) for seed in range(3)]
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (kept.append(tensor.data_ptr()), tensor)[1], lambda tensor: tensor
    ):
        cpu_attention.attend(*given, Team())
    assert kept == [tensor.data_ptr() for tensor in given]


def test_odd_layers_go_the_way_of_diffusers(monkeypatch):
    """Masks, norms inside, picture-shaped inputs."""
    monkeypatch.setattr(cpu_attention, "LEAST_SCORES", 0)
    torch.manual_seed(0)
    x = torch.randn(2, 9, 32)
    mask = torch.zeros(2, 9).masked_fill_(torch.arange(9) > 5, -1e4)
    cases: list[tuple[dict[str, Any], torch.Tensor, dict[str, Any]]] = [
        ({}, x, {"attention_mask": mask}),
        ({"norm_num_groups": 4}, x, {}),
        ({"qk_norm": "layer_norm"}, x, {}),
        ({"cross_attention_norm": "layer_norm"}, x, {"encoder_hidden_states": x[:, :4]}),
        ({"residual_connection": True, "rescale_output_factor": 2.0}, x, {}),
        ({"residual_connection": True}, torch.randn(2, 32, 3, 3), {}),
    ]
    for made, given, words in cases:
        layer = Attention(query_dim=32, heads=4, dim_head=8, processor=AttnProcessor2_0(), **made)
        expected = layer(given, **words)
        assert cpu_attention.install(layer) == 1
        torch.testing.assert_close(layer(given, **words), expected, rtol=1e-4, atol=1e-5)
        cpu_attention.remove(layer)
        assert type(layer.processor) is AttnProcessor2_0


def test_threads_change_no_bit_and_keep_their_number_to_themselves():
    given = [heads(200, 16, torch.float32, seed) for seed in range(3)]
    before, runs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            team = Team()
            out = cpu_attention.attend(*given, team)
            runs.append([out, *torch.autograd.grad(out.sum(), given)])
            assert torch.get_num_threads() == threads
            assert copy.deepcopy(team)._pool is None
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(map(torch.equal, run, runs[0]))


def test_team_shares_all_jobs_computes_alone_and_tells_of_failures():
    before = torch.get_num_threads()
    seen: list[tuple[int, int, bool]] = []

    def work(job: int) -> None:
        seen.append((job, torch.get_num_threads(), torch.is_grad_enabled()))
        if job == 7:
            raise ValueError("job 7")

    try:
        torch.set_num_threads(2)
        team = Team()
        team.do(work, range(5))
        assert sorted(seen) == [(job, 1, False) for job in range(5)]
        with pytest.raises(ValueError, match="job 7"):
            team.do(work, [7])
        assert torch.is_grad_enabled()
    finally:
        torch.set_num_threads(before)
