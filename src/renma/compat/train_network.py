"""Stands in for sd-scripts' train_network.py: Stable Diffusion 1.x and 2.x.

``accelerate launch -m renma.compat.train_network --pretrained_model_name_or_path=... ...``
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from renma.compat import trainer


def main(words: Sequence[str] | None = None) -> int:
    """Trains; returns the exit code."""
    return trainer.main(sys.argv[1:] if words is None else words, sdxl=False)


if __name__ == "__main__":
    sys.exit(main())
