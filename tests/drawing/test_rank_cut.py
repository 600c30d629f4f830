"""LoRAs cut to a rank before they are drawn (F1: the grid's rank axis)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from renma.config.picture_recipe import UsedLora
from renma.core.errors import UserError
from renma.drawing.picture_source import payload_hash
from renma.drawing.rank_cut import cut

KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_mid_block_resnets_0_conv1"


def written(path: Path, alpha: float | None, dylora: bool = False) -> UsedLora:
    noise = np.random.default_rng(3)
    tensors = {
        f"{KEY}.lora_down.weight": noise.normal(size=(4, 10)),
        f"{KEY}.lora_up.weight": noise.normal(size=(7, 4)),
        f"{CONV}.lora_down.weight": noise.normal(size=(4, 6, 3, 3)),
        f"{CONV}.lora_up.weight": noise.normal(size=(5, 4, 1, 1)),
    }
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    if alpha is not None:
        tensors |= {f"{key}.alpha": np.array(alpha, np.float32) for key in (KEY, CONV)}
    save_file(tensors, path, {"ss_network_args": '{"algo": "dylora"}'} if dylora else {})
    return UsedLora(name="mine", path=str(path), sha256=payload_hash(path), unet=0.7)


def product(path: str | Path, key: str) -> np.ndarray:
    """The update of a layer as programs apply it: up @ down * alpha / rank."""
    found = load_file(path)
    down = found[f"{key}.lora_down.weight"].astype(np.float64)
    up = found[f"{key}.lora_up.weight"].astype(np.float64)
    alpha = found.get(f"{key}.alpha", np.array(len(down)))
    return up.reshape(len(up), -1) @ down.reshape(len(down), -1) * float(alpha) / len(down)


@pytest.mark.parametrize("alpha", [2.0, None])
@pytest.mark.parametrize("key", [KEY, CONV])
def test_plain_loras_keep_what_numpys_svd_keeps(tmp_path, alpha, key):
    lora = written(tmp_path / "mine.safetensors", alpha)
    small = cut(lora, 2, tmp_path / "cut")
    u, s, v = np.linalg.svd(product(lora.path, key), full_matrices=False)
    np.testing.assert_allclose(product(small.path, key), u[:, :2] * s[:2] @ v[:2], atol=2e-5)
    shapes = {name: value.shape for name, value in load_file(small.path).items()}
    assert shapes[f"{CONV}.lora_down.weight"] == (2, 6, 3, 3)
    assert shapes[f"{CONV}.lora_up.weight"] == (5, 2, 1, 1)


@pytest.mark.parametrize("alpha", [2.0, None])
def test_dylora_keeps_its_first_ranks_and_its_alpha(tmp_path, alpha):
    """Rank k was trained with scale alpha / k (arXiv 2210.07558)."""
    lora = written(tmp_path / "mine.safetensors", alpha, dylora=True)
    small = cut(lora, 3, tmp_path / "cut")
    whole = load_file(lora.path)
    first = whole[f"{KEY}.lora_up.weight"][:, :3] @ whole[f"{KEY}.lora_down.weight"][:3]
    expected = first * (2.0 if alpha else 4.0) / 3
    np.testing.assert_allclose(product(small.path, KEY), expected, atol=1e-5)


def test_a_cut_is_made_once_and_knows_its_source(tmp_path):
    lora = written(tmp_path / "mine.safetensors", 2.0)
    small = cut(lora, 2, tmp_path / "cut")
    before = Path(small.path).stat().st_mtime_ns
    assert cut(lora, 2, tmp_path / "cut") == small
    assert Path(small.path).stat().st_mtime_ns == before
    assert small.sha256 == payload_hash(Path(small.path)) != lora.sha256
    assert (small.name, small.unet) == ("mine-rank2", 0.7)
    assert cut(lora, 4, tmp_path / "cut") == lora  # it has no more
    other = written(tmp_path / "mine.safetensors", 3.0)
    assert cut(other, 2, tmp_path / "cut").path != small.path


def test_what_has_no_leading_ranks_is_refused(tmp_path):
    path = tmp_path / "loha.safetensors"
    sides = {"w1_a": (7, 2), "w1_b": (2, 10), "w2_a": (7, 2), "w2_b": (2, 10)}
    save_file({f"{KEY}.hada_{n}": np.ones(s, np.float32) for n, s in sides.items()}, path)
    lora = UsedLora(name="loha", path=str(path), sha256=payload_hash(path))
    with pytest.raises(UserError, match="no plain LoRA"):
        cut(lora, 1, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
