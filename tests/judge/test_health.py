"""G3: weight health of LoRA files, beside numpy's singular values of updates written out here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from renma.core.errors import UserError
from renma.engine.network import Network
from renma.judge.health import LayerHealth, health
from renma.use.file_facts import facts
from testbed.every_algorithm import ALL, CONFIGS
from testbed.lora_files import CONV, NORM, POINT, TEXT, Q, delta, loha, lokr, lora, write
from testbed.moved_networks import PARTS, moved, save


def entropy_rank(values: np.ndarray) -> float:
    """Roy and Vetterli's formula, term by term."""
    shares = [v / values.sum() for v in values if v > 1e-9 * values.max()]
    return float(np.prod([p**-p for p in shares]))


def one(path: Path, key: str) -> LayerHealth:
    return next(layer for layer in health(path).layers if layer.key == key)


def expected_spectrum(matrix: np.ndarray) -> tuple[float, float]:
    """Norm and effective rank of a matrix written out."""
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(np.linalg.norm(matrix)), entropy_rank(values)


def orthonormal(rows: int, columns: int, seed: int) -> torch.Tensor:
    drawn = np.random.default_rng(seed).standard_normal((rows, columns))
    return torch.from_numpy(np.linalg.qr(drawn)[0])


def test_known_singular_values(tmp_path):
    """G3. 4, 2, 1, 1 at alpha / rank = 1/2: the norm is sqrt(22) / 2, the rank does not scale."""
    values = torch.tensor([4.0, 2, 1, 1], dtype=torch.float64)
    up, down = orthonormal(128, 4, 0) * values, orthonormal(128, 4, 1).t()
    layer = {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(2.0)}
    found = one(write(tmp_path / "a.safetensors", {Q: layer}), Q)
    assert found.norm == pytest.approx(22**0.5 / 2, rel=1e-6)
    # entropy of 1/2, 1/4, 1/8, 1/8 is 1.75 bits
    assert found.effective_rank == pytest.approx(2**1.75, rel=1e-6)
    assert (found.block, found.algorithm, found.measured) == ("M00", "lora", "update")


def test_additive_layers_are_those_written_out(tmp_path):
    """G3. LoRA, LoHa and LoKr of linear and convolution layers; LoKr's product is never built."""
    layers = {
        Q: lora(Q, 4, 3.0, 1), POINT: loha(POINT, 3, 2.0, 2), CONV: lokr(CONV, 3),
        TEXT: loha(TEXT, 12, 2.0, 4),  # rank squared is above the side: no low-rank form
    }  # fmt: skip
    path = write(tmp_path / "a.safetensors", layers)
    found = {key: one(path, key) for key in layers}
    kinds = {key: (layer.algorithm, layer.measured) for key, layer in found.items()}
    update = "update"
    assert kinds == {
        Q: ("lora", update), POINT: ("loha", update), CONV: ("lokr", update), TEXT: ("loha", update)
    }  # fmt: skip
    for key, layer in layers.items():
        norm, rank = expected_spectrum(delta(layer).numpy())
        assert found[key].norm == pytest.approx(norm, rel=1e-5)
        assert found[key].effective_rank == pytest.approx(rank, rel=1e-4)


def test_lokr_with_a_factored_half(tmp_path):
    """G3. Whole w1, factored w2 of a rank too high for a LoRA; alpha / rank counts there."""
    g = torch.Generator().manual_seed(0)
    sizes = {"lokr_w1": (8, 8), "lokr_w2_a": (16, 16), "lokr_w2_b": (16, 16)}
    layer = {name: torch.randn(size, generator=g) for name, size in sizes.items()}
    path = write(tmp_path / "a.safetensors", {Q: {**layer, "alpha": torch.tensor(4.0)}})
    w2 = layer["lokr_w2_a"] @ layer["lokr_w2_b"]
    norm, rank = expected_spectrum(4 / 16 * torch.kron(layer["lokr_w1"], w2).numpy())
    found = one(path, Q)
    assert (found.algorithm, found.measured) == ("lokr", "update")
    assert found.norm == pytest.approx(norm, rel=1e-5)
    assert found.effective_rank == pytest.approx(rank, rel=1e-4)


def test_blocks_and_the_whole_add_up_as_vectors(tmp_path):
    """G3. Norms of a block's layers together, in the order the model computes."""
    layers = {key: lora(key, 4, 3.0, seed) for seed, key in enumerate((CONV, Q, TEXT))}
    found = health(write(tmp_path / "a.safetensors", layers))
    sizes = {key: float(delta(layer).norm()) for key, layer in layers.items()}
    assert list(found.blocks) == ["TE", "M00"]
    assert found.blocks["TE"] == pytest.approx(sizes[TEXT], rel=1e-5)
    assert found.blocks["M00"] == pytest.approx((sizes[CONV] ** 2 + sizes[Q] ** 2) ** 0.5, rel=1e-5)
    assert found.norm == pytest.approx(sum(size**2 for size in sizes.values()) ** 0.5, rel=1e-5)
    assert found.not_finite == 0
    assert found.dead == ()


def expected(adapter) -> tuple[str, list[np.ndarray]]:
    """What is measured of an adapter, and the matrices that do it: W' - W where W = 0 or W = 1."""
    kind = type(adapter).__module__.rpartition(".")[2]
    if kind == "mora":
        return "matrix", [adapter.matrix.numpy()]
    if kind == "glora":
        pairs = ((adapter.a1, adapter.a2), (adapter.b1, adapter.b2))
        return "share", [adapter.scale * (one @ two).numpy() for one, two in pairs]
    if kind in ("ia3", "oft"):
        side = adapter.weight.numel() if kind == "ia3" else adapter.spec.outputs
        unit = torch.eye(side)
        return "share", [(adapter.apply_weight(unit, None)[0] - unit).numpy()]
    return "update", [adapter.update(*adapter.parts()).reshape(adapter.spec.outputs, -1).numpy()]


@ALL
def test_every_algorithm(mame, tmp_path, name):
    """G3. Norm and effective rank are those of the matrices that each algorithm means."""
    network = moved(mame, CONFIGS[name])
    found = health(save(network, tmp_path / "a.safetensors"))
    assert len(found.layers) == len(network.members)
    assert found.norm == pytest.approx(sum((each.norm or 0.0) ** 2 for each in found.layers) ** 0.5)
    assert found.dead == ()
    for layer in found.layers[::4]:
        with torch.no_grad():
            measured, matrices = expected(network.members[layer.key].adapter)
        values = np.concatenate([np.linalg.svd(each, compute_uv=False) for each in matrices])
        assert layer.measured == measured
        assert layer.norm == pytest.approx(np.linalg.norm(values), rel=1e-4)
        assert layer.effective_rank == pytest.approx(entropy_rank(values), rel=2e-3)


@ALL
def test_norms_are_those_that_file_show_says(mame, tmp_path, name):
    """G3. Where `renma file show` tells a norm, it is the same one."""
    path = save(moved(mame, CONFIGS[name]), tmp_path / "a.safetensors")
    own = {layer.key: layer for layer in health(path).layers}
    told = [layer for layer in facts(path).layers if layer.norm is not None]
    assert (not told) == (own[next(iter(own))].measured != "update")
    for layer in told:
        assert own[layer.key].norm == pytest.approx(layer.norm, rel=1e-4)
        assert own[layer.key].block == layer.block


@ALL
def test_a_network_just_begun_is_dead(mame, tmp_path, name):
    """G3. Before the first step every layer changes nothing, and the file says so."""
    network = Network.fresh(mame, CONFIGS[name], 1, PARTS)
    found = health(save(network, tmp_path / "a.safetensors"))
    assert set(found.dead) == set(network.members)
    assert found.norm == pytest.approx(0, abs=1e-6)
    assert found.effective_rank is None


def test_one_dead_layer_is_named(tmp_path):
    """G3. The others' effective rank is not lowered by it."""
    zero = lora(Q, 4, 3.0, 1)
    zero["lora_up.weight"] = torch.zeros_like(zero["lora_up.weight"])
    layers = {Q: zero, TEXT: lora(TEXT, 4, 3.0, 2)}
    found = health(write(tmp_path / "a.safetensors", layers))
    assert found.dead == (Q,)
    assert found.effective_rank == pytest.approx(
        one(tmp_path / "a.safetensors", TEXT).effective_rank
    )


def test_a_bias_alone_is_alive(tmp_path):
    """G3. A norm layer whose weight did not move but whose bias did."""
    layers = {NORM: {"w_norm": torch.zeros(128), "b_norm": torch.ones(128)}}
    found = health(write(tmp_path / "a.safetensors", layers))
    assert (found.dead, found.norm) == ((), 0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_none_are_counted(tmp_path, bad):
    """G3. Two of all numbers; the norm of that layer, its block and the whole is not told."""
    layers = {Q: lora(Q, 4, 3.0, 1), TEXT: lora(TEXT, 4, 3.0, 2)}
    layers[Q]["lora_up.weight"].flatten()[7:9] = bad
    found = health(write(tmp_path / "a.safetensors", layers))
    # factors of (128, 128) and of (512, 128), and an alpha each
    assert found.not_finite == pytest.approx(2 / (4 * 256 + 1 + 4 * 640 + 1))
    assert found.norm is None
    assert found.blocks["M00"] is None
    assert found.blocks["TE"] == pytest.approx(float(delta(layers[TEXT]).norm()), rel=1e-5)
    assert [layer.not_finite for layer in found.layers if layer.key == Q] == [2]


def test_half_precision_and_damage(tmp_path):
    """G3. fp16 files are measured as they are; an unknown layer is told as nothing."""
    layer = {name: tensor.half() for name, tensor in lora(Q, 4, 4.0, 1).items()}
    found = one(write(tmp_path / "a.safetensors", {Q: layer}, dtype=torch.float16), Q)
    assert found.norm == pytest.approx(float(delta(layer).norm()), rel=1e-5)
    torn = {Q: {**lora(Q, 4, 4.0, 1), "lora_down.weight": torch.ones(3, 128)}}
    broken = one(write(tmp_path / "b.safetensors", torn), Q)
    assert (broken.measured, broken.norm, broken.effective_rank) == ("nothing", None, None)
    assert not broken.dead


def test_no_lora_file_is_one_line(tmp_path):
    """G3. A user's mistake."""
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(UserError):
        health(tmp_path / "a.safetensors")
