"""[objective]: what the loss looks at."""

from __future__ import annotations

from renma.config._base import Section, opt


class ObjectiveConfig(Section):
    """What the loss looks at."""

    prior_loss_weight: float = opt(1.0, kohya="prior_loss_weight", ge=0)
    """Weight of regularisation pictures."""
    noise_offset: float = opt(0.0, "advanced", kohya="noise_offset", ge=0, le=1)
    """Adds this much noise that is constant over the picture, so that brightness is learnt."""
    min_snr_gamma: float = opt(0.0, "advanced", kohya="min_snr_gamma", ge=0)
    """Cuts the weight of easy (little noised) steps, arXiv 2303.09556; 5 is usual, 0 is off."""
