"""Optimizers named as sd-scripts names them behave by default as the classes it takes (E3)."""

from __future__ import annotations

import inspect
import math
from importlib import import_module
from typing import Any

import pytest

from renma.config import Run, validate

# what sd-scripts' optimizer_type stands for, and what it adds to the class' own defaults
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "AdamW": ("torch.optim.AdamW", {}),
    "AdamW8bit": ("bitsandbytes.optim.AdamW8bit", {}),
    "PagedAdamW": ("bitsandbytes.optim.PagedAdamW", {}),
    "PagedAdamW8bit": ("bitsandbytes.optim.PagedAdamW8bit", {}),
    "PagedAdamW32bit": ("bitsandbytes.optim.PagedAdamW32bit", {}),
    "Lion8bit": ("bitsandbytes.optim.Lion8bit", {}),
    "PagedLion8bit": ("bitsandbytes.optim.PagedLion8bit", {}),
    "SGDNesterov": ("torch.optim.SGD", {"momentum": 0.9, "nesterov": True}),
    "SGDNesterov8bit": ("bitsandbytes.optim.SGD8bit", {"momentum": 0.9, "nesterov": True}),
    "DAdaptation": ("dadaptation.experimental.DAdaptAdamPreprint", {}),
    "DAdaptAdamPreprint": ("dadaptation.experimental.DAdaptAdamPreprint", {}),
    "DAdaptAdam": ("dadaptation.DAdaptAdam", {}),
    "DAdaptAdaGrad": ("dadaptation.DAdaptAdaGrad", {}),
    "DAdaptAdan": ("dadaptation.DAdaptAdan", {}),
    "DAdaptAdanIP": ("dadaptation.experimental.DAdaptAdanIP", {}),
    "DAdaptLion": ("dadaptation.DAdaptLion", {}),
    "DAdaptSGD": ("dadaptation.DAdaptSGD", {}),
    "Prodigy": ("prodigyopt.Prodigy", {}),
    "AdaFactor": ("transformers.optimization.Adafactor", {}),
    "RAdamScheduleFree": ("schedulefree.RAdamScheduleFree", {}),
    "AdamWScheduleFree": ("schedulefree.AdamWScheduleFree", {}),
    "SGDScheduleFree": ("schedulefree.SGDScheduleFree", {}),
    "prodigyplus.ProdigyPlusScheduleFree": ("prodigyplus.ProdigyPlusScheduleFree", {}),
    "bitsandbytes.optim.AdEMAMix8bit": ("bitsandbytes.optim.AdEMAMix8bit", {}),
}  # fmt: skip
_IMPLEMENTATION = {"fused", "foreach", "lr", "params"}
"""Arguments that choose how, not what, is computed."""


def arguments_of(made) -> dict[str, Any]:
    return validate(Run, made.raw, "test").optimizer.arguments()


@pytest.mark.parametrize("name", CLASSES)
def test_defaults_are_those_of_the_class_that_sd_scripts_takes(name, draft):
    path, added = CLASSES[name]
    package, _, kind = path.rpartition(".")
    pytest.importorskip(package.partition(".")[0])
    signature = inspect.signature(getattr(import_module(package), kind).__init__).parameters
    theirs = {key: p.default for key, p in signature.items()} | added
    ours = arguments_of(draft(f"--optimizer_type {name}"))
    if name in ("AdamW", "SGDNesterov8bit"):  # one class with a switch; its own 8-bit momentum
        ours = {key: value for key, value in ours.items() if key in theirs}
    compared = ours.keys() - _IMPLEMENTATION
    assert compared, "nothing would be compared"
    for key in compared:
        expected, found = theirs[key], ours[key]
        if found is None and key == "growth_rate":
            found = math.inf
        assert found == expected, key


def test_lion_has_the_defaults_of_the_class_that_sd_scripts_takes(draft):
    """lion_pytorch.Lion: betas (0.9, 0.99), no decay, and decay is decoupled."""
    run = validate(Run, draft("--optimizer_type Lion").raw, "test").optimizer.model_dump()
    assert (run["betas"], run["weight_decay"]) == ((0.9, 0.99), 0.0)
    assert run["decoupled_weight_decay"] is True


def test_arguments_win_over_defaults_that_are_written_out(draft):
    made = draft("--optimizer_type Prodigy --optimizer_args decouple=False safeguard_warmup=True")
    run = validate(Run, made.raw, "test").optimizer.model_dump()
    assert run["safeguard_warmup"] is True
    assert run["use_bias_correction"] is False
    assert run["decoupled_weight_decay"] is False


@pytest.mark.parametrize(
    ("name", "path"),
    [("NAdam", "torch.optim.NAdam"), ("my.package.Thing", "my.package.Thing")],
)
def test_other_classes_go_by_their_paths(name, path, draft):
    run = validate(Run, draft(f"--optimizer_type {name}").raw, "test").optimizer.model_dump()
    assert (run["name"], run["class_path"]) == ("custom", path)


def test_optimizers_that_need_no_schedule(draft):
    for words in ("--optimizer_type AdaFactor", "--optimizer_type AdamWScheduleFree"):
        made = draft(f"{words} --lr_scheduler cosine --lr_warmup_steps 10")
        assert made.rows["lr_scheduler"].kind == "without effect"
        assert made.rows["lr_warmup_steps"].kind == "without effect"
        assert "schedule" not in made.raw
    fixed = draft(
        "--optimizer_type AdaFactor --optimizer_args relative_step=False --lr_scheduler cosine"
    )
    assert fixed.raw["schedule"]["name"] == "cosine"
