"""Preview pictures while training: same prompts and seeds every time."""

from __future__ import annotations

from pathlib import Path

from renma.config.prompts import Prompt
from renma.core import keyed
from renma.core.events import Report
from renma.core.store import write_atomic
from renma.engine.sample import Encode, Shot, draw
from renma.families._base import Family


class Previews:
    """Draws the run's prompts into ``samples/``.

    Args:
        prompts: what to draw; a prompt without a seed gets one from the run's seed.
        folder: the run's folder.
        seed: the run's seed.
    """

    def __init__(self, prompts: list[Prompt], folder: Path, seed: int) -> None:
        self.shots = [
            Shot.of(p, keyed.key(seed, "preview", i) % 2**31) for i, p in enumerate(prompts)
        ]
        self.folder = folder

    def words(self) -> list[str]:
        """Returns every text the previews need encoded."""
        return [text for shot in self.shots for text in (shot.prompt, shot.negative)]

    def draw(self, family: Family, step: int, report: Report, encode: Encode | None) -> None:
        """Draws all prompts and says where the pictures lie."""

        def progress(done: int, total: int) -> None:
            report.event("sampling", done=done, total=total)

        pictures = draw(family, self.shots, progress=progress, encode=encode)
        for index, (shot, picture) in enumerate(zip(self.shots, pictures, strict=True)):
            name = f"samples/step-{step:08d}-{index:02d}.png"
            write_atomic(self.folder / name, lambda path, p=picture: p.save(path, format="PNG"))
            report.event(
                "sample", step=step, path=name, prompt=shot.prompt, index=index, seed=shot.seed
            )
