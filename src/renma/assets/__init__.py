"""What ships inside renma: mame, its reader, sample pictures, presets, Stable Diffusion's facts."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
MAME = FOLDER / "mame"
ATTRIBUTES = FOLDER / "attributes"
SAMPLES = FOLDER / "samples"
PRESETS = FOLDER / "presets"
STABLE_DIFFUSION = FOLDER / "stable_diffusion"
