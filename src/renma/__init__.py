"""renma: from a pile of pictures to a LoRA that is proven to work."""

import typing as _typing

if _typing.TYPE_CHECKING:
    from renma.adapters import merged_weight

__version__ = "0.1.0"
__all__ = ["__version__", "merged_weight"]


def __getattr__(name: str) -> object:
    """Imports what needs torch on first use, so that ``import renma`` stays quick."""
    if name == "merged_weight":
        from renma.adapters import merged_weight

        return merged_weight
    raise AttributeError(f"module 'renma' has no attribute '{name}'")
