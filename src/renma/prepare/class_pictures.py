"""Which regularisation pictures a run needs: of what class, how many, how large, from which seed.

Picture number i is a function of the options and i alone, so that more can be added later. Sizes
are dealt out by the largest remainder: after every picture each size has its share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.config.data import DataConfig, Subset
from renma.config.prepare.regularize import RegularizeOptions
from renma.config.prompts import Prompt, parse, read_file
from renma.config.run import Run
from renma.core.errors import UserError
from renma.data import folder as folders
from renma.data.order import fitted
from renma.prepare.safe_name import safe_name

Size = tuple[int, int]
Note = Callable[[str], object]
_ENDLESS = 2**63


@dataclass(frozen=True)
class Trained:
    """What an epoch shows of the training pictures.

    Args:
        classes: showings by class; empty text where none is named.
        sizes: showings by width and height.
    """

    classes: dict[str, int]
    sizes: dict[Size, int]

    @property
    def showings(self) -> int:
        """All of them."""
        return sum(self.classes.values())


@dataclass(frozen=True)
class Job:
    """The pictures of one folder.

    Args:
        folder: that is made.
        prompts: they take turns.
        count: how many pictures.
    """

    folder: Path
    prompts: tuple[Prompt, ...]
    count: int


@dataclass(frozen=True)
class Drawing:
    """One picture, said completely but for the model."""

    prompt: str
    negative: str
    seed: int
    width: int
    height: int
    steps: int
    cfg: float
    sampler: str
    rescale: float


def trained(run: Run, base: Path) -> Trained:
    """Returns what an epoch shows of the training pictures, those held out left out.

    Raises:
        UserError: the pictures cannot be read or fit no bucket.
    """
    data = without_reg(run.data)
    scan = folders.scan(folders.expand(data, base), data)
    classes: Counter[str] = Counter()
    sizes: Counter[Size] = Counter()
    for scanned in scan.sets:
        for item in scanned.items:
            repeats = item.subset.num_repeats
            fit = fitted(item, scanned.dataset)
            classes[class_of(item.subset, run.output.trigger)] += repeats
            sizes[fit.width, fit.height] += repeats
    return Trained(dict(classes), dict(sorted(sizes.items())))


def without_reg(data: DataConfig) -> DataConfig:
    """Returns the section without regularisation pictures: those that are to come are not there."""
    datasets = []
    for dataset in data.datasets:
        kept = tuple(subset for subset in dataset.subsets if not subset.is_reg)
        datasets.append(dataset.model_copy(update={"subsets": kept}))
    return data.model_copy(update={"reg_folder": "", "datasets": tuple(datasets)})


def class_of(subset: Subset, trigger: str = "") -> str:
    """Returns the class in class tokens: what follows the trigger, or else the first word."""
    words = subset.class_tokens.replace(",", " ").split()
    head = trigger.replace(",", " ").split()
    known = bool(head) and words[: len(head)] == head
    return " ".join(words[len(head) :] if known else words[1:])


def jobs(options: RegularizeOptions, run: Run, base: Path, found: Trained, note: Note) -> list[Job]:
    """Returns the folders to make.

    Args:
        options: of the command.
        run: that they are for.
        base: folder of the run.
        found: its training pictures.
        note: told what is read otherwise than it is written.

    Raises:
        UserError: nothing says what the class is, a prompt that cannot be read.
    """
    place = base / (run.data.reg_folder or "reg")
    named = [name for name in found.classes if name]
    prompts = _given(options, run, note)
    if not prompts and not named and run.judge.class_prompts:
        prompts = _parsed(run.judge.class_prompts, options, run, "judge.class_prompts", note)
    if not prompts and (not named or "" in found.classes):
        raise UserError(
            "nothing says what the class of the subject is",
            where=options.folder,
            remedy='Give it: --prompt "person".',
        )
    if not prompts and options.out is None:
        return [
            Job(
                place / f"1_{safe_name(name)}",
                _parsed([name], options, run, "class_tokens", note),
                options.count or found.classes[name],
            )
            for name in named
        ]
    prompts = prompts or _parsed(named, options, run, "class_tokens", note)
    name = named[0] if len(named) == 1 else prompts[0].text
    out = options.out or place / f"1_{safe_name(name)}"
    return [Job(out, prompts, options.count or found.showings)]


def drawings(
    job: Job, seed: int, sizes: Mapping[Size, int], made: Mapping[int, Size]
) -> list[Drawing]:
    """Returns the pictures of a folder in order.

    Args:
        job: what is wanted.
        seed: of the first picture.
        sizes: shares, for prompts that say no size.
        made: sizes of pictures that are there already; they keep them.
    """
    deal = _Deal(sizes)
    found = []
    for index in range(job.count):
        prompt = job.prompts[index % len(job.prompts)]
        width, height = prompt.width, prompt.height
        if width is None or height is None:
            size = deal.next(made.get(index))
            width, height = width or size[0], height or size[1]
        own = seed + index
        if prompt.seed is not None:
            own = prompt.seed + index // len(job.prompts)
        how = (prompt.steps, prompt.scale, prompt.sampler, prompt.rescale)
        found.append(Drawing(prompt.text, prompt.negative, own % _ENDLESS, width, height, *how))
    return found


class _Deal:
    """Deals out sizes.

    Args:
        shares: of each size, whatever they sum to.
    """

    def __init__(self, shares: Mapping[Size, int]) -> None:
        self._shares, self._total = shares, sum(shares.values())
        self._given: Counter[Size] = Counter()

    def next(self, given: Size | None = None) -> Size:
        """Returns the size whose share lacks most, or counts the one that is given."""
        count = self._given.total() + 1
        lacks = {
            s: share * count - self._given[s] * self._total for s, share in self._shares.items()
        }
        size = given or max(lacks, key=lambda s: lacks[s])
        self._given[size] += 1
        return size


def _given(options: RegularizeOptions, run: Run, note: Note) -> tuple[Prompt, ...]:
    found = list(_parsed(options.prompt, options, run, "--prompt", note))
    if options.prompts is not None:
        found += read_file(options.prompts, _defaults(options, run), note)
        if not found:
            raise UserError("holds no prompt", where=options.prompts, remedy="Write one a line.")
    return tuple(found)


def _parsed(
    lines: Sequence[str], options: RegularizeOptions, run: Run, where: str, note: Note
) -> tuple[Prompt, ...]:
    defaults = _defaults(options, run)
    return tuple(parse(line, defaults, where, note) for line in lines)


def _defaults(options: RegularizeOptions, run: Run) -> dict[str, Any]:
    """Returns what prompts that say nothing else are drawn with."""
    found: dict[str, Any] = {
        name: getattr(run.sample, name) if (value := getattr(options, name)) is None else value
        for name in ("steps", "sampler", "rescale")
    }
    found["scale"] = run.sample.scale if options.cfg is None else options.cfg
    found["negative"] = options.negative
    return found
