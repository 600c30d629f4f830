"""What cannot be built is refused in one line; L1; weights to use; classes of others (row E3, E6)."""

from __future__ import annotations

import copy
import tomllib

import pytest
import torch

from renma import optimizers
from renma.config import Run, dump, validate
from renma.config.optimizer import (
    AdamW,
    AdamWScheduleFree,
    Custom,
    Lion,
    Muon,
    PagedAdamW8bit,
    PagedAdamW32bit,
    PagedLion8bit,
    Prodigy,
    ProdigyPlusScheduleFree,
    SGDNesterov,
    sections,
)
from renma.core.errors import UserError


def read(**optimizer):
    return validate(Run, {"optimizer": optimizer}, "test").optimizer


def test_arguments_as_sd_scripts_writes_them_become_options():
    config = read(
        name="Prodigy", args=["decouple=False", "betas=0.9,0.99", "slice_p=11", "beta3=0.9"]
    )
    assert (config.decoupled_weight_decay, config.betas) == (False, (0.9, 0.99))
    assert config.args == {"slice_p": 11, "beta3": 0.9}
    assert config.arguments()["decouple"] is False
    again = validate(Run, tomllib.loads(dump(Run(optimizer=config))), "test").optimizer
    assert again == config


def test_two_text_encoder_rates():
    config = read(text_encoder_lr=[1e-5, 2e-5], unet_lr=0)
    rates = [config.rate(part) for part in ("unet", "text_encoder", "text_encoder_2")]
    assert rates == [0, 1e-5, 2e-5]
    assert [read(text_encoder_lr=3e-5).rate(p) for p in ("text_encoder", "text_encoder_2")] == [
        3e-5
    ] * 2
    assert read(text_encoder_lr=3e-5, text_encoder_2_lr=0).rate("text_encoder_2") == 0
    assert read(learning_rate=7e-5, text_encoder_2_lr=0.1).rate("text_encoder") == 7e-5


MISTAKES = [
    ({"name": "adamv"}, "'adamv' is not one of", "Did you mean 'adamw'"),
    ({"name": "prodigy", "args": {"slice": 3}}, "Prodigy takes no argument 'slice'", "'slice_p'"),
    ({"name": "prodigy", "args": {"decoupel": True}}, "no argument 'decoupel'", "'decouple'"),
    ({"name": "lion", "args": ["betas"]}, "'betas' is not of the form key=value", ""),
    ({"args": ["eps=1e-8", "weight_decay=1 2"]}, "'1 2' of 'weight_decay' is no Python value", ""),
    ({"args": {"eps": 1e-5}, "eps": 1e-6}, "args.eps and eps are the same option", ""),
    ({"name": "adafactor", "relative_step": False, "warmup_init": True}, "warmup_init needs", ""),
    ({"name": "custom"}, "'optimizer.class_path' is missing", ""),
    ({"weight_decay": "much"}, "'optimizer.weight_decay'", ""),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "what", "hint"), MISTAKES)
def test_a_mistake_is_told_before_anything_is_loaded(raw, what, hint):
    with pytest.raises(UserError) as caught:
        read(**raw)
    assert what in caught.value.line()
    assert hint in caught.value.line()


@pytest.mark.parametrize("section", [PagedAdamW8bit, PagedAdamW32bit, PagedLion8bit])
def test_paged_memory_needs_a_gpu(section, toy):
    plain = section.model_fields["name"].default.removeprefix("paged").removesuffix("32bit")
    with pytest.raises(UserError, match=f"only GPUs have.*Take '{plain}'"):
        optimizers.build(toy().groups(1e-3), section())
    assert plain in {s.model_fields["name"].default for s in sections()}


def test_what_the_library_refuses_is_the_users_mistake(toy):
    with pytest.raises(UserError, match="Adan does not accept this: .*max_grad_norm"):
        optimizers.build(toy().groups(1e-3), read(name="adan", args={"max_grad_norm": -1}))


def test_muon_is_torchs_and_takes_matrices_only(toy):
    with pytest.raises(UserError, match="2D"):
        optimizers.build(toy().groups(1e-3), Muon())
    ours, theirs = toy(shapes=((8, 40), (40, 8))), toy(shapes=((8, 40), (40, 8)))
    ours.train(optimizers.build(ours.groups(1e-2), Muon()), 0, 5)
    reference = torch.optim.Muon(
        theirs.groups(1e-2), weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
    )
    theirs.train(reference, 0, 5)
    assert all(map(torch.equal, ours.parameters, theirs.parameters))
    again = toy(shapes=((8, 40), (40, 8)))
    optimizer = optimizers.build(again.groups(1e-2), Muon())
    again.train(optimizer, 0, 3)
    successor = optimizers.build(again.groups(1e-2), Muon())
    optimizers.load_state(successor, copy.deepcopy(optimizers.state(optimizer)))
    again.train(successor, 3, 5)
    assert all(map(torch.equal, ours.parameters, again.parameters))


class TestL1:
    def test_without_gradient_weights_shrink_by_rate_times_penalty_and_stop_at_zero(self):
        """Closed form: |p| - n rate l1, at least 0."""
        start = torch.tensor([0.5, -0.3, 0.02, 0.0])
        weights = torch.nn.Parameter(start.clone())
        config = SGDNesterov(l1=2.0)
        optimizer = optimizers.build([{"params": [weights], "lr": 0.01}], config)
        for step in range(1, 6):
            weights.grad = torch.zeros(4)
            optimizer.step()
            expected = start.sign() * (start.abs() - step * 0.02).clamp(min=0)
            torch.testing.assert_close(weights.detach(), expected)
        assert weights[2] == 0

    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_a_parabola_ends_at_the_soft_threshold(self, momentum):
        """The minimum of (w - a)^2 / 2 + l |w| is sign(a) max(|a| - l, 0).

        Gradients that add up in a momentum weigh 1 / (1 - momentum) times more than the penalty.
        """
        aim = torch.tensor([2.0, -1.0, 0.03, -0.02])
        weights = torch.nn.Parameter(torch.zeros(4))
        plain = Custom(class_path="torch.optim.SGD", l1=0.5)
        config = SGDNesterov(l1=0.5, momentum=momentum) if momentum else plain
        optimizer = optimizers.build([{"params": [weights], "lr": 0.02}], config)
        for _ in range(1500):
            weights.grad = weights.detach() - aim
            optimizer.step()
        penalty = 0.5 * (1 - momentum)
        expected = aim.sign() * (aim.abs() - penalty).clamp(min=0)
        torch.testing.assert_close(weights.detach(), expected, atol=1e-4, rtol=0)
        assert (weights[2:] == 0).all()

    def test_rates_of_groups_and_the_found_scale_count(self, toy):
        problem, config = toy(), Prodigy(l1=1.0, d0=1e-2)
        optimizer = optimizers.build(problem.groups(1.0), config)
        other = toy()
        plain = optimizers.build(other.groups(1.0), Prodigy(d0=1e-2))
        problem.train(optimizer, 0, 1)
        other.train(plain, 0, 1)
        threshold = plain.param_groups[0]["d"]
        assert threshold >= 1e-2
        for mine, unpunished in zip(problem.parameters, other.parameters, strict=True):
            shrunk = torch.nn.functional.softshrink(unpunished.detach(), threshold)
            torch.testing.assert_close(mine.detach(), shrunk)


class TestWeightsToUse:
    @pytest.mark.parametrize("section", [AdamWScheduleFree, ProdigyPlusScheduleFree])
    def test_looking_changes_nothing_bit_by_bit(self, section, toy):
        """Going to the averages and back by interpolation would be off by rounding."""
        looked, left = toy(), toy()
        rate = section().learning_rate
        one = optimizers.build(looked.groups(rate), section())
        two = optimizers.build(left.groups(rate), section())
        for step in range(8):
            looked.train(one, step, step + 1)
            stepped = [p.detach().clone() for p in looked.parameters]
            with optimizers.evaluating(one):
                assert step == 0 or not all(map(torch.equal, looked.parameters, stepped))
            left.train(two, step, step + 1)
        assert all(map(torch.equal, looked.parameters, left.parameters))

    def test_they_are_the_librarys_averages(self, toy):
        from schedulefree import AdamWScheduleFree as Reference

        ours, theirs = toy(), toy()
        config = AdamWScheduleFree(learning_rate=1e-2, weight_decay=0.1)
        optimizer = optimizers.build(ours.groups(1e-2), config)
        reference = Reference(theirs.groups(1e-2), weight_decay=0.1)
        reference.train()
        ours.train(optimizer, 0, 7)
        theirs.train(reference, 0, 7)
        reference.eval()
        with optimizers.evaluating(optimizer):
            assert all(map(torch.equal, ours.parameters, theirs.parameters))

    def test_after_a_failure_the_stepped_weights_are_back(self, toy):
        problem, config = toy(), AdamWScheduleFree()
        optimizer = optimizers.build(problem.groups(1e-3), config)
        problem.train(optimizer, 0, 3)
        before = [p.detach().clone() for p in problem.parameters]
        with pytest.raises(OSError, match="disk"), optimizers.evaluating(optimizer):
            raise OSError("disk full")
        assert all(map(torch.equal, problem.parameters, before))
        problem.train(optimizer, 3, 4)

    def test_others_use_what_they_step(self, toy):
        problem = toy()
        optimizer = optimizers.build(problem.groups(1e-3), AdamW())
        problem.train(optimizer, 0, 2)
        before = [p.detach().clone() for p in problem.parameters]
        with optimizers.evaluating(optimizer):
            assert all(map(torch.equal, problem.parameters, before))

    def test_traits_say_who_they_are(self):
        """`optimizers.traits` and the classes agree."""
        from renma.optimizers._build import find
        from renma.optimizers._evaluate import Averaging

        for section in sections():
            if section is Custom:
                continue
            averaging = issubclass(find(section.source), Averaging)
            assert optimizers.traits(section()).eval_mode == averaging, section


class TestForeignClasses:
    @pytest.mark.parametrize(
        "path", ["torch.optim.NAdam", "torch.optim.Adagrad", "pytorch_optimizer.AdaBelief"]
    )
    def test_train_and_resume(self, path, toy, tmp_path):
        from renma.formats import state as states

        config = read(name=path, args=["weight_decay=0.1"])
        straight, resumed = toy(), toy(5)
        optimizer = optimizers.build(straight.groups(1e-2), config)
        straight.train(optimizer, 0, 4)
        tree = {"w": [p.data for p in straight.parameters], "o": optimizers.state(optimizer)}
        tree = states.load(states.save(tmp_path, 4, states.to_cpu(tree)))
        straight.train(optimizer, 4, 8)
        again = optimizers.build(resumed.groups(1e-2), config)
        for parameter, value in zip(resumed.parameters, tree["w"], strict=True):
            parameter.data.copy_(value)
        optimizers.load_state(again, tree["o"])
        resumed.train(again, 4, 8)
        assert all(map(torch.equal, straight.parameters, resumed.parameters))
        assert straight.loss() < toy().loss()

    @pytest.mark.parametrize(
        ("path", "args", "what"),
        [
            ("nosuchpackage.Adam", {}, "cannot import 'nosuchpackage'"),
            ("torch.optim.NAdm", {}, "is no optimizer class. Did you mean 'NAdam'"),
            ("torch.nn.Linear", {}, "is no optimizer class"),
            ("torch.optim.LBFGS", {}, "does not accept this|a trial step failed"),
            ("torch.optim.SparseAdam", {}, "a trial step failed"),
            ("torch.optim.NAdam", {"beta": 1}, "takes no argument 'beta'. Did you mean 'betas'"),
            ("torch.optim.NAdam", {"betas": 1}, "does not accept this"),
        ],
    )
    def test_what_cannot_train_is_refused_with_the_reason(self, path, args, what, toy):
        config = Custom(class_path=path, args=args)
        with pytest.raises(UserError, match=what):
            optimizers.build(toy().groups(1e-3), config)

    def test_a_class_that_forgets_is_refused(self, toy, monkeypatch):
        class Forgetful(torch.optim.SGD):
            count = 0

            def step(self, closure=None):
                self.count += 1
                for group in self.param_groups:
                    group["lr"] = 0.1 / self.count
                return super().step(closure)

        monkeypatch.setattr(torch.optim, "Forgetful", Forgetful, raising=False)
        with pytest.raises(UserError, match="does not go on exactly"):
            optimizers.build(toy().groups(1e-3), Custom(class_path="torch.optim.Forgetful"))

    def test_a_state_that_cannot_be_saved_is_refused(self, toy, monkeypatch):
        class Strange(torch.optim.SGD):
            def step(self, closure=None):
                for parameter in self.param_groups[0]["params"]:
                    self.state[parameter]["device"] = parameter.device
                return super().step(closure)

        monkeypatch.setattr(torch.optim, "Strange", Strange, raising=False)
        with pytest.raises(UserError, match="keeps a device in its state"):
            optimizers.build(toy().groups(1e-3), Custom(class_path="torch.optim.Strange"))


def test_help_of_every_section_names_its_source_or_what_it_does():
    for section in sections():
        assert section.__doc__
        assert section().learning_rate >= 0 if section is not Custom else True
    assert Lion().learning_rate <= AdamW().learning_rate / 3
