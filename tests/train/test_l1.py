"""A run with an L1 penalty: the loop tells the optimizer where nothing is changed (E3)."""

from __future__ import annotations

from pathlib import Path

import torch

from testbed.trainers import trainer

FEW = "targets={only=['*mid_block*attn1*']}"


def test_magnitudes_of_dora_stay_with_the_base_models(project: Path, mame):
    """A penalty stronger than any gradient: magnitudes are the norms of the weight, not smaller."""
    values = ("optimizer.l1=1e5", "train.text_encoder=false")
    with trainer(project, mame, f"adapter={{rank=2,dora='output',{FEW}}}", *values) as made:
        made.step()
        members = list(made.network.members.values())
        assert members
        for member in members:
            norms = member.target.layer.weight.norm(dim=1)
            torch.testing.assert_close(member.adapter.magnitude.detach(), norms)
            assert not member.adapter.up.any()


def test_without_a_penalty_magnitudes_are_trained_as_before(project: Path, mame):
    values = ("train.text_encoder=false", "optimizer.learning_rate=0.01")
    with trainer(project, mame, f"adapter={{rank=2,dora='output',{FEW}}}", *values) as made:
        made.step()
        assert all(
            not torch.equal(m.adapter.magnitude.detach(), m.target.layer.weight.norm(dim=1))
            for m in made.network.members.values()
        )
