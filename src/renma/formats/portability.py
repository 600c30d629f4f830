"""Which programs cannot load a file, told before somebody finds out by a wrong picture.

diffusers 0.42 and LyCORIS 4.1.3 were tried on every algorithm (``tests/use/test_same_pictures.py``
does so still); ComfyUI was read off the source of its weight adapters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_REFUSED = "diffusers refuses it"
_LOSES = "diffusers drops the magnitudes of kohya's naming (a wrong picture)"
_CANNOT: dict[str, dict[str, str]] = {
    "loha": {"diffusers": _REFUSED},
    "lokr": {"diffusers": _REFUSED},
    "full": {"diffusers": _REFUSED},
    "glora": {"diffusers": _REFUSED},
    "ia3": {
        "ComfyUI": "ComfyUI has no loader for it",
        "diffusers": _REFUSED,
        "LyCORIS": "LyCORIS cannot load it",
    },
    "mora": {
        "ComfyUI": "ComfyUI has no loader for it",
        "diffusers": _REFUSED,
        "LyCORIS": "LyCORIS cannot load it",
    },
    "oft": {
        "diffusers": _REFUSED,
        "ComfyUI": "ComfyUI ignores its constraint and rescaling",
    },
    "boft": {"diffusers": _REFUSED},
    "dora": {
        "diffusers": _LOSES,
        "ComfyUI": "ComfyUI takes their norm from the base weight alone",
    },
    "dora on inputs": {"diffusers": _LOSES, "LyCORIS": "LyCORIS cannot load it"},
    "dora of full": {
        "diffusers": _REFUSED,
        "ComfyUI": "ComfyUI leaves its magnitudes out (a wrong picture)",
        "LyCORIS": "LyCORIS leaves its magnitudes out (a wrong picture)",
    },
    "tucker": {"diffusers": "diffusers refuses its middle factor"},
    "lokr tucker": {
        "diffusers": _REFUSED,
        "ComfyUI": "ComfyUI leaves it out",
        "LyCORIS": "LyCORIS cannot load it",
    },
}
"""Algorithm or feature: program to what it does with kohya's naming."""

_NEEDS_BASE = frozenset(_CANNOT) - {"full", "tucker"}
"""What can be turned into another form only beside the weights that it changes.

Most of it depends on the weight's numbers. LoHa and LoKr do not, but do not tell a 1x1 convolution
from a matrix, which diffusers does.
"""
_WITH_BIAS = frozenset({"full", "dora of full", "ia3"})


def programs(names: Iterable[str], naming: str = "kohya") -> dict[str, list[str]]:
    """Returns each program that cannot load such a file, with the algorithms or features at fault.

    Args:
        names: names of adapters (``lora``, ``loha``, ...), and of features as :func:`features`
            returns them. Names without trouble are passed over.
        naming: of the file: ``kohya``, ``diffusers`` or ``lycoris``.
    """
    found: dict[str, list[str]] = {}
    for name, troubles in _troubles(names, naming):
        for program in troubles:
            found.setdefault(program, []).append(name)
    return found


def portability(names: Iterable[str], naming: str = "kohya") -> list[str]:
    """Returns one sentence for each algorithm that some program cannot load, with the way out.

    Args:
        names: as for :func:`programs`.
        naming: of the file.
    """
    names = list(names)
    base = " --base MODEL" if _NEEDS_BASE & set(names) else ""
    return [
        f"{name}: {', '.join(troubles.values())}; "
        f"{_way_out(name, troubles, base, _plain_dora(names))}"
        for name, troubles in _troubles(names, naming)
    ]


def features(tensors: Iterable[str], dora_axis: int = 0) -> list[str]:
    """Returns what besides the algorithm makes a layer hard to load, told by its suffixes.

    Args:
        tensors: canonical suffixes of one layer.
        dora_axis: axis of the magnitudes: 0 outputs, 1 inputs.
    """
    names = set(tensors)
    found = []
    if "dora_scale" in names:
        beside = "dora" if dora_axis == 0 else "dora on inputs"
        found.append("dora of full" if "diff" in names else beside)
    if "lokr_t2" in names:
        found.append("lokr tucker")
    if "lora_mid.weight" in names:
        found.append("tucker")
    return found


def _troubles(names: Iterable[str], naming: str) -> list[tuple[str, Mapping[str, str]]]:
    names = list(dict.fromkeys(names))
    # PEFT's naming, which is for diffusers, keeps a LoRA's magnitudes
    kept = naming == "diffusers" and _plain_dora(names)
    return [
        (name, _CANNOT[name]) for name in names if name in _CANNOT and not (kept and name == "dora")
    ]


def _plain_dora(names: Iterable[str]) -> bool:
    """Says whether all that is in diffusers' way are the magnitudes of a LoRA."""
    return {name for name in names if "diffusers" in _CANNOT.get(name, {})} == {"dora"}


def _for_diffusers(name: str, base: str, plain_dora: bool) -> str:
    """Returns the command for diffusers, whose LoRAs have no place for biases and norms."""
    if name in _WITH_BIAS:
        return "renma file merge IN --base MODEL -o OUT` writes a whole model"
    form = "" if plain_dora else f" --as lora --rank N{base}"
    return f"renma file convert IN OUT --to diffusers{form}` writes one"


def _way_out(name: str, troubles: Mapping[str, str], base: str, plain_dora: bool) -> str:
    """Returns the commands that write a form for the programs in trouble."""
    others = [program for program in troubles if program != "diffusers"]
    ways = []
    if others:
        form = "merged" if base else "diff"
        command = f"`renma file convert IN OUT --to kohya --as {form}{base}`"
        ways.append(f"{command} writes a form for {' and '.join(others)}")
    if "diffusers" in troubles:
        ways.append(f"`{_for_diffusers(name, base, plain_dora)} for diffusers")
    return ", ".join(ways)
