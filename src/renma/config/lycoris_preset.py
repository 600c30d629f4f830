"""LyCORIS presets (TOML): which layers are changed, and with which algorithm and size.

Read as lycoris-lora 4.1 reads them. Names are regular expressions that fit from the start of a
module's path, or shell patterns with ``use_fnmatch``. A layer is chosen by its own name, or by a
module around it whose class is listed; ``name_algo_map`` holds for the first, ``module_algo_map``
(the innermost class that it lists) for the second.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from renma.config._base import Section
from renma.config.adapter import AdapterSection
from renma.config.estimate import ALGORITHMS
from renma.config.load import read_toml, validate
from renma.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from renma.config.layer_table import Slot

Options = dict[str, Any]

_CLASSES = {
    r".*\.attentions\.\d+": ("Transformer2DModel",),
    r".*\.transformer_blocks\.\d+": ("BasicTransformerBlock",),
    r".*\.attn\d": ("Attention", "CrossAttention"),
    r".*\.ff": ("FeedForward",),
    r".*\.ff\.net\.0": ("GEGLU",),
    r".*\.resnets\.\d+": ("ResnetBlock2D",),
    r".*\.downsamplers\.\d+": ("Downsample2D",),
    r".*\.upsamplers\.\d+": ("Upsample2D",),
    r"time_embedding|add_embedding": ("TimestepEmbedding",),
    r".*\.layers\.\d+": ("CLIPEncoderLayer",),
    r".*\.self_attn": ("CLIPAttention", "CLIPSdpaAttention"),
    r".*\.mlp": ("CLIPMLP",),
}
"""Module path to the names that diffusers, transformers and kohya's U-Net have for its class."""
_KINDS = {2: "Linear", 4: "Conv2d"}
_KNOWN = {name for names in _CLASSES.values() for name in names} | set(_KINDS.values())

_ALIASES = {"locon": "lora", "diag-oft": "oft"}
_RENAMED = {
    "dim": "rank", "use_tucker": "tucker", "block_size": "unit", "rs_lora": "rank_stabilized",
    "train_on_input": "on_input", "alpha": "alpha", "factor": "factor", "constraint": "constraint",
    "decompose_both": "decompose_both", "full_matrix": "full_matrix", "dora": "dora",
}  # fmt: skip
"""Options that may differ from layer to layer, and their names here."""
_REFUSED = {
    "target_module": "Give unet_target_module and text_encoder_target_module.",
    "target_name": "Give unet_target_name and text_encoder_target_name.",
    "lora_prefix": "Names in files are always the ones that every program reads.",
}
_LARGEST_RANK = 4096


class _Keys(Section):
    """The keys of a preset that are understood; those left out choose nothing."""

    enable_conv: bool = True
    """Whether 3x3 convolutions are changed."""
    unet_target_module: tuple[str, ...] = ()
    """Classes of U-Net modules of which all layers are changed."""
    unet_target_name: tuple[str, ...] = ()
    """Names of U-Net layers."""
    text_encoder_target_module: tuple[str, ...] = ()
    """Classes of text encoder modules."""
    text_encoder_target_name: tuple[str, ...] = ()
    """Names of text encoder layers."""
    module_algo_map: dict[str, Options] = Field(default_factory=dict)
    """Other options for all layers of a class of modules."""
    name_algo_map: dict[str, Options] = Field(default_factory=dict)
    """Other options for layers by name."""
    exclude_name: tuple[str, ...] = ()
    """Names of layers and modules that stay as they are."""
    use_fnmatch: bool = False
    """Names are shell patterns, not regular expressions."""


def read(path: Path) -> LycorisPreset:
    """Reads a preset.

    Raises:
        UserError: no TOML, a key that is not understood, or a name that is no pattern.
    """
    raw = read_toml(path)
    for key, remedy in _REFUSED.items():
        if key in raw:
            raise UserError(f"'{key}' cannot be followed here", where=path, remedy=remedy)
    keys = validate(_Keys, raw, path)
    if not keys.use_fnmatch:
        patterns = (*keys.unet_target_name, *keys.text_encoder_target_name, *keys.exclude_name)
        for pattern in (*patterns, *keys.name_algo_map):
            try:
                re.compile(pattern)
            except re.error as error:
                text = f"'{pattern}' is no regular expression: {error}"
                remedy = "With use_fnmatch = true, names are shell patterns."
                raise UserError(text, where=path, remedy=remedy) from None
    return LycorisPreset(path, keys)


@dataclass(frozen=True)
class LycorisPreset:
    """One preset.

    Args:
        file: where it was read.
        keys: what it says.
    """

    file: Path
    keys: _Keys

    def choose(
        self, config: AdapterSection, table: list[Slot]
    ) -> list[tuple[Slot, AdapterSection]]:
        """Returns the layers that the preset names, each with its options.

        Raises:
            UserError: an option of a map is none of the algorithm's, or a target fits nothing.
        """
        self._check_targets(table)
        found = []
        for slot in table:
            options = self._options(slot)
            left_out = slot.conv3x3 and not self.keys.enable_conv
            if options is not None and (options.get("dim") or not left_out):
                found.append((slot, self._overridden(config, options)))
        return found

    def _options(self, slot: Slot) -> Options | None:
        """Returns what the maps say about a layer; None if it is not chosen."""
        keys = self.keys
        if self._excluded(slot.path):
            return None
        unet = slot.part == "unet"
        names = keys.unet_target_name if unet else keys.text_encoder_target_name
        if self._named(slot.path, names):
            return self._by_name(slot)
        classes = set(keys.unet_target_module if unet else keys.text_encoder_target_module)
        options: Options = {}
        inside = False
        for path, own in _around(slot):
            if self._excluded(path):
                continue
            inside = inside or bool(classes & own and not self._named(path, names))
            mapped = next((name for name in keys.module_algo_map if name in own), None)
            if inside and mapped is not None:
                # an inner class replaces the outer one's options, but keeps its algorithm
                algo = {"algo": options["algo"]} if "algo" in options else {}
                options = {**algo, **keys.module_algo_map[mapped]}
        return options if inside else None

    def _by_name(self, slot: Slot) -> Options:
        names = self.keys.name_algo_map
        if slot.path in names:
            return names[slot.path]
        fitting = (options for name, options in names.items() if self._fits(name, slot.path))
        kind = _KINDS.get(len(slot.shape), "")
        return next(fitting, self.keys.module_algo_map.get(kind, {}))

    def _overridden(self, config: AdapterSection, options: Options) -> AdapterSection:
        """Returns the options of one layer: those of the run with a map's laid over them."""
        if not options:
            return config
        raw = config.model_dump(exclude_unset=True)
        before = type(config).model_fields["algo"].default
        wanted = str(options.get("algo", before)).lower()
        section = ALGORITHMS.get(_ALIASES.get(wanted, wanted))
        if section is None:
            hint = did_you_mean(wanted, ALGORITHMS) or f"Known: {', '.join(ALGORITHMS)}."
            raise UserError(f"there is no algorithm '{wanted}'", where=self.file, remedy=hint)
        raw = {name: value for name, value in raw.items() if name in section.model_fields}
        raw["algo"] = section.model_fields["algo"].default
        own = self._translated({k: v for k, v in options.items() if k != "algo"}, raw["algo"])
        for name, lists in (
            ("rank", ("ranks", "conv_ranks")),
            ("alpha", ("alphas", "conv_alphas")),
        ):
            if name in own:  # a size of its own holds for every block and kernel
                raw.pop(f"conv_{name}", None)
                blocks = raw.get("blocks", {})
                raw["blocks"] = {k: v for k, v in blocks.items() if k not in lists}
        for name in own:
            if name not in section.model_fields:
                text = f"'{name}' means nothing to '{raw['algo']}'"
                raise UserError(text, where=self.file)
        try:
            return section.model_validate(raw | own)
        except ValidationError as error:
            first = error.errors()[0]
            text = f"'{first['loc'][-1]}' = {first['input']!r}: {first['msg']}"
            raise UserError(text, where=self.file) from None

    def _translated(self, options: Options, algo: str) -> Options:
        """Returns a map's options under their names here.

        Raises:
            UserError: an option that cannot differ from layer to layer.
        """
        options = dict(options)
        if "weight_decompose" in options or "dora_wd" in options:
            on = options.pop("weight_decompose", False) or options.pop("dora_wd", False)
            output = options.pop("wd_on_out", options.pop("wd_on_output", True))
            options["dora"] = ("output" if output else "input") if on else "off"
        for name in options:
            if name not in _RENAMED:
                raise UserError(
                    f"'{name}' cannot differ from layer to layer",
                    where=self.file,
                    remedy=did_you_mean(name, _RENAMED) or f"These can: {', '.join(_RENAMED)}.",
                )
        if algo == "lokr" and options.get("dim", 0) > _LARGEST_RANK:
            del options["dim"]  # LyCORIS' way to ask for whole factors
            options["full_matrix"] = True
        return {_RENAMED[name]: value for name, value in options.items()}

    def _check_targets(self, table: list[Slot]) -> None:
        """Refuses names that fit no layer and classes that are misspelt.

        Classes of other model families are passed over: LyCORIS' presets hold dozens of them.
        """
        keys = self.keys
        for part, names in (
            ("unet", keys.unet_target_name),
            ("text_encoder", keys.text_encoder_target_name),
        ):
            paths = [slot.path for slot in table if slot.part.startswith(part)]
            for name in names if paths else ():
                if not any(self._named(path, (name,)) for path in paths):
                    raise UserError(f"'{name}' fits no layer of this model", where=self.file)
        classes = (*keys.unet_target_module, *keys.text_encoder_target_module)
        for name in (*classes, *keys.module_algo_map):
            near = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.9)
            if near and near[0] != name:
                text, remedy = f"there is no class '{name}'", f"Did you mean '{near[0]}'?"
                raise UserError(text, where=self.file, remedy=remedy)

    def _excluded(self, path: str) -> bool:
        return self._named(path, self.keys.exclude_name)

    def _named(self, path: str, names: tuple[str, ...]) -> bool:
        return path in names or any(self._fits(name, path) for name in names)

    def _fits(self, pattern: str, path: str) -> bool:
        if self.keys.use_fnmatch:
            return fnmatch(path, pattern)
        return re.match(pattern, path) is not None


def _around(slot: Slot) -> Iterator[tuple[str, set[str]]]:
    """Yields every module from the outermost to the layer itself: its path and class names."""
    names = slot.path.split(".")
    for depth in range(1, len(names)):
        path = ".".join(names[:depth])
        yield path, {c for p, all_ in _CLASSES.items() if re.fullmatch(p, path) for c in all_}
    yield slot.path, {_KINDS.get(len(slot.shape), "")}
