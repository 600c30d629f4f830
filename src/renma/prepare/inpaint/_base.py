"""What every method of filling holes takes and gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Filler = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes uint8 (height, width, 3) and the hole, bool (height, width); returns uint8 of that size."""
