"""[copier]: copy-machine LoRA, the difference between two pictures learnt as a slider."""

from __future__ import annotations

from renma.config._base import Section, opt


class CopierConfig(Section):
    """The first stage: a model that draws nothing but the pictures before the change."""

    train_folder: str = opt("")
    """Pictures before the change, laid out as data.train_folder, where those after it lie; empty
    is off."""
    steps: int = opt(600, ge=1)
    """Steps of the first stage; it may be over-trained as far as it goes."""
