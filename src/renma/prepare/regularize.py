"""``renma prepare regularize``: pictures of the class, drawn by the very model to be trained.

Shown beside the training pictures, they keep what the model knows of the class (prior preservation:
DreamBooth, arXiv 2208.12242, section 3.3). They are drawn before training, without the LoRA.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from renma.config.load import read_toml, set_values, validate
from renma.config.precision import resolved
from renma.config.prepare.regularize import RegularizeOptions
from renma.config.presets import laid_under
from renma.config.run import Run
from renma.core.errors import INTERRUPTED, Interrupted, UserError
from renma.core.events import Report
from renma.core.store import digest, file_hash, probe, sweep
from renma.data.reading import NUMBERED
from renma.formats.model_facts import ModelFacts, facts
from renma.formats.weight_hash import known_hash
from renma.prepare import class_pictures
from renma.prepare._sources import RECORD
from renma.prepare.class_pictures import Drawing, Job, Trained
from renma.prepare.drawn_folder import DrawnFolder

if TYPE_CHECKING:
    from renma.families._base import Family

VERSION = 1
"""Raise it when the same options would draw other pictures."""


def run(options: RegularizeOptions, report: Report) -> None:
    """Draws regularisation pictures for a run.

    Raises:
        UserError: no run, no class, a model that cannot be used, pictures made otherwise.
        Interrupted: Ctrl-C; what is drawn stays.
    """

    def warn(text: str) -> None:
        report.event("warned", text=text)

    source = _Source.read(options)
    _check_size(options, source.model)
    found = class_pictures.trained(source.run, source.base)
    jobs = class_pictures.jobs(options, source.run, source.base, found, warn)
    with ExitStack() as stack:
        made = [_opened(job, options, source, found, stack) for job in jobs]
        todo = [(folder, chunk) for folder in made for chunk in folder.due(options.batch_size)]
        if options.dry_run:
            for folder in made:
                report.line(folder.would())
            return
        _tell_small(source, found, made, warn)
        if todo:
            try:
                _draw(todo, options, source, report)
            except KeyboardInterrupt:
                raise Interrupted(
                    INTERRUPTED, "stopped; what is drawn stays, the same command goes on"
                ) from None
        for folder in made:
            folder.finish(report)
    for line in _advice(source, [job.folder for job in jobs]):
        report.line(line)


@dataclass(frozen=True)
class _Source:
    """The run that the pictures are for."""

    run: Run
    base: Path
    model: ModelFacts
    identity: str
    """Digest of everything of the model that a picture depends on."""

    @classmethod
    def read(cls, options: RegularizeOptions) -> _Source:
        folder = options.folder
        file = folder / "run.toml" if folder.is_dir() else folder
        if folder.is_dir() and not file.is_file():
            raise UserError(
                "is no project: it holds no run.toml",
                where=folder,
                remedy="`renma init DIR` makes one.",
            )
        raw = laid_under(set_values(read_toml(file), options.set), file)
        run = validate(Run, raw, file, options.set)
        settled = resolved(run.train).model_copy(
            update={n: v for n in ("device", "precision") if (v := getattr(options, n))}
        )
        run = run.model_copy(update={"train": settled})
        base = file.resolve().parent
        place = run.model.place(base)
        model = facts(place, run.model, base)
        if model.problem:
            raise UserError(model.problem, where=place)
        return cls(run, base, model, _identity(run, base, model))


def _identity(run: Run, base: Path, model: ModelFacts) -> str:
    chosen = run.model.model_dump_json(exclude={"path", "vae", "attention"})
    weights = {name: known_hash(part.file) for name, part in sorted(model.parts.items())}
    merged = [file_hash(base / name) for name in run.start.base_weights]
    return digest([VERSION, chosen, weights, merged, run.start.base_strengths])


def _check_size(options: RegularizeOptions, model: ModelFacts) -> None:
    factor = model.latent_factor
    if options.size and any(side % factor for side in options.size):
        raise UserError(
            "is no size that the model can draw",
            where=f"--size {options.size[0]}x{options.size[1]}",
            remedy=f"Use multiples of {factor}.",
        )


def _opened(
    job: Job, options: RegularizeOptions, source: _Source, found: Trained, stack: ExitStack
) -> DrawnFolder:
    """Returns a folder, held against other processes unless nothing is going to be written."""
    if not options.dry_run:
        probe(job.folder)
    DrawnFolder.check_ours(job.folder)
    if not options.dry_run:
        (job.folder / RECORD).mkdir(parents=True, exist_ok=True)
        lock = FileLock(job.folder / RECORD / "lock")
        try:
            stack.enter_context(lock.acquire(timeout=0))
        except Timeout:
            raise UserError("is being worked on by another process", where=job.folder) from None
        sweep(job.folder)
    folder = DrawnFolder(job.folder)
    if options.size is not None:
        wanted = class_pictures.drawings(job, options.seed, {options.size: 1}, {})
    else:
        there = {} if options.again else folder.sizes()
        wanted = class_pictures.drawings(job, options.seed, found.sizes, there)
    how: dict[str, Any] = {"precision": source.run.train.precision}
    how |= {"model": source.identity[:12], "captions": not options.no_captions}
    folder.want([asdict(drawing) | how for drawing in wanted], again=options.again)
    if not options.dry_run:
        folder.begin(_recorded(options, job))
    return folder


def _recorded(options: RegularizeOptions, job: Job) -> dict[str, Any]:
    """Returns the options as JSON values; one class of several can be made again by itself."""
    change: dict[str, Any] = {"folder": options.folder.resolve(), "again": False}
    change |= {"count": job.count, "out": job.folder.resolve()}
    if options.prompts is not None:
        change["prompts"] = options.prompts.resolve()
    elif not options.prompt:
        change["prompt"] = tuple(prompt.text for prompt in job.prompts)
    return options.model_copy(update=change).model_dump(mode="json")


def _draw(
    todo: list[tuple[DrawnFolder, list[int]]],
    options: RegularizeOptions,
    source: _Source,
    report: Report,
) -> None:
    from renma.engine.sample import Shot, draw_batches

    total = sum(len(folder.missing(chunk)) for folder, chunk in todo)
    done = 0
    report.event("sampling", done=0, total=total)
    family = _family(source)
    for folder, chunk in todo:
        shots = [_fields(folder.wanted[index]) for index in chunk]
        for batch in draw_batches(
            family,
            [Shot(d.prompt, d.negative, d.width, d.height, d.seed, d.steps, d.cfg, d.sampler,
                  d.rescale) for d in shots],
            batch_size=options.batch_size,
            warn=lambda text: report.event("warned", text=text),
        ):  # fmt: skip
            due = set(folder.missing(chunk))
            for place, picture in batch.items():
                if chunk[place] in due:
                    folder.add(chunk[place], picture, Path(source.run.model.path).stem)
                    done += 1
            report.event("sampling", done=done, total=total)


def _fields(facts: dict[str, Any]) -> Drawing:
    return Drawing(**{name: facts[name] for name in Drawing.__dataclass_fields__})


def _family(source: _Source) -> Family:
    """Returns the model that training begins with: base weights in it, no other LoRA."""
    from renma.engine.attention import set_attention
    from renma.engine.begin import apply_base_weights
    from renma.engine.model import load_family

    run = source.run
    family = load_family(
        run.model, device=run.train.device, precision=run.train.precision, base=source.base
    )
    if run.start.base_weights:
        apply_base_weights(family, run.start, source.base)
    set_attention(family.parts()["unet"], run.model.attention)
    return family


def _tell_small(
    source: _Source, found: Trained, made: list[DrawnFolder], warn: class_pictures.Note
) -> None:
    """Warns where a model draws far below its own size, at which pictures fall apart."""
    own = source.model.native_size
    sizes = {folder.size_of(index) for folder in made for index in range(len(folder.wanted))}
    small = [size for size in sorted(sizes & set(found.sizes)) if size[0] * size[1] < own * own / 2]
    if small:
        shown = ", ".join(f"{width}x{height}" for width, height in small[:3])
        warn(
            f"the model draws best at {own}x{own}, and much worse at {shown}: with --size {own} "
            "they are drawn large and shrunk by the training"
        )


def _advice(source: _Source, places: list[Path]) -> Iterator[str]:
    """Yields what to write into the run.toml, if its run does not use the pictures yet."""
    run, file = source.run, source.base / "run.toml"
    places = [place.resolve() for place in places]
    if run.data.datasets:
        used = [s for dataset in run.data.datasets for s in dataset.subsets if s.is_reg]
        known = {(source.base / Path(s.image_dir).expanduser()).resolve() for s in used}
        for place in places:
            if place not in known:
                yield f"write into {file}, behind the other folders of the data set:"
                yield "  [[data.datasets.subsets]]"
                yield f"  image_dir = '{_from(place, source.base)}'"
                yield "  is_reg = true"
        return
    given = (source.base / Path(run.data.reg_folder).expanduser()).resolve()
    for parent in dict.fromkeys(place.parent for place in places):
        bad = [p.name for p in places if p.parent == parent and not NUMBERED.fullmatch(p.name)]
        if bad:
            yield f"to train with it, name the folder <repeats>_<class>, such as '1_{bad[0]}'"
        if not run.data.reg_folder or given != parent:
            yield f"write into {file}, under [data]:"
            yield f"  reg_folder = '{_from(parent, source.base)}'"


def _from(place: Path, base: Path) -> str:
    return place.relative_to(base).as_posix() if place.is_relative_to(base) else str(place)
