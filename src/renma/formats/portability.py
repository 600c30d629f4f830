"""Which programs cannot load a file, told before somebody finds out by a wrong picture.

Read off the loaders' sources: ComfyUI's weight adapters, diffusers 0.42's LoRA loader, LyCORIS
4.1.3's ``make_module_from_state_dict``.
"""

from __future__ import annotations

from collections.abc import Iterable

_CONVERT = "`renma file convert IN OUT --to kohya --as {form}` writes a form that they load"
_DIFFUSERS = "diffusers refuses it"
_DROPPED = "diffusers drops the magnitudes of kohya's naming (a wrong picture)"
_CANNOT: dict[str, tuple[str, str]] = {
    "loha": (_DIFFUSERS, "lora"),
    "lokr": (_DIFFUSERS, "lora"),
    "full": (_DIFFUSERS, "lora"),
    "glora": (_DIFFUSERS, "merged"),
    "ia3": ("ComfyUI has no loader for it, diffusers refuses it, LyCORIS cannot load it", "merged"),
    "mora": ("no other program has a loader for it", "merged"),
    "oft": ("diffusers refuses it, ComfyUI ignores its constraint and rescaling", "merged"),
    "boft": (_DIFFUSERS, "merged"),
    "dora": (f"{_DROPPED}, ComfyUI takes their norm from the base weight alone", "merged"),
    "dora on inputs": (f"{_DROPPED}, LyCORIS cannot load it", "merged"),
    "tucker": ("diffusers refuses its middle factor", "lora"),
    "lokr tucker": ("diffusers refuses it, ComfyUI leaves it out, LyCORIS cannot load it", "diff"),
}
"""Algorithm or feature: what happens to it elsewhere, and the form that is loaded instead."""


def portability(algorithms: Iterable[str]) -> list[str]:
    """Returns one sentence for each algorithm that some program cannot load, with the way out.

    Args:
        algorithms: names of adapters (``lora``, ``loha``, ...), and of features: ``dora``, ``dora
            on inputs``, ``tucker``, ``lokr tucker``. Names without trouble are passed over.
    """
    return [
        f"{name}: {why}; {_CONVERT.format(form=form)}"
        for name, (why, form) in (
            (n, _CANNOT[n]) for n in dict.fromkeys(algorithms) if n in _CANNOT
        )
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
        found.append("dora" if dora_axis == 0 else "dora on inputs")
    if "lokr_t2" in names:
        found.append("lokr tucker")
    if "lora_mid.weight" in names:
        found.append("tucker")
    return found
