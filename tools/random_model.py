"""Makes a Stable Diffusion model of the full shape with random weights.

    python tools/random_model.py model.safetensors --kind sdxl   # one file, 6.9 GB
    python tools/random_model.py FOLDER --kind sd1               # a diffusers folder, 2.1 GB

For tests and benchmarks where no real checkpoint can be had: names, shapes, memory and time are the
real ones, pictures are noise. ``--tiny`` keeps the names and makes few channels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from renma.engine.model import DTYPES
from renma.families import _twins


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("place", type=Path, help="a .safetensors file, or a folder")
    parser.add_argument("--kind", choices=_twins.KINDS, default="sd1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=DTYPES, default="fp16")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    write = _twins.write_file if given.place.suffix == ".safetensors" else _twins.write_folder
    how = {"seed": given.seed, "dtype": DTYPES[given.dtype], "full": not given.tiny}
    write(given.kind, given.place, **how)


if __name__ == "__main__":
    main()
