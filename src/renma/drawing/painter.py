"""Draws recipes into picture files; what is there already is not drawn again.

A cell's name is made of its recipe's digest, so grids, scores and previews of one run share what
they have in common, and an interrupted command goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from renma.config.picture_recipe import Recipe
from renma.core.events import Report
from renma.core.store import probe, sweep
from renma.drawing import drawn_file

if TYPE_CHECKING:
    from renma.families._base import Family

Device = Literal["auto", "cpu", "cuda"]
Load = Callable[[Recipe], "Family"]
_DIGITS = 20
"""Of the digest, in a cell's name."""


class Painter(Protocol):
    """Whatever makes pictures of recipes."""

    def paint(self, recipes: Sequence[Recipe]) -> list[Path]:
        """Returns a picture file for each recipe, in order."""
        ...


class Cells:
    """A folder of drawn pictures by recipe.

    Args:
        folder: for the pictures; made when the first one is drawn.
        report: told ``sampling`` with pictures done and all that are due.
        device: where to compute.
        batch_size: pictures computed at once (default: 8 on a CPU, else 1).
        model: gives the model to draw with, without LoRAs (default: the recipe's is loaded, and
            kept for the next call).
    """

    def __init__(
        self,
        folder: Path,
        report: Report,
        *,
        device: Device = "auto",
        batch_size: int | None = None,
        model: Callable[[], Family] | None = None,
    ) -> None:
        self.folder, self.report = folder, report
        self.device: Device = device
        self.batch_size = batch_size
        self._model: Load = (lambda _: model()) if model else LastModel(device)

    def paint(self, recipes: Sequence[Recipe]) -> list[Path]:
        """Returns a picture file for each recipe, in order; draws those that are not there.

        Raises:
            UserError: a LoRA is broken or for another model, a full disk.
        """
        wanted = [recipe.effective() for recipe in recipes]
        paths = [self.folder / f"{recipe.digest()[:_DIGITS]}.png" for recipe in wanted]
        due = {
            path: recipe
            for path, recipe in zip(paths, wanted, strict=True)
            if not drawn_file.shows(path, recipe)
        }
        if due:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe(self.folder)
            sweep(self.folder, older_than=60)
            draw(
                due,
                self.report,
                device=self.device,
                batch_size=self.batch_size,
                model=self._model,
            )
        return paths


def draw(
    due: Mapping[Path, Recipe],
    report: Report,
    *,
    device: Device = "auto",
    batch_size: int | None = None,
    model: Load | None = None,
) -> None:
    """Draws pictures and writes each as soon as it is done.

    Args:
        due: recipes that say all, by their files.
        report: told ``sampling`` with pictures done and in all.
        device: where to compute.
        batch_size: pictures computed at once (default: 8 on a CPU, else 1).
        model: gives the model of a recipe, without LoRAs (default: it is loaded).

    Raises:
        UserError: a LoRA does not fit the model, a full disk.
    """
    load = model or LastModel(device)
    done = 0
    report.event("sampling", done=0, total=len(due))
    for alike in _by(due, _model):
        for count in _of_model(load, {path: due[path] for path in alike}, batch_size, report):
            done += count
            report.event("sampling", done=done, total=len(due))


class LastModel:
    """Loads the models of recipes and keeps the last one.

    Args:
        device: where to compute.
    """

    def __init__(self, device: Device) -> None:
        self.device: Device = device
        self._kept: tuple[object, Family] | None = None

    def __call__(self, recipe: Recipe) -> Family:
        """Returns the model of a recipe, without LoRAs.

        Raises:
            UserError: it cannot be used.
        """
        key = (recipe.model, recipe.base, recipe.precision)
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # before the next one is loaded: two may not fit into memory
            self._kept = (key, self._loaded(recipe))
        return self._kept[1]

    def _loaded(self, recipe: Recipe) -> Family:
        # only here: mistakes, and that all is there already, are told without waiting for torch
        from renma.engine.model import load_family

        return load_family(
            recipe.model,
            device=self.device,
            precision=recipe.precision,
            base=Path(recipe.base) if recipe.base else None,
        )


def _of_model(
    load: Load, due: Mapping[Path, Recipe], batch_size: int | None, report: Report
) -> Iterator[int]:
    """Draws pictures of one model; yields how many each time."""
    family = load(next(iter(due.values())))
    # one set of LoRAs after another: of a hundred checkpoints, one is in memory
    for group in _by(due, _loras):
        yield from _drawn(family, {path: due[path] for path in group}, batch_size, report)


def _drawn(
    family: Family, due: Mapping[Path, Recipe], batch_size: int | None, report: Report
) -> Iterator[int]:
    """Draws pictures of one model whose LoRAs fit into memory; yields how many each time."""
    from renma.diffusion.schedule import NoiseSchedule
    from renma.drawing.recipe_scene import cast_of, scenes_of
    from renma.engine.compose import draw_scenes

    paths, chosen = list(due), list(due.values())
    cast, places = cast_of(family, chosen)
    schedule = None
    if chosen[0].zero_terminal_snr is not None:
        own = NoiseSchedule.of(family.scheduler_config, chosen[0].zero_terminal_snr)
        schedule = own.sampler_config()
    for batch in draw_scenes(
        family,
        scenes_of(chosen, places),
        cast,
        batch_size=batch_size,
        schedule_config=schedule,
        warn=lambda text: report.event("warned", text=text),
    ):
        for place, picture in batch.items():
            drawn_file.write(paths[place], picture, chosen[place])
        yield len(batch)


def _model(recipe: Recipe) -> object:
    """Returns what decides which model is loaded, and its noise schedule."""
    return (recipe.model, recipe.base, recipe.precision, recipe.zero_terminal_snr)


def _loras(recipe: Recipe) -> object:
    return tuple(
        dict.fromkeys((lora.sha256, lora.layout) for lora in (*recipe.loras, *recipe.named))
    )


def _by(due: Mapping[Path, Recipe], key: Callable[[Recipe], object]) -> list[list[Path]]:
    groups: dict[object, list[Path]] = {}
    for path, recipe in due.items():
        groups.setdefault(key(recipe), []).append(path)
    return list(groups.values())
