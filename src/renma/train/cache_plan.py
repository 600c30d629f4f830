"""How many latents of a run lie in the cache already; asked without torch."""

from __future__ import annotations

from dataclasses import dataclass

from renma.core.store import Store
from renma.data.latent_key import all_wanted, maker_of
from renma.data.order import Order
from renma.formats.model_facts import ModelFacts
from renma.formats.weight_hash import remembered_hash


@dataclass(frozen=True)
class Cached:
    """The latents that are encoded ahead.

    Attributes:
        latents: how many there are.
        there: how many of them are in the cache.
        anew: pictures whose showings all look different, so that nothing can be kept.
    """

    latents: int
    there: int
    anew: int


def cached(order: Order, model: ModelFacts, *, gpu: bool) -> Cached:
    """Returns how many latents will not have to be encoded.

    A model that never trained here has no latents in the cache: its hash was never computed.
    """
    wanted = list(all_wanted(order))
    pictures = sum(len(s.items) + len(s.held_out) for s in order.sets)
    anew = pictures - sum(not each.flip for each in wanted)
    known = remembered_hash(model.parts["vae"].file)
    if not known:
        return Cached(len(wanted), 0, anew)
    maker = maker_of(known, model.family, "cuda" if gpu else "cpu")
    store = Store("latents", ".safetensors")
    keys = {each.key(maker) for each in wanted}
    there = sum(store.path(key).exists() for key in keys)
    return Cached(len(keys), there, anew)
