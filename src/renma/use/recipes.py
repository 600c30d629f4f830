"""From the options of ``renma sample`` to one recipe a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from renma.config.block_weights import block_factors
from renma.config.picture_recipe import Recipe, UsedRegion
from renma.config.prompts import Prompt, parse, read_file
from renma.config.sample_task import HiresOptions, SampleOptions
from renma.core.errors import UserError
from renma.core.store import file_hash
from renma.drawing import prompt_loras, regions
from renma.drawing.picture_source import Shelf, Source, blocks_of, lora_name
from renma.use.drawn_again import again

Note = Callable[[str], object]


def recipes(options: SampleOptions, note: Note) -> list[Recipe]:
    """Returns what is to be drawn, in order.

    Args:
        options: the command's.
        note: told what is read otherwise than it is written.

    Raises:
        UserError: whatever is wrong with prompts, LoRAs, regions or the model.
    """
    if options.again is not None:
        return [again(options, options.again)]
    source = Source.of(options.model, options.set)
    shelf = Shelf(options.lora_dir, blocks_of(options.blocks))
    loras = tuple(shelf.given(text) for text in options.lora)
    if source.lora is not None and not options.lora:
        loras = (shelf.used(lora_name(source.lora), source.lora),)
    loras = (*shelf.standing(source), *loras)
    facts = source.facts()
    areas = tuple(regions.parse(text) for text in options.region)
    shared: dict[str, Any] = {
        **source.basis(facts),
        **({"precision": options.precision} if options.precision else {}),
        "loras": loras,
        "lora_in_negative": options.lora_in_negative,
        "hires": hires_of(options),
    }
    if options.regions is not None:
        shared |= _regions(options, areas)
    found = []
    for prompt in _prompts(options, source, note):
        texts = [prompt.text, *(area.prompt for area in areas)]
        named = shelf.named_in(texts, prompt.negative)
        for number in range(options.count):
            seed = (prompt.seed if prompt.seed is not None else options.seed) + number
            size = {n: getattr(prompt, n) or facts.native_size for n in ("width", "height")}
            own = prompt.model_copy(update={"seed": seed % 2**63, **size})
            found.append(Recipe(**shared, prompt=own, named=named))
    shelf.check_asked()
    for lora in dict.fromkeys(lora for r in found for lora in (*r.loras, *r.named) if lora.blocks):
        block_factors(lora.blocks, facts.family == "sdxl", f"blocks of {lora.name}")
    _idle(options, found, note)
    _unseen(found, note)
    return found


def hires_of(options: SampleOptions) -> HiresOptions:
    """Returns the options of the second pass alone."""
    return HiresOptions(**{name: getattr(options, name) for name in HiresOptions.model_fields})


def _prompts(options: SampleOptions, source: Source, note: Note) -> Iterator[Prompt]:
    """Yields the prompts with everything said but the seed."""
    how, given = source.sample, ("steps", "sampler", "rescale")
    defaults: dict[str, Any] = {
        name: getattr(how, name) if getattr(options, name) is None else getattr(options, name)
        for name in given
    }
    defaults["scale"] = how.scale if options.cfg is None else options.cfg
    defaults["negative"] = options.negative
    defaults |= {n: getattr(options, n) for n in ("width", "height") if getattr(options, n)}
    # a region needs no prompt for the rest
    lines = options.prompt or ([] if options.prompts else [""])
    for line in lines:
        yield parse(line, defaults, "--prompt", note)
    if options.prompts is not None:
        yield from read_file(options.prompts, defaults, note)


def _regions(options: SampleOptions, areas: tuple[UsedRegion, ...]) -> dict[str, Any]:
    path = Path(str(options.regions))
    if not path.is_file():
        raise UserError("there is no such picture", where=path, remedy="It shows the regions.")
    return {
        "regions": str(path),
        "regions_sha256": file_hash(path),
        "region": areas,
        "feather": options.feather,
        "region_way": options.region_way,
    }


def _unseen(found: list[Recipe], note: Note) -> None:
    """Tells a prompt for the rest of the picture where regions leave nothing.

    Raises:
        UserError: a picture of regions does not show them.
    """
    sizes = {(r.prompt.width or 0, r.prompt.height or 0): r for r in found if r.region}
    pages = {
        size: regions.read(Path(r.regions), r.region, r.feather, size) for size, r in sizes.items()
    }
    if any(
        r.prompt.text and not pages[r.prompt.width or 0, r.prompt.height or 0][-1].any()
        for r in found
        if r.region
    ):
        note("--prompt has no effect where regions cover the whole picture")


def _idle(options: SampleOptions, found: list[Recipe], note: Note) -> None:
    """Tells options without effect."""
    given = options.model_fields_set
    if options.hires is None:
        for name in sorted(given & {"hires_steps", "hires_strength", "hires_upscaler"}):
            note(f"--{name.replace('_', '-')} has no effect without --hires")
    if not options.regions:
        for name in sorted(given & {"feather", "region_way"}):
            note(f"--{name.replace('_', '-')} has no effect without --regions")
    texts = [text for r in found for text in (r.prompt.text, *(a.prompt for a in r.region))]
    if options.lora_in_negative and all(len(prompt_loras.split(text)) == 1 for text in texts):
        note(
            "--lora-in-negative has no effect without AND: LoRAs act on the negative prompt anyway"
        )
    if options.negative and all(r.prompt.scale <= 1 for r in found):
        note("--negative has no effect at guidance 1")
    if not found:
        raise UserError("holds no prompt", where=options.prompts, remedy="Write one a line.")
