"""renma: from a pile of pictures to a LoRA that is proven to work."""

__version__ = "0.1.0"
__all__ = ["__version__"]
