"""When a run ends by itself: every few checkpoints it is judged, and it stops once nothing betters.

Who judges stands outside; the loop knows a :class:`Referee` only. What the rule remembers is part
of the saved state, so a run that was killed judges and stops where an undisturbed one does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from renma.config.stop import StopConfig
from renma.core.events import Report
from renma.core.judgement import Judgement

if TYPE_CHECKING:
    from renma.families._base import Family


class Referee(Protocol):
    """Whoever judges checkpoints while a run trains.

    Equal checkpoints have to get equal judgements: a judging that was interrupted is done again.
    """

    def merit(self, checkpoint: Path, step: int, family: Family | None) -> Judgement:
        """Returns how good a checkpoint is.

        Args:
            checkpoint: the LoRA file.
            step: optimizer steps it was trained for.
            family: the run's base model with all parts loaded and on the device, without any LoRA,
                to draw with; it may be changed only for the time of the call. None where the model
                in memory is another one (start.base_weights are part of it).

        Raises:
            UserError: it cannot be judged now; training goes on.
        """
        ...


Appoint = Callable[[Path, Report], Referee]
"""Makes the referee of a run's folder; told when its run.toml is written, before the first step."""


@dataclass
class Memory:
    """What the rule remembers from step to step.

    Attributes:
        checkpoints: that were written so far and count.
        pending: name of the checkpoint that is due, until it is judged.
        judgings: done so far.
        best: path of the best checkpoint, seen from the run's folder.
        best_step: its step.
        best_merit: its merit.
        mark: the merit that has to be bettered.
        waiting: judgings in a row without betterment.
        stopped: the step after which the run ended by the rule; 0 if it did not.
    """

    checkpoints: int = 0
    pending: str = ""
    judgings: int = 0
    best: str = ""
    best_step: int = 0
    best_merit: float | None = None
    mark: float | None = None
    waiting: int = 0
    stopped: int = 0

    @classmethod
    def restored(cls, state: Mapping[str, Any] | None, config: StopConfig) -> Memory:
        """Returns the memory of a saved state; nothing is due where the rule is off by now."""
        memory = cls(**(state or {}))
        if not config.every_checkpoints:
            memory.pending = ""
        return memory

    def written(self, name: str, step: int, config: StopConfig, *, last: bool) -> None:
        """Takes note of a checkpoint, and whether it is to be judged.

        Args:
            name: of its file.
            step: that it was written after.
            config: the rule.
            last: whether it is the finished LoRA, which is compared with what was judged before.
        """
        if not config.every_checkpoints or step < config.from_step:
            return
        self.checkpoints += 1
        due = self.judgings > 0 if last else self.checkpoints % config.every_checkpoints == 0
        if due:
            self.pending = name

    def take(self, judgement: Judgement, path: str, step: int, config: StopConfig) -> bool:
        """Counts a judgement; returns whether the checkpoint is the best so far.

        Gains smaller than ``min_delta`` add up until together they are more.

        Args:
            judgement: of the checkpoint; its merit is a number.
            path: of the checkpoint, seen from the run's folder.
            step: of the checkpoint.
            config: the rule.
        """
        merit = judgement.merit
        self.judgings += 1
        best = self.best_merit is None or merit > self.best_merit
        if best:
            self.best, self.best_step, self.best_merit = path, step, merit
        if self.mark is None or merit > self.mark + config.min_delta:
            self.mark, self.waiting = merit, 0
        else:
            self.waiting += 1
        return best

    def over(self, config: StopConfig) -> bool:
        """Says whether the patience is used up."""
        return config.every_checkpoints > 0 and self.waiting >= config.patience

    def reason(self) -> str:
        """Returns why the run ended before its last step."""
        merit = math.nan if self.best_merit is None else self.best_merit
        return (
            f"stopped early: no betterment in {self.waiting} judgings in a row; the best is "
            f"{self.best} (step {self.best_step}, merit {merit:.3f})"
        )


def judged_steps(config: StopConfig, steps: Iterable[int]) -> list[int]:
    """Returns the steps whose checkpoints will be judged if no patience ends the run.

    Args:
        config: the rule.
        steps: after which LoRA files are written, the last of the run among them.
    """
    *before, last = sorted(set(steps))
    counted = [step for step in before if step >= config.from_step]
    every = config.every_checkpoints
    due = counted[every - 1 :: every] if every else []
    return [*due, last] if due else []
