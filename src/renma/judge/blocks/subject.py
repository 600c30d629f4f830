"""What ``renma blocks`` examines: the LoRA, its model, the prompt and the seeds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from renma.config import load_run
from renma.config.blocks_task import BlocksOptions
from renma.config.picture_recipe import Recipe
from renma.config.prompts import Prompt, parse
from renma.config.prompts import prompts as preview_prompts
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import cache_folder
from renma.drawing import prompt_loras
from renma.drawing.picture_source import Shelf, Source, lora_name
from renma.formats.model_facts import ModelFacts
from renma.judge.blocks.effect import Setting
from renma.judge.folder import RunRecord


@dataclass(frozen=True)
class Subject:
    """What is examined.

    Attributes:
        lora: the file.
        source: the model it is drawn with.
        record: the run it belongs to, if any.
        cells: folder of drawn pictures.
        page: the page to write.
    """

    lora: Path
    source: Source
    record: RunRecord | None
    cells: Path
    page: Path


def open_subject(options: BlocksOptions) -> Subject:
    """Returns what is examined.

    Raises:
        UserError: neither run nor LoRA file, or a file whose model nobody named.
    """
    place, assignments = options.lora, options.set
    if place.is_file() and place.suffix != ".toml":
        folder = place.parent.parent
        if not options.model and (folder / "run.toml").is_file():
            record = RunRecord.open(folder)
            return _of_run(options, record, place)
        if not options.model:
            raise UserError(
                "lies in no run, so nothing says which model it is for",
                where=place,
                remedy="Name it with --model.",
            )
        source = Source.of(options.model, assignments)
        page = options.out or Path(f"{lora_name(place)}-blocks.html")
        return Subject(place, source, None, cache_folder() / "cells", _html(page))
    record = RunRecord.open(place)
    if options.model:
        raise UserError(
            "a run says itself which model it is for", where="--model", remedy="Leave it out."
        )
    return _of_run(options, record, _best(record))


def _of_run(options: BlocksOptions, record: RunRecord, lora: Path) -> Subject:
    assignments = [f"model.{one}" for one in options.set]
    source = Source.of_run(load_run(record.path / "run.toml", assignments), record.path, lora)
    page = options.out or record.path / "blocks.html"
    return Subject(lora, source, record, record.path / "cells", _html(page))


def _html(path: Path) -> Path:
    """Returns the page's path; a sheet's name stands for the page beside it."""
    return path.with_suffix(".html") if path.suffix in ("", ".png") else path


def _best(record: RunRecord) -> Path:
    """Returns the checkpoint that was judged the best, else the last one."""
    found = record.need_checkpoints()
    try:
        score = json.loads((record.path / "score.json").read_text(encoding="utf-8"))
        best = record.inside(score.get("best"))
    except (OSError, ValueError, AttributeError):
        best = None
    return best or found[-1].path


def setting_of(
    options: BlocksOptions, subject: Subject, facts: ModelFacts, report: Report
) -> Setting:
    """Returns what is drawn.

    Args:
        options: the command's.
        subject: what is examined.
        facts: of its model.
        report: told what is read otherwise than it is written.

    Raises:
        UserError: there is no prompt, or it names LoRAs.
    """
    source, shelf = subject.source, Shelf(None, {})
    prompt = _prompt(options, subject, report)
    size = {n: getattr(prompt, n) or facts.native_size for n in ("width", "height")}
    shared = {**source.basis(facts), "loras": shelf.standing(source)}
    if options.precision:
        shared["precision"] = options.precision
    first = options.seed if prompt.seed is None else prompt.seed
    recipes = tuple(
        Recipe(**shared, prompt=prompt.model_copy(update={"seed": (first + n) % 2**63, **size}))
        for n in range(options.seeds)
    )
    lora = shelf.used(lora_name(subject.lora), subject.lora, options.weight, options.weight)
    return Setting(recipes, lora, facts.family == "sdxl", options.threshold)


def _prompt(options: BlocksOptions, subject: Subject, report: Report) -> Prompt:
    """Returns the prompt with everything said but seed and size.

    Raises:
        UserError: there is none, or it names LoRAs.
    """
    how, record = subject.source.sample, subject.record
    given = {"steps": options.steps, "sampler": options.sampler, "scale": options.cfg}
    how = how.model_copy(update={name: v for name, v in given.items() if v is not None})

    def note(text: str) -> None:
        report.event("warned", text=text)

    line = options.prompt or (record and next(iter(record.run.judge.trigger_prompts), ""))
    if line:
        names = ("steps", "sampler", "scale", "rescale")
        where = "--prompt" if options.prompt else "judge.trigger_prompts"
        found = parse(line, {name: getattr(how, name) for name in names}, where, note)
    else:
        previews = preview_prompts(how, record.path) if record else []
        if not previews:
            raise UserError("nothing says what to draw", remedy="Give --prompt.")
        found = previews[0]
    if any(part.loras for part in prompt_loras.split(found.text)):
        raise UserError(
            "names a LoRA itself", where=f"'{found.text}'", remedy="Leave <lora:...> out."
        )
    if found.seed is not None and "seed" in options.model_fields_set:
        note(f"--seed has no effect: the prompt says --d {found.seed}")
    return found
