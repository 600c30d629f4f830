"""True prior preservation (E6): marked pictures are compared with the base model's own answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from renma.train.loop import Trainer
from testbed.trainers import pictures, trainer

ALL = "objective.prior_preservation=true"


def regularisation(one: Trainer, wanted: bool):
    """The first batch whose pictures are all regularisation pictures, or all are not."""
    for number in range(40):
        batch = pictures(one).feed.batch(number)
        marks = [name in {"grey.png", "black.png"} for name in batch.names]
        if all(marks) if wanted else not any(marks):
            return batch
    raise AssertionError("no such batch")


@pytest.mark.parametrize("text_encoder", [True, False])
def test_a_fresh_network_has_nothing_to_mend_on_preserved_pictures(
    project: Path, mame, text_encoder: bool
):
    """It answers as the base model does, so their loss is 0; other pictures' is not."""
    values = (ALL, f"train.text_encoder={str(text_encoder).lower()}", "data.batch_size=1")
    with trainer(project, mame, *values) as one:
        kept, learnt = regularisation(one, True), regularisation(one, False)
        assert kept.preserve.all()
        assert not learnt.preserve.any()
        assert pictures(one).loss(kept, pictures(one).draws(kept)).item() < 1e-10
        assert pictures(one).loss(learnt, pictures(one).draws(learnt)).item() > 1e-3


def test_a_network_that_has_moved_is_pulled_back(project: Path, mame):
    """The target stays the base model's own, whatever the text encoder has learnt."""
    with trainer(project, mame, ALL, "data.batch_size=1") as one:
        batch = regularisation(one, True)
        draws = pictures(one).draws(batch)
        condition = one.family.encode_text(batch.captions)
        with torch.no_grad(), one.network.at(unet=0.0, text_encoder=0.0):
            plain = one.family.encode_text(batch.captions)
            noisy = draws.noisy(one.schedule)
            target = one.family.predict(noisy, draws.timesteps, plain)
        for member in one.network.members.values():
            torch.nn.init.normal_(dict(member.adapter.named_parameters())["up"], std=0.05)
        condition = one.family.encode_text(batch.captions)
        with torch.no_grad():
            own = one.family.predict(noisy, draws.timesteps, condition)
            expected = (own - target).square().mean()
            found = pictures(one).loss(batch, draws)[0]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
        assert found > 1e-4


def test_without_it_regularisation_pictures_are_pictures(project: Path, mame):
    with trainer(project, mame, "data.batch_size=1") as one:
        batch = regularisation(one, True)
        assert not batch.preserve.any()
        assert pictures(one).loss(batch, pictures(one).draws(batch)).item() > 1e-3
