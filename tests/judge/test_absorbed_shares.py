"""Shares, chance and drift against computations of the tests' own; journals; the denoiser."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from renma.caption import maruzen
from renma.config.caption.maruzen import MaruzenOptions
from renma.core.events import Silent
from renma.diffusion import noise
from renma.families import _twins
from renma.judge.absorbing.denoiser import SHARES, ModelDenoiser
from renma.judge.absorbing.drift import drift
from renma.judge.absorbing.removed import removed
from renma.judge.absorbing.shares import chance, joined, share, told_apart


def test_a_share_and_its_error_by_hand() -> None:
    """Row G6: (1 + 3) / (4 + 4) = 0.5; deviations -1 and 1 over 4, / sqrt(2)."""
    got = share(np.array([1.0, 3.0]), np.zeros(2), np.array([4.0, 4.0]))
    assert got.value == 0.5
    assert got.error == pytest.approx(np.std([-1, 1], ddof=1) / 4 / np.sqrt(2))
    assert got.above(-0.3)
    assert not got.above(0.1)
    assert got.below(1.3)


def test_the_error_is_that_of_a_jackknife() -> None:
    random = np.random.default_rng(0)
    unit, moved = 5 + random.normal(size=200), 2 + random.normal(size=200)
    got = share(moved, np.zeros(200), unit)
    left = np.array([
        np.delete(moved, i).mean() / np.delete(unit, i).mean() for i in range(len(unit))
    ])  # fmt: skip
    jackknife = np.sqrt((len(left) - 1) * left.var())
    assert got.error == pytest.approx(jackknife, rel=0.02)


def test_chance_is_that_of_all_shuffles() -> None:
    with_tag, without = np.array([3.0, 5.0, 6.0]), np.array([1.0, 2.0, 4.0])
    assert told_apart(with_tag, without) == pytest.approx(8 / 9)
    everything = [*with_tag, *without]
    better = [
        told_apart(np.array(p[:3]), np.array(p[3:])) >= 8 / 9 for p in permutations(everything)
    ]
    assert chance(with_tag, without, 1) == pytest.approx(np.mean(better), abs=0.03)
    assert told_apart(np.ones(3), np.ones(3)) == 0.5
    assert chance(np.ones(3), np.ones(3), 1) == 1.0


def test_timesteps_count_by_what_they_tell() -> None:
    """The second timestep is the first in units a hundred times smaller: both count alike."""
    rows = np.array([[1.0, 0.01], [3.0, 0.03]])
    with_tag, without = joined(rows + np.array([10, 0.1]), rows)
    assert (with_tag - without).tolist() == pytest.approx([20.0, 20.0])  # 10 of deviation 1, twice


def test_drift_by_hand() -> None:
    """Seeds are 2 apart in one channel and 0 in the other; the LoRA moves the first by 1."""
    base = np.array([[0.0, 5.0], [2.0, 5.0]])
    still = drift(base, base)
    moved = drift(base + np.array([1.0, 0.0]), base)
    assert (still.ratio, still.distance) == (0.0, 0.0)
    assert moved.ratio == pytest.approx(0.5)
    assert moved.distance / moved.base_noise == pytest.approx(0.5)
    assert moved.more_than(still) > 2


def test_what_maruzen_removed_is_read_from_its_journal(tmp_path: Path) -> None:
    """Rows C3 and G6: the journal is written by the real command, and undone by its name."""
    folder = tmp_path / "train" / "10_aa12 person"
    folder.mkdir(parents=True)
    for number in range(6):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
        extra = ("smile", "frown", "wink")[number % 3]
        (folder / f"{number}.txt").write_text(f"person, pink hair, braid, {extra}")
    maruzen.run(MaruzenOptions(folder=folder, trigger="aa12", apply=True), Silent())
    assert "pink hair" not in (folder / "0.txt").read_text()
    assert sorted(removed([folder])) == ["braid", "pink hair"]
    (journal,) = (folder / ".renma" / "captions").glob("*-maruzen.jsonl")
    row = {"file": "a.txt", "old": "hat, hat", "new": ""}
    journal.write_text("{}\n" + json.dumps(row))
    assert removed([folder, folder]) == ["hat"]
    journal.write_text("{}\n[1]\nnot json")
    assert removed([folder]) == []
    journal.write_text("{}\n" + json.dumps(row))
    journal.rename(journal.with_name(f"{journal.stem}.undone.jsonl"))
    assert removed([folder]) == []


def test_errors_are_those_of_the_noise_prediction(tmp_path: Path) -> None:
    """Row G6: one picture and prompt, computed once more in plain torch and diffusers' terms."""
    family = _twins.tiny("sd1", tmp_path, seed=3, layout="folder")
    family.native_size = 64  # a twin's weights, a small picture
    random = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    pictures = [Image.fromarray(each) for each in random]
    got = ModelDenoiser(family, 1).errors(pictures, ["person", "person, smile"])
    assert got.shape == (2, 2, len(SHARES))
    both = ModelDenoiser(family).errors(pictures, ["person", "person, smile"])
    assert np.allclose(got, both, rtol=1e-4)
    pixels = torch.from_numpy(np.asarray(pictures[1], np.float32).copy())
    unet = family.parts()["unet"]
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    time = int(SHARES[1] * 1000)
    kept = torch.cumprod(1 - betas, 0)[time]
    with torch.no_grad():
        latents = family.encode_image((pixels.permute(2, 0, 1) / 127.5 - 1)[None])[0]
        drawn = noise.normal(tuple(latents.shape[1:]), 0, "judge absorbed", time)[None]
        states = family.encode_text(["person, smile"]).states
        noisy = kept.sqrt() * latents + (1 - kept).sqrt() * drawn
        seen = unet(noisy, torch.tensor([time]), encoder_hidden_states=states).sample
    wanted = float((seen - drawn).square().mean())
    assert got[1, 1, 1] == pytest.approx(wanted, rel=2e-3)
