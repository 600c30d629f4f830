"""From the options of ``renma grid`` to axes, the cell that they change, and places (no torch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.config.grid_task import GridOptions
from renma.config.prompts import Prompt, parse
from renma.config.prompts import prompts as preview_prompts
from renma.core import keyed
from renma.core.counted import counted, idle
from renma.core.errors import UserError
from renma.core.events import Report
from renma.drawing.picture_source import Shelf
from renma.judge.folder import RunRecord
from renma.judge.grid import axes, choose
from renma.judge.grid.axes import Axis, Setting, Value
from renma.judge.grid.draft import Draft
from renma.judge.grid.entry import Entry, Given, file_entry, read

MOST_CHECKPOINTS = 6
"""Rows of the standard grid; of more checkpoints, evenly spaced ones and the last are shown."""
MOST_PROMPTS = 2
"""Prompts of each kind in the standard grid."""
MOST_PICTURES = 20_000
WEIGHTS = (0.5, 0.75, 1.0)
"""Of files that lie in no run."""
NOTHING = Axis("", (Value("", lambda draft: draft),))
"""The axis along which nothing differs."""
_SAME = {
    "seed": "seed", "cfg": "cfg", "sampler": "sampler", "steps": "steps",
    "prompt": "prompt", "prompts": "prompt",
}  # fmt: skip
"""Options that an axis overrules."""


@dataclass(frozen=True)
class Plan:
    """What is drawn.

    Attributes:
        title: of the sheet.
        start: the cell that the axes change.
        x: columns.
        y: rows.
        z: sheets.
        shelf: of LoRAs that prompts name.
        difference: what cells are compared with, or None.
        cells: the folder of drawn pictures.
        out: the file to write.
        device: where to compute.
    """

    title: str
    start: Draft
    x: Axis
    y: Axis
    z: Axis
    shelf: Shelf
    difference: str | None
    cells: Path
    out: Path
    device: Any

    def drafts(self) -> list[list[list[Draft]]]:
        """Returns every cell as [z][y][x]."""
        named = sorted((self.x, self.y, self.z), key=lambda axis: axis.order)

        def cell(at: dict[int, Value]) -> Draft:
            draft = self.start
            for axis in named:
                draft = at[id(axis)].change(draft)
            return draft

        x, y, z = self.x, self.y, self.z
        return [
            [[cell({id(x): a, id(y): b, id(z): c}) for a in x.values] for b in y.values]
            for c in z.values
        ]


def planned(options: GridOptions, report: Report) -> Plan:
    """Returns what the options mean.

    Raises:
        UserError: whatever is wrong with runs, files, axes, prompts or the model.
    """
    given = read(options.sources, options.model, options.set)
    lines = _Lines(options, given, lambda text: report.event("warned", text=text))
    named = (options.x or options.y or options.z) != ""
    x, y, z = (
        _named_axes(options, given, lines) if named else _standard(options, given, lines, report)
    )
    axes.check([x, y, z])
    _idle(options, {x.name, y.name, z.name}, named, report)
    count = len(x.values) * len(y.values) * len(z.values)
    if count > MOST_PICTURES:
        raise UserError(f"asks for {count:,} pictures, more than {MOST_PICTURES:,}", where="grid")
    record = given[0].record if len(given) == 1 else None
    out = options.out or (record.path / "grid.png" if record else Path("grid.png"))
    first = "prompt" in (x.name, y.name, z.name)
    start = Draft(
        given[0].home,
        given[-1].entries[-1],
        Prompt.model_validate({"text": ""}) if first else lines.one(),
    )
    return Plan(
        title=_title(given, [axis for axis in (y, x, z) if axis.name]),
        start=start,
        x=x,
        y=y,
        z=z,
        shelf=Shelf(options.lora_dir, {}),
        difference=options.difference,
        cells=record.path / "cells" if record else out.parent / f"{out.stem}-cells",
        out=out,
        device=options.device or (record.run.train.device if record else "auto"),
    )


class _Lines:
    """Prompts: those of the command, else those of the run."""

    def __init__(
        self, options: GridOptions, given: Sequence[Given], note: Callable[[str], object]
    ) -> None:
        self.options, self.given, self.note = options, given, note
        sample = given[0].home.sample
        self.record = next((one.record for one in given if one.record), None)
        names = {"steps": "steps", "sampler": "sampler", "scale": "cfg"}
        self.defaults: dict[str, Any] = {
            ours: getattr(sample, ours) if (value := getattr(options, theirs)) is None else value
            for ours, theirs in names.items()
        }
        self.defaults |= {"rescale": sample.rescale, "negative": options.negative}
        self.defaults |= {n: v for n in ("width", "height") if (v := getattr(options, n))}
        self.defaults["seed"] = _seed(options, self.record)

    def read(self, line: str) -> Prompt:
        """Returns a prompt as people write it."""
        return parse(line, self.defaults, "prompt", self.note)

    def one(self) -> Prompt:
        """Returns the prompt of every cell."""
        return self.all()[0][0]

    def all(self) -> list[tuple[Prompt, str, str]]:
        """Returns (prompt, its text, kind): with and without the trigger word in turn.

        Raises:
            UserError: none is given, and no run has any.
        """
        trigger = self.record.run.output.trigger if self.record else ""
        if texts := self.options.prompts or ((self.options.prompt,) if self.options.prompt else ()):
            found = [self.read(text) for text in texts]
            return [(one, one.text, _kind(one.text, trigger)) for one in found]
        found = self._of_run(self.record, trigger) if self.record else []
        if not found:
            if self.record is None:
                raise UserError("nothing says what to draw", remedy="Give --prompt or --prompts.")
            raise UserError(
                "names no prompt to draw",
                where=self.record.path / "run.toml",
                remedy="Fill judge.trigger_prompts and judge.class_prompts, or give --prompts.",
            )
        return found

    def _of_run(self, record: RunRecord, trigger: str) -> list[tuple[Prompt, str, str]]:
        judge = record.run.judge
        ours = [("with trigger", text) for text in judge.trigger_prompts[:MOST_PROMPTS]]
        others = [("without trigger", text) for text in judge.class_prompts[:MOST_PROMPTS]]
        longest = max(len(ours), len(others))
        pairs = [p for i in range(longest) for p in (*ours[i : i + 1], *others[i : i + 1])]
        if pairs:
            return [(Prompt(text=t, **self.defaults), t, kind) for kind, t in pairs]
        previews = preview_prompts(record.run.sample, record.path)[: 2 * MOST_PROMPTS]
        texts = [one.text for one in previews]
        return [(Prompt(text=t, **self.defaults), t, _kind(t, trigger)) for t in texts]


def _standard(
    options: GridOptions, given: Sequence[Given], lines: _Lines, report: Report
) -> tuple[Axis, Axis, Axis]:
    """Returns LoRA weights, checkpoints and prompts."""
    most = max(1, MOST_CHECKPOINTS // len(given))
    entries: list[Entry | None] = []
    for one in given:
        shown = choose.thinned(one.entries, most)
        entries += shown
        if len(shown) < len(one.entries):
            report.line(f"the grid shows {len(shown)} of {len(one.entries)} checkpoints")
    weights = sorted({0.0, *(_weights(options, lines.record))})
    return axes.weight(weights), axes.checkpoint(entries), axes.prompt(lines.all())


def _named_axes(
    options: GridOptions, given: Sequence[Given], lines: _Lines
) -> tuple[Axis, Axis, Axis]:
    """Returns the axes that the options name; several files or prompts get one of their own."""

    def of_file(path: Path) -> Entry:
        return file_entry(path, options.model, options.set)

    def defaults(name: str) -> Sequence[str]:
        if name == "prompt":
            return [one.text for one, _, _ in lines.all()]
        if name == "weight":
            return [f"{number:g}" for number in sorted({0.0, *_weights(options, lines.record)})]
        return ["all"] if name == "checkpoint" else []

    setting = Setting(lambda t, w: choose.chosen(t, given, w, of_file), lines.read, defaults)
    found = {
        letter: axes.read(text, f"--{letter}", setting)
        if (text := getattr(options, letter))
        else None
        for letter in "xyz"
    }
    names = {axis.name for axis in found.values() if axis}
    if len(given) > 1 and "checkpoint" not in names:
        free = _free(found, "yxz", "several runs or files")
        found[free] = axes.checkpoint([one.entries[-1] for one in given])
    if len(options.prompts) > 1 and "prompt" not in names:
        found[_free(found, "zyx", "several --prompts")] = axes.prompt(lines.all())
    x, y, z = (found[letter] or NOTHING for letter in "xyz")
    return x, y, z


def _free(found: dict[str, Axis | None], letters: str, what: str) -> str:
    """Returns a direction without an axis.

    Raises:
        UserError: there is none.
    """
    for letter in letters:
        if found[letter] is None:
            return letter
    raise UserError(f"three axes leave no place for {what}", where="--x, --y, --z")


def _weights(options: GridOptions, record: RunRecord | None) -> Sequence[float]:
    return options.weights or (record.run.judge.weights if record else WEIGHTS)


def _seed(options: GridOptions, record: RunRecord | None) -> int:
    if options.seed is not None:
        return options.seed
    return keyed.key(record.run.train.seed, "grid") % 2**31 if record else 0


def _kind(text: str, trigger: str) -> str:
    if not trigger:
        return ""
    return "with trigger" if trigger in text else "without trigger"


def _title(given: Sequence[Given], shown: Sequence[Axis]) -> str:
    record = given[0].record if len(given) == 1 else None
    name = (record.run.output.title or record.run.output.name) if record else ""
    if not name:
        name = given[0].name if len(given) == 1 else counted(len(given), "LoRA")
    # prompts are told above each sheet anyway
    words = {"weight": "LoRA weight"}
    what = [words.get(axis.name, axis.name) for axis in shown if axis.name != "prompt"]
    return f"{name}: {' × '.join(what)}" if what else name


def _idle(options: GridOptions, names: set[str], named: bool, report: Report) -> None:
    """Tells options without effect."""
    given = options.model_fields_set
    found = [f"--{option}" for option, axis in _SAME.items() if option in given and axis in names]
    if not named:
        found = []
    elif "weights" in given and "weight" not in names:
        found.append("--weights")
    if found:
        report.event("warned", text=f"{idle(found)} beside the axes that are named")
