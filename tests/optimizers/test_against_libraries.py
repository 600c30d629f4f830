"""Sections build the libraries' classes with the options given (row E3)."""

from __future__ import annotations

import importlib
import inspect
import io
from contextlib import redirect_stdout

import pytest
import torch

from renma import optimizers
from renma.config.optimizer import (
    CAME,
    Adafactor,
    AdamW,
    AdamW8bit,
    Adan,
    Automatic,
    Custom,
    DAdaptAdam,
    Lion,
    Muon,
    Prodigy,
    SGDNesterov,
    SGDNesterov8bit,
    StableAdamW,
    known,
    sections,
)

EVERY = [s for s in sections() if s is not Custom]
ON_CPU = [s for s in EVERY if not s().traits.paged and s is not Muon]
NOT_OFFERED = {
    "lr", "params", "foreach", "fused", "maximize", "capturable", "differentiable",  # torch's means
    "args", "optim_bits", "is_paged", "amsgrad",  # bitsandbytes: fixed by the class, or unused
    "fsdp_in_use", "log_every",  # D-Adaptation, Prodigy
    "stochastic_rounding", "fused_back_pass",  # ProdigyPlus: for weights in bfloat16
    "dampening", "nesterov", "kwargs", "min_8bit_size",
}  # fmt: skip


def reference(section, groups, **options):
    package, _, name = section.source.rpartition(".")
    with redirect_stdout(io.StringIO()):
        return getattr(importlib.import_module(package), name)(groups, **options)


@pytest.mark.parametrize("section", EVERY, ids=lambda s: s.__name__)
def test_every_argument_of_the_class_is_an_option_or_left_out_on_purpose(section):
    package, _, name = section.source.rpartition(".")
    there = set(inspect.signature(getattr(importlib.import_module(package), name)).parameters)
    offered = set(section().arguments()) | set(section.more)
    offered |= {section.names.get(field, field) for field in section.model_fields}
    assert set(section.more) <= there
    assert set(section().arguments()) <= there
    assert there - offered <= NOT_OFFERED


@pytest.mark.parametrize("section", ON_CPU, ids=lambda s: s.__name__)
def test_lowers_the_loss_with_its_own_defaults(section, toy):
    problem = toy()
    config = section(**({"d0": 1e-3} if "d0" in section.model_fields else {}))
    optimizer = optimizers.build(problem.groups(config.learning_rate), config)
    before = problem.loss()
    problem.train(optimizer, 0, 300)
    with optimizers.evaluating(optimizer):
        assert problem.loss() < 0.97 * before


PAIRS = [
    (AdamW(learning_rate=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
     lambda g: torch.optim.AdamW(g, lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, foreach=False)),
    (AdamW(learning_rate=0.01, weight_decay=0.1, decoupled_weight_decay=False),
     lambda g: torch.optim.Adam(g, lr=0.01, weight_decay=0.1, foreach=False)),
    (SGDNesterov(learning_rate=0.01, momentum=0.8, weight_decay=0.1),
     lambda g: torch.optim.SGD(g, lr=0.01, momentum=0.8, weight_decay=0.1, nesterov=True, foreach=False)),
    (SGDNesterov8bit(learning_rate=0.01, momentum=0.8, weight_decay=0.1, args={"min_8bit_size": 10**9}),
     lambda g: torch.optim.SGD(g, lr=0.01, momentum=0.8, weight_decay=0.1, nesterov=True, foreach=False)),
]  # fmt: skip


@pytest.mark.parametrize(("config", "theirs"), PAIRS, ids=lambda c: getattr(c, "name", ""))
def test_is_torchs(config, theirs, toy):
    ours, other = toy(), toy()
    ours.train(optimizers.build(ours.groups(config.learning_rate), config), 0, 10)
    other.train(theirs(other.groups(config.learning_rate)), 0, 10)
    for mine, reference_ in zip(ours.parameters, other.parameters, strict=True):
        torch.testing.assert_close(mine, reference_, rtol=1e-5, atol=1e-6)


def test_lion_is_the_papers(toy):
    """Algorithm 2 of arXiv 2302.06675, written out."""
    config = Lion(learning_rate=1e-3, betas=(0.8, 0.95), weight_decay=0.2)
    ours, other = toy(), toy()
    ours.train(optimizers.build(ours.groups(1e-3), config), 0, 8)
    momenta = [torch.zeros_like(p) for p in other.parameters]

    class Written(torch.optim.SGD):
        def step(self, closure=None):
            with torch.no_grad():
                for p, m in zip(other.parameters, momenta, strict=True):
                    update = (0.8 * m + 0.2 * p.grad).sign()
                    p -= 1e-3 * (update + 0.2 * p)
                    m.mul_(0.95).add_(0.05 * p.grad)

    other.train(Written(other.groups(1e-3), lr=1e-3), 0, 8)
    for mine, written in zip(ours.parameters, other.parameters, strict=True):
        torch.testing.assert_close(mine, written, rtol=1e-5, atol=1e-7)


SAME = [
    (Prodigy(betas=(0.8, 0.95), d_coef=0.3, weight_decay=0.2, growth_rate=1.5, d0=1e-4),
     {"betas": (0.8, 0.95), "d_coef": 0.3, "weight_decay": 0.2, "growth_rate": 1.5, "d0": 1e-4,
      "decouple": True, "safeguard_warmup": True, "use_bias_correction": True}),
    (DAdaptAdam(weight_decay=0.2, d0=1e-4),
     {"weight_decay": 0.2, "d0": 1e-4, "decouple": True}),
    (Adafactor(warmup_init=True), {"warmup_init": True}),
    (Adafactor(learning_rate=1e-3, relative_step=False, scale_parameter=False),
     {"lr": 1e-3, "relative_step": False, "scale_parameter": False}),
    (CAME(learning_rate=1e-3, weight_decay=0.1), {"lr": 1e-3, "weight_decay": 0.1}),
    (Adan(learning_rate=1e-3, weight_decay=0.1), {"lr": 1e-3, "weight_decay": 0.1}),
    (StableAdamW(learning_rate=1e-3), {"lr": 1e-3}),
    (AdamW8bit(learning_rate=1e-3, weight_decay=0.1), {"lr": 1e-3, "weight_decay": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize(("config", "options"), SAME, ids=lambda c: getattr(c, "name", ""))
def test_is_the_library_class_with_the_same_options(config, options, toy):
    ours, theirs = toy(), toy()
    rate = config.learning_rate
    ours.train(optimizers.build(ours.groups(rate), config), 0, 10)
    theirs.train(reference(type(config), theirs.groups(rate), **options), 0, 10)
    assert all(map(torch.equal, ours.parameters, theirs.parameters))


@pytest.mark.parametrize("section", ON_CPU, ids=lambda s: s.__name__)
def test_no_option_is_without_effect(section, toy):
    """Every field of the section changes what is learnt, within a few steps."""

    def trained(**change):
        problem = toy()
        config = section(**{**start, **change})
        automatic = "d0" in section.model_fields
        rate, steps = (1.0, 40) if automatic else (0.3, 6)  # an estimate needs time to grow
        problem.train(optimizers.build(problem.groups(rate), config), 0, steps)
        return torch.cat([p.detach().flatten() for p in problem.parameters])

    start = {"d0": 1e-4, "weight_decay": 0.1, "momentum": 0.5}
    start = {k: v for k, v in start.items() if k in section.model_fields}
    plain = trained()
    assert torch.equal(plain, trained())
    tried = {name: changed(name, field.default) for name, field in section.model_fields.items()}
    tried = {name: value for name, value in tried.items() if value is not None}
    dead = {name for name, value in tried.items() if torch.equal(plain, trained(**{name: value}))}
    assert not dead


def changed(name: str, default):
    """Another value of an option, or None where the loop or another test decides."""
    if name in ("name", "learning_rate", "unet_lr", "text_encoder_lr", "text_encoder_2_lr", "args"):
        return None
    special = {"growth_rate": 1.001, "d_coef": 0.3, "adjust_lr_fn": "original", "l1": 0.01}
    if name in special:
        return special[name]
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple):
        return tuple(0.5 * value for value in default)
    return {"eps": 0.1, "weight_decay": 0.7, "momentum": 0.2, "d0": 3e-4}.get(name, 0.4 * default)


def test_sgdnesterov8bit_keeps_its_momentum_in_bytes_and_is_near_32_bit(toy):
    """bitsandbytes' own SGD8bit ignores nesterov (kohya.md 5.2)."""
    results = {}
    for name, config in {"8": SGDNesterov8bit(), "32": SGDNesterov()}.items():
        problem = toy()
        optimizer = optimizers.build(problem.groups(0.01), config)
        problem.train(optimizer, 0, 30)
        results[name] = problem.parameters[2].detach()  # 72 x 64, above the limit
        if name == "8":
            assert optimizer.state[problem.parameters[2]]["codes"].dtype == torch.uint8
            assert "codes" not in optimizer.state[problem.parameters[0]]
    moved = (results["32"] - toy().parameters[2]).norm()
    assert (results["8"] - results["32"]).norm() < 0.02 * moved


@pytest.mark.parametrize(
    "section", [s for s in EVERY if issubclass(s, Automatic)], ids=lambda s: s.__name__
)
def test_a_warm_up_from_zero_is_survived_and_rates_tell_the_found_scale(section, toy):
    problem, config = toy(), section()
    optimizer = optimizers.build(problem.groups(1.0), config)
    problem.train(optimizer, 0, 1, lambda step: 0.0)
    problem.train(optimizer, 1, 20)
    found = optimizers.rates(optimizer, config)
    assert found == [optimizer.param_groups[0]["d"]] * 2
    assert config.d0 <= found[0]


def test_rates_of_adafactors_relative_steps(toy):
    problem, config = toy(), Adafactor(warmup_init=True)
    optimizer = optimizers.build(problem.groups(0.5), config)
    problem.train(optimizer, 0, 3)
    assert optimizers.rates(optimizer, config) == [3e-6, 3e-6]
    assert Adafactor().relative_rate(1) == 0.01
    assert Adafactor().relative_rate(40_000) == 0.005


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("AdamW8bit", "adamw8bit"), ("DAdaptation", "dadaptadampreprint"), ("PagedAdamW", "pagedadamw32bit"),
     ("SGDNesterov", "sgdnesterov"), ("AdaFactor", "adafactor"), ("DAdapt_AdanIP", "dadaptadanip"),
     ("RAdamScheduleFree", "radamschedulefree"), ("Lion", "lion")],
)  # fmt: skip
def test_names_of_sd_scripts_are_known(spelling, name):
    assert known(spelling) == name
    assert name in {s.model_fields["name"].default for s in EVERY}
