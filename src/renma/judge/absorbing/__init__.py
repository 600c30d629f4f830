"""Which tags a trained trigger stands for: the parts of ``renma absorbed``."""
