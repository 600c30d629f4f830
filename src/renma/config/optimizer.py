"""[optimizer]: how weights move. Each class is a row of facts that ``renma/optimizers`` builds."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field

from renma.config.optimizers._base import Rates, Traits
from renma.config.optimizers.adam import (
    AdamW,
    AdamW8bit,
    Adan,
    AdEMAMix,
    AdEMAMix8bit,
    PagedAdamW8bit,
    PagedAdamW32bit,
    StableAdamW,
)
from renma.config.optimizers.automatic import (
    Automatic,
    DAdaptAdaGrad,
    DAdaptAdam,
    DAdaptAdamPreprint,
    DAdaptAdan,
    DAdaptAdanIP,
    DAdaptLion,
    DAdaptSGD,
    Prodigy,
)
from renma.config.optimizers.custom import Custom
from renma.config.optimizers.factored import CAME, Adafactor
from renma.config.optimizers.schedule_free import (
    AdamWScheduleFree,
    ProdigyPlusScheduleFree,
    RAdamScheduleFree,
    SGDScheduleFree,
)
from renma.config.optimizers.signs import (
    Lion,
    Lion8bit,
    Muon,
    PagedLion8bit,
    SGDNesterov,
    SGDNesterov8bit,
    Tiger,
)

ALIASES = {
    "dadaptation": "dadaptadampreprint",
    "pagedadamw": "pagedadamw32bit",
    "prodigyplus": "prodigyplusschedulefree",
    "sgd": "sgdnesterov",
    "sgd8bit": "sgdnesterov8bit",
}
"""Other names that people know."""


def known(name: str) -> str:
    """Returns an optimizer's name as it is written here, from any spelling of it."""
    plain = name.replace("_", "").replace("-", "").replace(" ", "").lower()
    return ALIASES.get(plain, plain)


def _named(raw: Any) -> Any:
    """Fills in the default, and lets any spelling of a name and a class' path stand for it."""
    if not isinstance(raw, dict):
        return raw
    name = raw.get("name", "adamw")
    if not isinstance(name, str):
        return raw
    if "." in name:
        return {**raw, "name": "custom", "class_path": name}
    return {**raw, "name": known(name)}


OptimizerConfig = Annotated[
    AdamW | AdamW8bit | PagedAdamW8bit | PagedAdamW32bit | StableAdamW | AdEMAMix | AdEMAMix8bit
    | Adan | Lion | Lion8bit | PagedLion8bit | Tiger | SGDNesterov | SGDNesterov8bit | Muon
    | Prodigy | DAdaptAdam | DAdaptAdamPreprint | DAdaptAdaGrad | DAdaptSGD | DAdaptLion
    | DAdaptAdan | DAdaptAdanIP | Adafactor | CAME | AdamWScheduleFree | RAdamScheduleFree
    | SGDScheduleFree | ProdigyPlusScheduleFree | Custom,
    Field(discriminator="name"),
    BeforeValidator(_named),
]  # fmt: skip


def sections() -> tuple[type[Rates], ...]:
    """Returns the section class of every optimizer."""
    return get_args(get_args(OptimizerConfig)[0])


__all__ = [
    "ALIASES", "CAME", "AdEMAMix", "AdEMAMix8bit", "Adafactor", "AdamW", "AdamW8bit",
    "AdamWScheduleFree", "Adan", "Automatic", "Custom", "DAdaptAdaGrad", "DAdaptAdam",
    "DAdaptAdamPreprint", "DAdaptAdan", "DAdaptAdanIP", "DAdaptLion", "DAdaptSGD", "Lion",
    "Lion8bit", "Muon", "OptimizerConfig", "PagedAdamW8bit", "PagedAdamW32bit", "PagedLion8bit",
    "Prodigy", "ProdigyPlusScheduleFree", "RAdamScheduleFree", "Rates", "SGDNesterov",
    "SGDNesterov8bit", "SGDScheduleFree", "StableAdamW", "Tiger", "Traits", "known", "sections",
]  # fmt: skip
