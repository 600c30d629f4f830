"""Combinations that cannot work are refused with the reason, odd ones remarked on (E3, E4, E5)."""

from __future__ import annotations

import pytest

from renma.config import Run, validate
from renma.config.optimizer import Custom, sections
from renma.config.optimizer_rules import problems
from renma.core.errors import UserError

BOTH = ("unet", "text_encoder")
XL = (*BOTH, "text_encoder_2")


def run_of(**raw) -> Run:
    return validate(Run, raw, "test")


def named(name, **options):
    return {"name": name, **options}


ONE_RATE = ["prodigy", "dadaptadam", "dadaptation", "DAdaptLion", "dadaptsgd", "dadaptadan"]
REFUSED = [
    *[({"optimizer": named(n, unet_lr=1.0, text_encoder_lr=0.5)}, BOTH, "needs? the same learning rate") for n in ONE_RATE],
    ({"optimizer": named("prodigy", text_encoder_2_lr=0.5)}, XL, "text_encoder_2 0.5"),
    ({"optimizer": named("prodigy"), "adapter": {"lr_ratio": 16}}, BOTH, "block rates and LoRA"),
    ({"optimizer": named("dadaptadam"), "adapter": {"text_encoder_lr_ratio": 4}}, BOTH, "block rates and LoRA"),
    ({"optimizer": named("adafactor"), "schedule": named("cosine")}, BOTH, "computes its own rates.*'cosine'"),
    ({"schedule": named("adafactor")}, BOTH, "Adafactor's own, not for adamw"),
    ({"optimizer": named("adafactor", relative_step=False), "schedule": named("adafactor")}, BOTH, r"computes itself, and optimizer\.relative_step = false"),
    ({"optimizer": named("adamwschedulefree"), "schedule": named("cosine")}, BOTH, "spoils the average"),
    ({"optimizer": named("prodigyplus"), "schedule": named("linear")}, BOTH, "spoils the average"),
    ({"optimizer": named("sgdschedulefree", l1=0.1)}, BOTH, "L1 penalty would not reach"),
    ({"optimizer": named("adamwschedulefree"), "adapter": {"max_norm": 1.0}}, BOTH, "max_norm would not"),
    ({"optimizer": named("pagedadamw8bit"), "train": {"device": "cpu"}}, BOTH, "only GPUs have"),
    ({"optimizer": named("muon"), "adapter": {"dora": "output"}}, BOTH, "DoRA's magnitudes"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "parts", "reason"), REFUSED)
def test_is_refused_with_the_reason_and_a_way_out(raw, parts, reason):
    found = problems(run_of(**raw), parts, 1000)
    with pytest.raises(UserError, match=reason) as caught:
        found.refuse()
    assert caught.value.where
    assert caught.value.remedy


ALLOWED = [
    ({}, BOTH),
    ({"optimizer": {"unet_lr": 1e-4, "text_encoder_lr": 5e-5, "text_encoder_2_lr": 2e-5}}, XL),
    ({"optimizer": named("prodigy", text_encoder_lr=0)}, ("unet",)),
    ({"optimizer": named("prodigy", unet_lr=1.0, text_encoder_lr=1.0)}, BOTH),
    ({"optimizer": named("prodigyplus", unet_lr=1.0, text_encoder_lr=0.5), "train": {"max_grad_norm": 0}}, BOTH),
    ({"optimizer": named("prodigyplus", use_schedulefree=False, l1=0.1), "schedule": named("cosine"), "train": {"max_grad_norm": 0}}, BOTH),
    ({"optimizer": named("adamw"), "adapter": {"lr_ratio": 16}}, BOTH),
    ({"optimizer": named("adafactor"), "schedule": named("adafactor")}, BOTH),
    ({"optimizer": named("adamwschedulefree"), "schedule": named("constant_with_warmup", warmup_steps=50)}, BOTH),
    ({"optimizer": named("pagedadamw8bit"), "train": {"device": "cuda"}}, BOTH),
    ({"optimizer": named("adafactor", relative_step=False, scale_parameter=False), "schedule": named("constant_with_warmup", warmup_steps=50)}, BOTH),
    ({"optimizer": named("custom", class_path="a.B", learning_rate=100.0)}, BOTH),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "parts"), ALLOWED)
def test_is_allowed_without_a_word(raw, parts):
    found = problems(run_of(**raw), parts, 1000, block_rates=(1.0,))
    assert found.errors == ()
    assert found.refuse() == ()


@pytest.mark.parametrize(
    "section", [s for s in sections() if s is not Custom], ids=lambda s: s.__name__
)
def test_every_optimizer_is_quiet_as_it_stands(section):
    """Defaults that are remarked on would be wrong defaults; only ProdigyPlus asks for no clipping."""
    run = Run(optimizer=section())
    found = problems(run, XL, 1000)
    assert found.errors == ()
    clipping = section.__name__ == "ProdigyPlusScheduleFree"
    assert len(found.warnings) == clipping


def test_block_rates_need_an_optimizer_with_several_rates():
    assert problems(run_of(optimizer=named("prodigy")), BOTH, 100, (1.0, 1.0)).errors == ()
    (error,) = problems(run_of(optimizer=named("prodigy")), BOTH, 100, (1.0, 0.5)).errors
    assert error.where == "adapter.blocks"
    assert problems(run_of(), BOTH, 100, (1.0, 0.5)).errors == ()


REMARKS = [
    ({"optimizer": named("prodigy", learning_rate=1e-4)}, BOTH, "learning rate near 1 is meant"),
    ({"optimizer": named("dadaptation", learning_rate=1e-4)}, BOTH, "learning rate near 1 is meant"),
    ({"optimizer": named("adamw", learning_rate=1.0)}, BOTH, "1 is unusually high for adamw"),
    ({"optimizer": named("lion", learning_rate=3e-3)}, BOTH, "unusually high for lion"),
    ({"optimizer": named("sgdnesterov", learning_rate=1e-6)}, BOTH, "unusually low for sgdnesterov"),
    ({"optimizer": {"text_encoder_lr": 1e-5}, "train": {"text_encoder": False}}, ("unet",), "optimizer.text_encoder_lr has no effect: train.text_encoder is false"),
    ({"optimizer": {"unet_lr": 1e-5}, "train": {"unet": False}}, ("text_encoder",), "optimizer.unet_lr has no effect: train.unet is false"),
    ({"optimizer": {"text_encoder_2_lr": 1e-5}}, BOTH, "text_encoder_2_lr has no effect: this model has one"),
    ({"optimizer": {"learning_rate": 3e-4, "unet_lr": 1e-4, "text_encoder_lr": 1e-5}}, XL, "optimizer.learning_rate has no effect"),
    ({"optimizer": named("adafactor", learning_rate=3e-4, unet_lr=1e-4)}, BOTH, "learning_rate, unet_lr have no effect: relative_step"),
    ({"optimizer": named("adafactor", relative_step=False), "schedule": named("constant_with_warmup", warmup_steps=9)}, BOTH, "scale_parameter multiplies"),
    ({"optimizer": named("adafactor", relative_step=False, scale_parameter=False)}, BOTH, "constant_with_warmup is the usual"),
    ({"schedule": named("cosine", warmup_steps="100%")}, BOTH, "takes all of the 1,000 steps"),
    ({"schedule": named("constant_with_warmup")}, BOTH, "without warmup_steps is constant"),
    ({"schedule": named("warmup_stable_decay", warmup_steps=600, decay_steps=700)}, BOTH, "the fall is cut to 400"),
    ({"schedule": named("piecewise_constant", step_rules="1:500,0.1:2000,0")}, BOTH, "step 2000 never comes"),
    ({"optimizer": named("prodigy", safeguard_warmup=False), "schedule": named("cosine", warmup_steps=50)}, BOTH, "mislead Prodigy's estimate"),
    ({"optimizer": named("dadaptadam"), "schedule": named("cosine", warmup_steps=200)}, BOTH, "holds the estimate back"),
    ({"optimizer": named("prodigy"), "schedule": named("cosine_with_restarts", num_cycles=3)}, BOTH, "restarts confuse"),
    ({"optimizer": named("prodigyplus")}, BOTH, "max_grad_norm = 1 hampers"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "parts", "text"), REMARKS)
def test_is_remarked_on_once(raw, parts, text):
    found = problems(run_of(**raw), parts, 1000)
    assert found.errors == ()
    matching = [warning for warning in found.warnings if text in warning]
    assert len(matching) == 1, found.warnings
    assert len(found.warnings) == 1, found.warnings


def test_a_rate_of_its_own_for_each_part_reaches_the_second_encoder():
    """kohya.md 8, item 14: 0 is frozen, not unset."""
    run = run_of(optimizer={"learning_rate": 1e-4, "text_encoder_2_lr": 0})
    assert [run.optimizer.rate(part) for part in XL] == [1e-4, 1e-4, 0]
    assert problems(run, BOTH, 1000).warnings == ()
