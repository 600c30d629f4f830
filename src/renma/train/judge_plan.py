"""What judging while training will draw, and how that compares with training itself."""

from __future__ import annotations

from dataclasses import dataclass

from renma.config import Run
from renma.core.errors import UserError
from renma.data.captions import plain_caption
from renma.data.folder import Scan
from renma.drawing.questions import questions
from renma.train.save_plan import Saves
from renma.train.stop import judged_steps


@dataclass(frozen=True)
class Judgings:
    """The judgings of a run that no patience ends.

    Attributes:
        steps: whose checkpoints are judged; empty where the rule is off.
        patience: judgings without betterment that end the run.
        pictures: drawn for each, about.
        seconds: that all of them take, about.
        share: of the time that training takes.
    """

    steps: tuple[int, ...] = ()
    patience: int = 0
    pictures: int = 0
    seconds: int = 0
    share: float = 0.0


def judgings(run: Run, saves: Saves, scan: Scan, picture: float, training: float) -> Judgings:
    """Returns what will be judged.

    Args:
        run: the run.
        saves: the files it writes.
        scan: its pictures, whose captions give prompts where too few are written.
        picture: seconds that drawing one takes.
        training: seconds that all steps take.
    """
    steps = judged_steps(run.stop, (step for _, step in saves.files))
    if not steps:
        return Judgings()
    items = [item for one in scan.sets for item in one.items if not item.subset.is_reg]
    captions = [plain_caption(item) for item in items]
    try:
        asked = questions(run, captions)
    except UserError:  # a rule of its own says that there is nothing to ask
        return Judgings(tuple(steps), run.stop.patience)
    pictures = sum(one.pictures for one in (*asked.trigger, *asked.plain))
    seconds = (len(steps) + 1) * pictures * picture  # once those of the base model, to compare with
    return Judgings(tuple(steps), run.stop.patience, pictures, round(seconds), seconds / training)
