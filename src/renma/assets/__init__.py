"""What ships inside renma: the embedded model mame, its reader, sample picture sets."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
MAME = FOLDER / "mame"
ATTRIBUTES = FOLDER / "attributes"
SAMPLES = FOLDER / "samples"
