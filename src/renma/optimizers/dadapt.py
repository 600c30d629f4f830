"""D-Adaptation of gradient descent (Defazio and Mishchenko, arXiv 2301.07733), mended."""

from __future__ import annotations

from collections.abc import Callable

from dadaptation import DAdaptSGD as Reference


class DAdaptSGD(Reference):
    """The authors' class; a step at rate 0, the first of a warm-up, does nothing.

    The library's fails there on a name that it sets only at rates above 0.
    """

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Does one step."""
        if all(group["lr"] == 0 for group in self.param_groups):
            return closure() if closure else None
        return super().step(closure)
