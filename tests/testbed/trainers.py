"""A trainer ready for its first step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from renma.config import load_run
from renma.engine.cycles import CycledNetwork
from renma.engine.latents import Latents
from renma.engine.network import Network
from renma.train.feed import Feed
from renma.train.lessons import PictureLessons
from renma.train.loop import Trainer
from renma.train.plan import prepare, trained_parts


@contextmanager
def trainer(project: Path, family, *values: str) -> Iterator[Trainer]:
    """A trainer on the shared model, which it gives back as it was."""
    run = load_run(project / "run.toml", list(values))
    prepared = prepare(run, project)
    latents = Latents.of(family)
    feed = Feed(run, prepared, latents)
    latents.prepare(feed.all_wanted(), lambda done, total: None)
    network = Network.fresh(family, run.adapter, 0, trained_parts(run))
    if run.relora.every_steps:
        network = CycledNetwork.of(network, run.relora)
    network.attach()
    try:
        yield Trainer(
            run, prepared, family, network, PictureLessons(run, family, network, feed, None)
        )
    finally:
        network.detach()


def pictures(one: Trainer) -> PictureLessons:
    """The lessons of a trainer that learns from pictures."""
    assert isinstance(one.lessons, PictureLessons)
    return one.lessons


def feed_with(one: Trainer, feed: Any) -> None:
    """Gives a trainer other batches."""
    one.lessons = replace(pictures(one), feed=feed)
