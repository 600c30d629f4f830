"""Preview pictures while training: same prompts and seeds every time.

They neither read nor change what training depends on: every random number is made from a
picture's own seed, and a failure is said once and training goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from PIL import Image

from renma.config.prompts import Prompt
from renma.core import keyed
from renma.core.errors import UserError
from renma.core.events import Report
from renma.engine.network import Network
from renma.engine.offload import out_of_memory
from renma.engine.sample import Encode, Shot, draw_batches, rows_needed
from renma.engine.text_states import TextStates
from renma.families._base import Family
from renma.train import preview_file
from renma.train.preview_file import Drawing
from renma.train.preview_sheet import Overview


class Previews:
    """Draws the run's prompts into ``samples/``.

    Args:
        prompts: what to draw; a prompt without a seed gets one from the run's seed.
        folder: the run's folder.
        seed: the run's seed.
        weights: LoRA weights that each prompt is drawn at.
        lora: the LoRA's name, for the pictures' metadata.
        schedule_config: noise schedule to draw with (default: the model's own).
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        folder: Path,
        seed: int,
        *,
        weights: Sequence[float] = (1.0,),
        lora: str = "lora",
        schedule_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.shots = [
            Shot.of(p, keyed.key(seed, "preview", i) % 2**31) for i, p in enumerate(prompts)
        ]
        self.folder, self.weights, self.lora = folder, tuple(dict.fromkeys(weights)), lora
        self.schedule_config = schedule_config
        self.overview = Overview(folder)
        self._said: set[str] = set()

    def missing(self, family: Family, text: TextStates) -> bool:
        """Says whether a text would have to be encoded."""
        return any(
            text.missing(shot.words, chunks=rows_needed(family, [shot]), weighted=True)
            for shot in self.shots
        )

    def prepare(self, family: Family, text: TextStates) -> None:
        """Has every text encoded, as long and weighted as it will be asked for."""
        for shot in self.shots:
            text.prepare(shot.words, chunks=rows_needed(family, [shot]), weighted=True)

    def draw(
        self,
        family: Family,
        step: int,
        report: Report,
        encode: Encode | None,
        network: Network | None = None,
    ) -> None:
        """Draws all prompts, says where the pictures lie, and lays out the overview.

        Out of memory and a full disk are told as a warning, each once a run.

        Args:
            family: the model, with the network attached.
            step: steps trained.
            report: told ``sampling``, ``sample`` and ``warned``.
            encode: prompts to condition, where the text encoder is not trained.
            network: what is trained; needed where a weight is not 1.
        """
        warn = self._warner(report)
        try:
            # closing puts the network's strength back even if a picture cannot be written
            with closing(self._pictures(family, encode, network, report, warn)) as pictures:
                for drawing, picture in pictures:
                    self._write(drawing, picture, step, report)
            self.overview.write()
        except UserError as error:
            warn(f"previews: {error.line()}")
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            warn(
                "not enough memory to draw a preview, training goes on without; smaller pictures "
                "(--w, --h) may fit"
            )

    def drawings(self) -> list[Drawing]:
        """Returns all that is drawn each time, weight by weight."""
        count, several = len(self.weights), len(self.weights) > 1
        return [
            Drawing(shot, weight, number * count + place, number, several)
            for place, weight in enumerate(self.weights)
            for number, shot in enumerate(self.shots)
        ]

    def _pictures(
        self,
        family: Family,
        encode: Encode | None,
        network: Network | None,
        report: Report,
        warn: Callable[[str], None],
    ) -> Generator[tuple[Drawing, Image.Image]]:
        """Yields every drawing with its picture as soon as it is done."""
        done, wanted = 0, self.drawings()
        for weight in self.weights:
            assert network or weight == 1, "a LoRA weight needs the network"
            drawings = [drawing for drawing in wanted if drawing.weight == weight]
            shots = [drawing.shot for drawing in drawings]
            with network.at(unet=weight, text_encoder=weight) if network else nullcontext():
                for batch in draw_batches(
                    family, shots, encode=encode, schedule_config=self.schedule_config, warn=warn
                ):
                    done += len(batch)
                    report.event("sampling", done=done, total=len(wanted))
                    for index, picture in batch.items():
                        yield drawings[index], picture

    def _write(self, drawing: Drawing, picture: Image.Image, step: int, report: Report) -> None:
        name = f"samples/{drawing.name(step)}"
        preview_file.write(self.folder / name, picture, drawing, self.lora, step)
        report.event(
            "sample",
            step=step,
            path=name,
            prompt=drawing.shot.prompt,
            index=drawing.index,
            seed=drawing.shot.seed,
            weight=drawing.weight,
        )

    def _warner(self, report: Report) -> Callable[[str], None]:
        def warn(text: str) -> None:
            if text not in self._said:
                self._said.add(text)
                report.event("warned", text=text)

        return warn
