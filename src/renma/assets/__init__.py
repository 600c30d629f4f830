"""What ships in renma: mame, its reader, samples, presets, recipes, Stable Diffusion's facts."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
MAME = FOLDER / "mame"
ATTRIBUTES = FOLDER / "attributes"
SAMPLES = FOLDER / "samples"
PRESETS = FOLDER / "presets"
STABLE_DIFFUSION = FOLDER / "stable_diffusion"
_PACKED = FOLDER / "recipes"
RECIPES = _PACKED if _PACKED.is_dir() else FOLDER.parents[2] / "recipes"
"""Runs for every method: in the wheel here, in a checkout at its root."""
