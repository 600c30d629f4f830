"""Writes the header of a full-size model and a hole behind it: names and shapes, no numbers.

Whatever only reads headers (`renma check`, `renma plan`) cannot tell it from the real model, and it
takes no room on the disk.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

from renma.families import _twins
from renma.formats.stability_file import single_file


def hollow_model(kind: _twins.Kind, path: Path) -> Path:
    """Writes a model of ``sd1``, ``sd2``, ``sd2-v`` or ``sdxl`` in half precision."""
    configurations = _twins.configurations(kind, full=True)
    configurations.pop("scheduler")
    states = {part: _twins._empty(part, c).state_dict() for part, c in configurations.items()}
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in single_file(_twins.family_of(kind), states).items():
        start, end = end, end + 2 * math.prod(tensor.shape)
        shape = list(tensor.shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


if __name__ == "__main__":
    print(hollow_model(sys.argv[1], Path(sys.argv[2])))  # pyright: ignore[reportArgumentType]
