"""Real files and facts kept outside the repository; tests that want them skip without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder that ``RENMA_REFERENCE`` names: ``real-loras`` and ``spec``."""
    folder = os.environ.get("RENMA_REFERENCE")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RENMA_REFERENCE names no folder of reference files")
    return Path(folder)
