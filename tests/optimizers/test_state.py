"""Saved and loaded, every optimizer goes on bit by bit (row E3; issue 4, "Resume and stop")."""

from __future__ import annotations

import pytest
import torch

from renma import optimizers
from renma.config.optimizer import AdamW, Custom, Lion, Muon, Prodigy, sections
from renma.core.errors import UserError
from renma.formats import state as states

WARMED = lambda step: min(1.0, step / 3)  # noqa: E731 - the first step has rate 0
EVERY = [s for s in sections() if s is not Custom and not s().traits.paged and s is not Muon]
# an L1 penalty and schedule-free weights are refused together (optimizer_rules)
CASES = [(s, l1) for s in EVERY for l1 in (0.0, 0.01) if not (l1 and s().traits.eval_mode)]


def built(toy, section, seed=0, **options):
    problem = toy(seed)
    config = section(**options)
    return problem, optimizers.build(problem.groups(config.learning_rate), config)


def both(problem, optimizer):
    return {"weights": [p.data for p in problem.parameters], "o": optimizers.state(optimizer)}


@pytest.mark.parametrize(("section", "l1"), CASES, ids=lambda s: getattr(s, "__name__", s))
def test_ten_steps_are_five_saved_loaded_and_five(section, l1, toy, tmp_path):
    straight, optimizer = built(toy, section, l1=l1)
    straight.train(optimizer, 0, 5, WARMED)
    path = states.save(tmp_path, 5, states.to_cpu(both(straight, optimizer)))
    straight.train(optimizer, 5, 10, WARMED)

    resumed, again = built(toy, section, seed=9, l1=l1)  # other weights, so that all must be loaded
    resumed.train(again, 0, 2)  # and a state that must go
    tree = states.load(path)
    for parameter, value in zip(resumed.parameters, tree["weights"], strict=True):
        parameter.data.copy_(value)
    optimizers.load_state(again, tree["o"])
    resumed.train(again, 5, 10, WARMED)
    assert all(map(torch.equal, resumed.parameters, straight.parameters))
    first, second = (
        states.to_cpu(both(*each)) for each in ((straight, optimizer), (resumed, again))
    )
    assert states.save(tmp_path / "a", 10, first).read_bytes() == (
        states.save(tmp_path / "b", 10, second).read_bytes()
    )


def test_state_holds_a_copy(toy):
    problem, optimizer = built(toy, AdamW)
    problem.train(optimizer, 0, 2)
    tree = states.to_cpu(optimizers.state(optimizer))
    before = tree["state"][0]["exp_avg"].clone()
    optimizers.load_state(optimizer, tree)
    problem.train(optimizer, 2, 3)
    assert torch.equal(tree["state"][0]["exp_avg"], before)
    assert not torch.equal(optimizer.state[problem.parameters[0]]["exp_avg"], before)


@pytest.mark.parametrize("section", [AdamW, Lion, Prodigy])
def test_state_of_other_groups_is_refused(section, toy):
    _, optimizer = built(toy, section)
    tree = optimizers.state(optimizer)
    renamed = {**tree, "param_groups": [{**g, "name": "x"} for g in tree["param_groups"]]}
    with pytest.raises(UserError, match="other parameter groups"):
        optimizers.load_state(optimizer, renamed)
    with pytest.raises(UserError, match="other parameter groups"):
        optimizers.load_state(optimizer, {**tree, "param_groups": tree["param_groups"][:1]})


@pytest.mark.parametrize("section", EVERY, ids=lambda s: s.__name__)
def test_state_takes_the_bytes_that_the_plan_counts(section, toy):
    """Counted before training, without torch, and beside the real tensors."""
    shapes = ((16, 320), (320, 16), (96, 96), (48,))
    problem = toy(shapes=shapes)
    config = section()
    optimizer = optimizers.build(problem.groups(config.learning_rate), config)
    zeros = [not p.any() for p in problem.parameters]
    problem.train(optimizer, 0, 2)
    held = {  # bitsandbytes' map from codes to numbers is one tensor, shared by all
        value.data_ptr(): value.numel() * value.element_size()
        for state in optimizer.state.values()
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and not name.startswith("qmap")
    }
    counted = sum(config.state_bytes(s, zero) for s, zero in zip(shapes, zeros, strict=True))
    assert counted == pytest.approx(sum(held.values()), rel=0.01)
