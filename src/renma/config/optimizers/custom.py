"""Any other optimizer class that is installed."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from renma.config._base import opt
from renma.config.optimizers._base import Rates


class Custom(Rates):
    """Any optimizer class by its dotted path.

    `args` go to it, checked against its signature. Its package is imported: name what you trust.
    """

    usual: ClassVar = (0.0, float("inf"))
    name: Literal["custom"] = "custom"
    """Optimizer."""
    class_path: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        json_schema_extra={"level": "basic", "kohya": "optimizer_type"},
    )
    """Package and class: `torch.optim.NAdam`, `pytorch_optimizer.Ranger21`."""
    learning_rate: float = opt(1e-4, kohya="learning_rate", ge=0)
    """Step size; used for every part that has no rate of its own."""

    def arguments(self) -> dict[str, object]:
        """Returns ``args``, lists as tuples."""
        return {k: tuple(v) if isinstance(v, list) else v for k, v in self.args.items()}
