"""What pictures are drawn with: a model or a run, and LoRA files by the names given to them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from renma.config import Run, load_run
from renma.config.load import set_values, validate
from renma.config.model import ModelConfig
from renma.config.picture_recipe import UsedLora
from renma.config.sample import SampleConfig
from renma.core.errors import UserError, did_you_mean
from renma.core.run_folder import find_run, is_about_runs
from renma.core.store import digest
from renma.drawing.prompt_loras import number, split
from renma.formats import safetensors
from renma.formats.model_facts import ModelFacts, facts
from renma.formats.weight_hash import known_hash

Precision = Literal["fp32", "fp16", "bf16"]
_A_PATH = re.compile(r"[/\\]|\.safetensors$")
"""What follows a colon that belongs to the path itself, as in C:\\loras\\a.safetensors."""


_ACTING = (
    "lora_adapter_metadata", "renma_alpha", "renma_added_alpha",
    "ss_network_module", "ss_network_args", "renma_run",
)  # fmt: skip
"""Metadata that says how a file's tensors act; their modules would load torch."""
_LAYOUT_DIGITS = 16


@dataclass(frozen=True)
class Source:
    """What ``renma sample MODEL`` means.

    Attributes:
        model: the base model.
        base: folder that its relative paths start from.
        lora: the run's own LoRA, if it is a run.
        standing: LoRAs that the run was trained upon, each with its strength.
        sample: the run's options of previews.
        precision: the run's.
        zero_terminal_snr: the run's; None is as the model's own files say.
    """

    model: ModelConfig
    base: Path = Path()
    lora: Path | None = None
    standing: tuple[tuple[Path, float], ...] = ()
    sample: SampleConfig = field(default_factory=SampleConfig)
    precision: Precision = "fp32"
    zero_terminal_snr: bool | None = None

    @classmethod
    def of(cls, text: str, assignments: tuple[str, ...] = ()) -> Source:
        """Returns the source of a model's name or place, or of a run's folder.

        Args:
            text: ``mame``, a file or a folder.
            assignments: ``key=value`` of the ``[model]`` section.

        Raises:
            UserError: there is nothing, or an option that does not exist.
        """
        folder = _run_folder(Path(text)) if text != "mame" else None
        if folder is None:
            raw = set_values({"model": {"path": text}}, [f"model.{one}" for one in assignments])
            return cls(validate(ModelConfig, raw["model"], "--set", assignments))
        run = load_run(folder / "run.toml", [f"model.{one}" for one in assignments])
        name = f"{run.output.name}.safetensors"
        lora = _last(folder / "lora", name)
        return cls.of_run(run, folder, lora)

    @classmethod
    def of_run(cls, run: Run, folder: Path, lora: Path | None = None) -> Source:
        """Returns the source of a run that is read already.

        Args:
            run: its settings.
            folder: where its run.toml lies.
            lora: what it trained.
        """
        precision = run.train.precision
        # what "auto" meant may have been another machine's
        known = "fp32" if precision == "auto" else precision
        start = run.start
        strengths = (*start.base_strengths, *[1.0] * len(start.base_weights))
        standing = tuple(
            (folder / name, strength)
            for name, strength in zip(start.base_weights, strengths, strict=False)
        )
        terminal = run.objective.zero_terminal_snr
        return cls(run.model, folder, lora, standing, run.sample, known, terminal)

    def basis(self, facts: ModelFacts) -> dict[str, Any]:
        """Returns what every recipe drawn with this source has in common.

        Args:
            facts: of the model.
        """
        return {
            "model": self.model,
            "base": "" if self.base == Path() else str(self.base),
            "model_hash": known_hash(facts.parts["unet"].file),
            "parts_hash": _parts_hash(facts),
            "vae_hash": known_hash(facts.parts["vae"].file) if self.model.vae else "",
            "zero_terminal_snr": self.schedule(facts),
            "precision": self.precision,
        }

    def schedule(self, facts: ModelFacts) -> bool | None:
        """Returns whether the schedule that was trained ends in pure noise; None: the model's own.

        Args:
            facts: of the model.
        """
        own = bool(facts.scheduler.get("rescale_betas_zero_snr", False))
        if self.lora is None:
            return None
        trained = own if self.zero_terminal_snr is None else self.zero_terminal_snr
        # a run's previews begin at the last timestep wherever that is pure noise
        return trained if trained or trained != own else None

    def facts(self) -> ModelFacts:
        """Returns what the model's own files say.

        Raises:
            UserError: the model cannot be used.
        """
        place = self.model.place(self.base)
        found = facts(place, self.model, self.base)
        if found.problem:
            raise UserError(found.problem, where=place)
        return found


class Shelf:
    """LoRA files by the names that people give them.

    Args:
        folder: where names in prompts are looked for, and below; None is nowhere.
        blocks: preset or list of strengths by block, by name or path.
    """

    def __init__(self, folder: Path | None, blocks: Mapping[str, str]) -> None:
        self.folder, self.blocks = folder, dict(blocks)
        self._asked: set[str] = set()
        self._known: dict[str, list[Path]] = {}
        if folder is not None:
            if not folder.is_dir():
                raise UserError("is no folder", where=f"--lora-dir {folder}")
            for path in sorted(folder.rglob("*.safetensors")):
                self._known.setdefault(lora_name(path), []).append(path)
        self._hashes: dict[Path, str] = {}

    def given(self, text: str) -> UsedLora:
        """Returns the LoRA of ``FILE``, ``FILE:WEIGHT`` or ``FILE:WEIGHT:TEXT_WEIGHT``.

        Raises:
            UserError: no such file, or a weight that is no number.
        """
        path, weights = text, list[str]()
        while len(weights) < 2 and ":" in path and not Path(path).is_file():
            head, _, tail = path.rpartition(":")
            if not head or _A_PATH.search(tail):
                break
            path, weights = head, [tail, *weights]
        values = [number(weight, f"--lora {text}") for weight in weights] or [1.0]
        return self.used(lora_name(Path(path)), Path(path), values[0], values[-1])

    def named(self, name: str, blocks: str) -> UsedLora:
        """Returns the LoRA that a prompt names.

        Raises:
            UserError: nothing of that name, or files of that name that differ.
        """
        path = Path(name) if Path(name).is_file() else self._one(lora_name(Path(name)))
        if path is None:
            if self.folder is None:
                raise UserError(
                    f"the prompt names a LoRA '{name}'", remedy="Say where it lies with --lora-dir."
                )
            remedy = (
                did_you_mean(name, self._known) or "Names are those of files, without the ending."
            )
            raise UserError(f"holds no LoRA '{name}'", where=self.folder, remedy=remedy)
        return self.used(name, path, written=blocks)

    def named_in(self, texts: Iterable[str], negative: str = "") -> tuple[UsedLora, ...]:
        """Returns the LoRAs that prompts name, each once.

        Args:
            texts: prompts of a picture.
            negative: its negative prompt.

        Raises:
            UserError: one that is not there, or one in the negative prompt.
        """
        if any(part.loras for part in split(negative)):
            raise UserError(
                "a LoRA in the negative prompt has no meaning",
                where=f"'{negative}'",
                remedy="Write it into the prompt, with a weight below 0 if need be.",
            )
        tags = [tag for text in texts for part in split(text) for tag in part.loras]
        pairs = dict.fromkeys((tag.name, tag.blocks) for tag in tags)
        return tuple(self.named(name, blocks) for name, blocks in pairs)

    def standing(self, source: Source) -> tuple[UsedLora, ...]:
        """Returns the LoRAs that a source's run was trained upon.

        Raises:
            UserError: one is not there.
        """
        return tuple(self.used(lora_name(p), p, w, w) for p, w in source.standing)

    def _one(self, name: str) -> Path | None:
        """Returns the file of a name below the folder, None if there is none.

        Raises:
            UserError: there are several that differ.
        """
        found = self._known.get(name, [])
        if len({self._hash(path) for path in found}) > 1:
            raise UserError(
                f"holds different LoRAs named '{name}': "
                + ", ".join(str(path.relative_to(self.folder or "")) for path in found),
                where=self.folder,
                remedy="Rename one, or write its path into the prompt.",
            )
        return found[0] if found else None

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = payload_hash(path)
        return self._hashes[path]

    def used(
        self, name: str, path: Path, unet: float = 1.0, text: float = 1.0, written: str = ""
    ) -> UsedLora:
        """Returns a LoRA with its hash and its blocks; those written in a prompt go first."""
        blocks = written
        for key in dict.fromkeys((str(path), path.name, lora_name(path), name)):
            if key in self.blocks:
                self._asked.add(key)
                blocks = blocks or self.blocks[key]
        row: dict[str, Any] = {"name": name, "path": str(path), "sha256": self._hash(path)}
        row["layout"] = layout_hash(path)
        how = {"unet": unet, "text_encoder": text, "blocks": blocks, "written": written}
        return UsedLora.model_validate({**row, **how})

    def found_again(self, lora: UsedLora, folders: Sequence[Path] = ()) -> UsedLora:
        """Returns a recipe's LoRA at the place where it is now.

        Args:
            lora: as the picture names it.
            folders: where it may lie too.

        Raises:
            UserError: it is nowhere, or another file has its name.
        """
        own = Path(lora.path)
        places = [own, *(folder / own.name for folder in folders)]
        places += self._known.get(lora_name(own), [])
        there = [path for path in places if path.is_file()]
        for path in there:
            if self._hash(path) == lora.sha256 and lora.layout in ("", layout_hash(path)):
                return lora.model_copy(update={"path": str(path)})
        what = "holds other weights than the picture was drawn with" if there else "is not there"
        raise UserError(
            what,
            where=there[0] if there else lora.path,
            remedy="Say where it lies with --lora-dir.",
        )

    def check_asked(self) -> None:
        """Makes sure that every LoRA of ``--blocks`` was used.

        Raises:
            UserError: one was not.
        """
        for key in self.blocks:
            if key not in self._asked:
                raise UserError(
                    f"no LoRA '{key}' is used", where="--blocks", remedy="Name one of --lora."
                )


def lora_name(path: Path) -> str:
    """Returns what a LoRA file is called in prompts; a name may have dots in it."""
    return path.name.removesuffix(".safetensors")


def blocks_of(given: tuple[str, ...]) -> dict[str, str]:
    """Returns ``FILE=PRESET`` by file.

    Raises:
        UserError: one has another form.
    """
    found: dict[str, str] = {}
    for text in given:
        name, sign, value = text.rpartition("=")
        if not sign or not name or not value:
            raise UserError(
                "is not of the form FILE=PRESET", where=f"--blocks {text}", remedy="Such as a=INS."
            )
        found[name] = value
    return found


def layout_hash(path: Path) -> str:
    """Returns a digest of what a LoRA's header says that changes pictures.

    Those are names, kinds and shapes of its tensors, and strengths that diffusers and PEFT keep in
    the metadata; a title or a comment is not.

    Raises:
        UserError: it is none, or cannot be read.
    """
    tensors, metadata = safetensors.read_header(path)
    known = {key: metadata[key] for key in _ACTING if key in metadata}
    rows = sorted((name, str(fact)) for name, fact in tensors.items())
    return digest([json.dumps([rows, known], sort_keys=True)])[:_LAYOUT_DIGITS]


def _parts_hash(facts: ModelFacts) -> str:
    """Returns a digest of text encoders, tokenizers, autoencoder, U-Net and noise schedule."""
    files = dict.fromkeys(part.file for part in facts.parts.values())
    words = [path for folder in facts.tokenizers.values() if folder for path in folder.iterdir()]
    hashes = [known_hash(path) for path in (*files, *sorted(words)) if path.is_file()]
    configs = {name: part.config for name, part in facts.parts.items()}
    rest = json.dumps([facts.scheduler, configs], sort_keys=True, default=str)
    return digest([*hashes, rest])


def payload_hash(path: Path) -> str:
    """Returns the SHA-256 of a safetensors file's bytes behind its header.

    Raises:
        UserError: it is none, or cannot be read.
    """
    safetensors.read_header(path)
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run_folder(place: Path) -> Path | None:
    """Returns the folder of a run, or of the only run of a project; None if it is neither.

    Raises:
        UserError: a project with several runs, or with none.
    """
    return find_run(place) if is_about_runs(place) else None


def _last(folder: Path, name: str) -> Path:
    """Returns the finished LoRA of a run, else the newest checkpoint.

    Raises:
        UserError: there is none.
    """
    if (folder / name).is_file():
        return folder / name
    found = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise UserError("holds no LoRA", where=folder, remedy="Train first: `renma train`.")
    return found[-1]
