"""An ONNX tagger opened: its form told apart from the file, pictures in, probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renma.core.errors import UserError
from renma.engine.onnx_session import device_of, failures, opened
from renma.engine.taggers._base import Form, Tagger, contract

if TYPE_CHECKING:
    import numpy as np

_SLACK = 1e-3
"""Half-precision models round probabilities a little past 0 and 1."""


@dataclass(frozen=True)
class Settings:
    """What a person may decide instead of the file.

    Args:
        device: auto, cpu, cuda or directml.
        outputs: auto, probabilities or logits.
        input_values: auto, byte, unit or signed.
    """

    device: str = "auto"
    outputs: str = "auto"
    input_values: str = "auto"


class Session:
    """An open tagger.

    Args:
        tagger: its files.
        settings: what a person decided.
        threads: processor threads it may use.

    Raises:
        UserError: it cannot be read, is no such tagger, or the device is not there.
    """

    def __init__(self, tagger: Tagger, settings: Settings, threads: int) -> None:
        self._file = tagger.model
        self._contract = contract(tagger.contract)
        self._tags = tagger.tags()
        self._session = opened(tagger.model, settings.device, threads)
        entry = self._session.get_inputs()[0]
        self._name, shape = entry.name, entry.shape
        self.form = _form(shape, settings.input_values, self._contract, tagger.model)
        self._type = {"tensor(float16)": "float16"}.get(entry.type, "float32")
        self._fixed = shape[0] if isinstance(shape[0], int) else None
        self._output = _output(self._session, len(self._tags))
        self.logits = self._tell() if settings.outputs == "auto" else settings.outputs == "logits"

    @property
    def device(self) -> str:
        """Where it runs."""
        return device_of(self._session)

    def said(self) -> str:
        """Returns in a few words how the model is used."""
        side, values = self.form.side, {"byte": "0 to 255", "unit": "0 to 1", "signed": "-1 to 1"}
        order = "channels first" if self.form.channels_first else "channels last"
        answers = "logits" if self.logits else "probabilities"
        return (
            f"{side}x{side} {self._contract.CHANNELS}, {order}, {values[self.form.values]}, "
            f"answers with {answers}, on {self.device}"
        )

    def prepare(self, rgb: np.ndarray) -> np.ndarray:
        """Returns what the model gets of one RGB picture (height, width, 3), uint8."""
        square = self._contract.prepare(rgb, self.form.side)
        if self.form.values == "unit":
            square = square / 255
        elif self.form.values == "signed":
            square = square / 127.5 - 1
        return square.transpose(2, 0, 1) if self.form.channels_first else square

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Returns (pictures, tags), 0 to 1, of prepared pictures.

        Raises:
            UserError: the model answers with something else.
        """
        import numpy as np

        answer = self._answer(batch)
        if not np.isfinite(answer).all():
            raise UserError("answers with what is not a number", where=self._file)
        if self.logits:
            with np.errstate(over="ignore"):
                return 1 / (1 + np.exp(-answer))
        if answer.min() < -_SLACK or answer.max() > 1 + _SLACK:
            raise UserError(
                f"answers with numbers from {answer.min():.2f} to {answer.max():.2f}, "
                "which are no probabilities",
                where=self._file,
                remedy="Say --outputs logits.",
            )
        return answer.clip(0, 1)

    def _answer(self, batch: np.ndarray) -> np.ndarray:
        """Runs the model in batches of its own size, if it has one, the last one filled up."""
        import numpy as np

        size = self._fixed or len(batch)
        rows = []
        for start in range(0, len(batch), size):
            part = batch[start : start + size].astype(self._type)
            missing = size - len(part)
            whole = np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part
            try:
                answer: Any = self._session.run([self._output], {self._name: whole})[0]
            except failures() as error:
                raise UserError(f"cannot be run: {error}", where=self._file) from None
            if answer.shape != (size, len(self._tags)):
                raise UserError(
                    f"answers with {answer.shape[-1]:,} numbers a picture, but its list names "
                    f"{len(self._tags):,} tags",
                    where=self._file,
                    remedy="Take the list that came with this model.",
                )
            rows.append(answer[: len(part)].astype(np.float32))
        return np.concatenate(rows)

    def _tell(self) -> bool:
        """Says whether the model answers with logits: among thousands of tags some are negative."""
        import numpy as np

        side = self.form.side
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        grey = np.full_like(noise, 128)
        answer = self._answer(np.stack([self.prepare(noise), self.prepare(grey)]))
        return bool(answer.min() < -_SLACK or answer.max() > 1 + _SLACK)


def _form(shape: list[Any], values: str, known: Any, file: Path) -> Form:
    """Returns the form told by the input's shape, where it is that of a picture."""
    last, first = len(shape) == 4 and shape[3] == 3, len(shape) == 4 and shape[1] == 3
    sides = shape[1:3] if last else shape[2:4]
    given = [side for side in sides if isinstance(side, int)]
    if last == first or len(set(given)) > 1:
        raise UserError(f"does not take pictures: its input is {shape}", where=file)
    side = given[0] if given else known.SIDE
    return Form(side, first, known.values_of(first) if values == "auto" else values)


def _output(session: Any, tags: int) -> str:
    """Returns the name of the output that has a number for each tag, or of the first."""
    outputs = session.get_outputs()
    fitting = [each.name for each in outputs if list(each.shape)[-1:] == [tags]]
    return (fitting or [outputs[0].name])[0]
