"""[sample]: preview pictures while training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from renma.config._base import Section, opt

Sampler = Literal[
    "ddim", "pndm", "heun", "dpmsolver", "dpmsolver++", "dpmsingle", "lms", "euler", "euler_a",
    "dpm_2", "dpm_2_a", "k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a",
]  # fmt: skip
Weight = Annotated[float, Field(ge=-10, le=10)]


class SampleConfig(Section):
    """Preview pictures while training."""

    prompts: tuple[str, ...] = opt((), kohya="sample_prompts")
    """Lines such as `aa12, smile --n blurry --w 512 --h 512 --d 1 --l 7 --s 28 --ss euler_a`.
    Without `--w` and `--h` a picture has the model's own size."""
    prompts_file: str = opt("", kohya="sample_prompts")
    """The same in a file: .txt (a line each, `#` for comments), .toml or .json."""
    every_steps: int = opt(0, kohya="sample_every_n_steps", ge=0)
    """Draw previews every n steps."""
    every_epochs: int = opt(0, kohya="sample_every_n_epochs", ge=0)
    """Draw previews every n epochs; wins over `every_steps`."""
    at_first: bool = opt(False, kohya="sample_at_first")
    """Draw them before the first step too."""
    sampler: Sampler = opt("ddim", kohya="sample_sampler")
    """Sampler where the prompt names none."""
    steps: int = opt(20, kohya="sample_steps", ge=1, le=1000)
    """Sampling steps where the prompt names none."""
    scale: float = opt(7.5, ge=1)
    """Classifier-free guidance (CFG) where the prompt names none."""
    weights: tuple[Weight, ...] = opt((1.0,), "advanced", min_length=1, max_length=16)
    """LoRA weights to draw each prompt at: `[0.6, 1]` shows how it looks when turned down too."""
    rescale: float = opt(0.0, "advanced", ge=0, le=1)
    """Guidance rescale (arXiv 2305.08891): models with zero terminal SNR want about 0.7."""
