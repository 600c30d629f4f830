"""docs/kohya.md tells of every option and is fresh."""

from __future__ import annotations

import re
from pathlib import Path

from renma.compat import manual
from renma.compat.options import options

PAGE = Path(__file__).parents[2] / "docs" / "kohya.md"


def test_the_page_is_fresh():
    assert PAGE.read_text(encoding="utf-8") == manual.page()


def test_the_page_has_a_row_for_every_option():
    rows = re.findall(r"^\| `--(\w+)` \| (.*?) \| (.*?) \| (.+?) \|$", manual.page(), re.MULTILINE)
    assert [row[0] for row in rows] == sorted(options())
    fates = {name: fate for name, _, _, fate in rows}
    assert fates["network_dim"] == "`adapter.rank`"
    assert fates["cache_latents"].startswith("always so: ")
    assert fates["huggingface_repo_id"].startswith("not supported: ")
