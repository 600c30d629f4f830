"""What a run can be compared by: its checkpoints, grids, drawings, verdict and blocks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from renma.config import costs
from renma.config.grid_task import GridOptions
from renma.config.run import Run
from renma.config.sample import Sampler
from renma.core.errors import UserError
from renma.drawing.picture_source import lora_name
from renma.formats.model_facts import ModelFacts
from renma.judge.folder import RunRecord
from renma.judge.grid import axes
from renma.judge.grid.draft import Draft
from renma.judge.grid.plan import planned
from renma.studio.place import Place
from renma.studio.runs import find
from renma.train.plan import base_model
from renma.train.speed import speed

GRIDS, DRAWN = "grids", "drawn"
"""Folders inside a run's folder."""
ASKED = "asked.json"
_SHOWN = 64
"""Pictures of a drawing, and files of grids, that a page gets."""
_MOST_LORAS = 500
_LARGEST = 4 * 2**20


def facts(folder: Path, place: Place) -> dict[str, Any]:
    """Returns what the page about a run's comparison shows.

    Args:
        folder: of the run.
        place: the workspace.
    """
    record = RunRecord.at(folder)
    run, found = record.run, record.checkpoints()
    return {
        "checkpoints": [{"label": c.label, "step": c.step, "name": c.path.name} for c in found],
        "trigger": run.output.trigger,
        "prompts": _prompts(run),
        "weights": list(run.judge.weights),
        "sample": {n: getattr(run.sample, n) for n in ("steps", "scale", "sampler")},
        "size": _size(run, folder),
        "samplers": list(get_args(Sampler)),
        "axes": _axes(run, [c.label for c in found]),
        "grids": grids(folder),
        "drawn": drawings(folder),
        "blocks": [n for n in ("blocks.png", "blocks.html") if (folder / n).is_file()],
        "score": read_json(folder / "score.json"),
        "loras": loras(place),
    }


def _prompts(run: Run) -> list[str]:
    found = (*run.judge.trigger_prompts, *run.judge.class_prompts, *run.sample.prompts)
    return list(dict.fromkeys(found))


def _size(run: Run, folder: Path) -> int | None:
    try:
        return base_model(run, folder).native_size
    except UserError:  # the model was moved; drawing will say so
        return None


def _axes(run: Run, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Returns every axis with values to begin with."""
    prompts = _prompts(run)
    last = labels[-1] if labels else "last"
    found: dict[str, list[str]] = {
        "checkpoint": ["all", "base, last", f"base, {last}"],
        "weight": ["0-1(+0.25)", ", ".join(f"{w:g}" for w in run.judge.weights)],
        "unet-weight": ["0, 0.5, 1"],
        "text-encoder-weight": ["0, 0.5, 1"],
        "block": ["ALL, INALL, MIDD, OUTALL", "NOT IN04-IN08, M00"],
        "prompt": [", ".join(_quoted(text) for text in prompts[:3])] if prompts else [],
        "replace": [],
        "seed": ["1-4"],
        "cfg": ["2, 4, 7"],
        "sampler": ["ddim, euler_a, dpmsolver++"],
        "steps": ["10, 20, 30"],
        "rank": ["1, 4, 16"],
    }
    return [{"name": n, "values": list(dict.fromkeys(found.get(n, [])))} for n in axes.NAMES]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def grids(folder: Path) -> list[dict[str, Any]]:
    """Returns the grids of a run, newest first."""
    files = [p for p in (folder / GRIDS).glob("*") if p.suffix in (".png", ".html")]
    files += [folder / "grid.png"] if (folder / "grid.png").is_file() else []
    files = [path for path in files if path.is_file() and not path.is_symlink()]
    files.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [
        {"path": p.relative_to(folder).as_posix(), "kind": p.suffix[1:], "bytes": p.stat().st_size}
        for p in files[:_SHOWN]
    ]


def drawings(folder: Path) -> list[dict[str, Any]]:
    """Returns what was drawn by regions or with AND, newest first."""
    found = []
    for each in (folder / DRAWN).glob("*"):
        if (asked := read_json(each / ASKED)) is None or each.is_symlink():
            continue
        pictures = sorted(p for p in each.glob("[0-9]*.png") if p.is_file())
        names = [p.relative_to(folder).as_posix() for p in pictures[:_SHOWN]]
        mask = (each / "regions.png").is_file()
        row = {"name": each.name, "asked": asked, "pictures": names, "regions": mask}
        found.append(((each / ASKED).stat().st_mtime_ns, row))
    return [row for _, row in sorted(found, key=lambda pair: pair[0], reverse=True)][:_SHOWN]


def loras(place: Place) -> list[dict[str, str]]:
    """Returns the LoRA files of the workspace's runs, newest run first."""
    found = [
        {"path": place.shown(path), "name": lora_name(path), "run": place.shown(run)}
        for run in find(place.root)
        for path in sorted((run / "lora").glob("*.safetensors"), reverse=True)
    ]
    return found[:_MOST_LORAS]


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns a JSON object, or None if there is none that can be read."""
    try:
        if path.stat().st_size > _LARGEST:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class _Told:
    """Keeps what a plan has to say."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def event(self, kind: str, **data: Any) -> None:
        """Takes a warning."""
        if kind == "warned":
            self.texts.append(str(data.get("text", "")))

    def line(self, text: str) -> None:
        """Takes a line."""
        self.texts.append(text)


def grid_plan(options: GridOptions, folder: Path) -> dict[str, Any]:
    """Returns what a grid would show, and how long drawing it takes.

    Args:
        options: of the grid.
        folder: of the first run in it.

    Raises:
        UserError: whatever is wrong with runs, axes or prompts.
    """
    told = _Told()
    plan = planned(options, told)
    cells = [draft for sheet in plan.drafts() for row in sheet for draft in row]
    shown = {
        letter: {"name": axis.name, "labels": [value.label for value in axis.values][:_SHOWN]}
        for letter, axis in (("x", plan.x), ("y", plan.y), ("z", plan.z))
    }
    run = RunRecord.at(folder).run
    seconds = sum(_seconds(cells, run, base_model(run, folder)))
    return {**shown, "pictures": len(cells), "seconds": round(seconds), "told": told.texts}


def _seconds(cells: Sequence[Draft], run: Run, model: ModelFacts) -> list[float]:
    rate, _ = speed(run.train.precision)
    once = costs.forward_flops(model.shapes["unet"], 1000) / 1000 / model.latent_factor**2
    native = model.native_size
    found = []
    for cell in cells:
        prompt = cell.prompt
        pixels = (prompt.width or native) * (prompt.height or native)
        passes = 2 * int(cell.settings.get("steps", prompt.steps))  # with and without guidance
        found.append(once * pixels * passes / rate)
    return found
