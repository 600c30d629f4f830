"""What grows while a command is translated: the raw run, and a row about every option."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

from renma.compat.options import SECRET, options
from renma.core.errors import UserError

Kind = Literal["taken", "renamed", "always so", "without effect", "not supported", "default"]
KINDS: dict[Kind, str] = {
    "taken": "means the same under the same name",
    "renamed": "means the same under another name",
    "always so": "renma does it anyway",
    "without effect": "changes nothing here; the reason stands beside it",
    "not supported": "cannot be done here; such a command is refused",
    "default": "was not given; sd-scripts' own default is written out because renma's differs",
}


@dataclass(frozen=True)
class Given:
    """What somebody asked of sd-scripts.

    Attributes:
        values: the options that were given.
        sdxl: whether the script is sdxl_train_network.py.
        launcher: options of `accelerate launch` or torchrun.
        notes: rows about keys that are no options of sd-scripts (of a preset).
        strict: whether what sd-scripts cannot do without is missed, or only remarked on.
        prompts_written_out: whether sample_prompts holds the prompts, not the name of a file.
    """

    values: Mapping[str, Any]
    sdxl: bool = False
    launcher: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Row, ...] = ()
    strict: bool = False
    prompts_written_out: bool = False

    def has(self, name: str) -> bool:
        """Says whether an option was given; a switch that is off was not."""
        value = self.values.get(name)
        return value is not None and value is not False

    def get(self, name: str) -> Any:
        """Returns the value of an option, or its default."""
        value = self.values.get(name)
        return options()[name].default if value is None else value


@dataclass(frozen=True)
class Row:
    """What became of one option."""

    option: str
    value: str
    kind: Kind
    became: str = ""
    why: str = ""


@dataclass(frozen=True)
class Places:
    """Where relative paths start from.

    Args:
        here: the folder that the command was given in.
        there: the folder that run.toml will lie in.
    """

    here: Path
    there: Path

    def moved(self, path: str) -> str:
        """Returns a path that means the same from run.toml's folder."""
        if not path or Path(path).is_absolute() or PureWindowsPath(path).is_absolute():
            return path
        if self.here.resolve() == self.there.resolve() or path.startswith("~"):
            return path
        return str(self.here.resolve() / path)


@dataclass
class Draft:
    """A run being written, option by option."""

    given: Given
    places: Places
    raw: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    """Options with nothing more to say about, though they have no row."""
    origin: dict[str, str] = field(default_factory=dict)
    """Key of run.toml to the option that decided it."""

    def put(self, key: str, value: Any, option: str = "") -> None:
        """Writes a key of the run without a row."""
        *tables, last = key.split(".")
        table = self.raw
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = list(value) if isinstance(value, tuple) else value
        if option:
            self.origin[key] = option

    def take(self, option: str, key: str, value: Any, why: str = "") -> None:
        """Writes a key for an option, given or not, and says so."""
        self.put(key, value, option)
        self.tell(option, f"{key} = {_toml(self._at(key))}", why)

    def tell(self, option: str, became: str, why: str = "") -> None:
        """Says that an option became something, all by itself or with others."""
        name = became.partition(" = ")[0].rpartition(".")[2]
        kind: Kind = "taken" if name == option else "renamed"
        self._row(option, kind if self.given.has(option) else "default", became, why)

    def always(self, option: str, why: str) -> None:
        """Says that an option asks for what happens anyway."""
        self._row(option, "always so", "", why)

    def idle(self, option: str, why: str) -> None:
        """Says that an option changes nothing; harmless."""
        self._row(option, "without effect", "", why)

    def refuse(self, option: str, why: str) -> None:
        """Says that an option asks for what cannot be done."""
        self._row(option, "not supported", "", why)

    def miss(self, option: str, why: str) -> None:
        """Remarks on an option that sd-scripts cannot do without.

        Raises:
            UserError: it is about to train.
        """
        if self.given.strict:
            raise UserError("is missing", where=f"--{option}", remedy=why)
        self.warnings.append(f"--{option} is missing: {why}")

    def _row(self, option: str, kind: Kind, became: str, why: str) -> None:
        before = self.rows.get(option)
        if before is None or before.kind != "not supported":  # a refusal stays one
            self.rows[option] = Row(option, self._shown(option), kind, became, why)

    def _shown(self, option: str) -> str:
        if not self.given.has(option):
            return ""
        if option in SECRET:
            return "(not shown)"
        value = self.given.values[option]
        if isinstance(value, bool):
            return ""
        return " ".join(map(str, value)) if isinstance(value, list) else str(value)

    def _at(self, key: str) -> Any:
        found: Any = self.raw
        for name in key.split("."):
            found = found[name]
        return found


def conflict(what: str, *names: str, remedy: str = "Take one of them out.") -> UserError:
    """Returns the mistake of giving options that cannot go together."""
    return UserError(what, where=", ".join(f"--{name}" for name in names), remedy=remedy)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + "}"
    return repr(value)
