"""Files of concepts to erase: LECO's prompts.yaml, or the same as TOML (no torch).

A YAML file is a list, an entry a concept; a TOML file has a table [[prompts]] each. Keys and
defaults are those of [[erase.prompts]] in a run.toml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renma.config._base import Section
from renma.config.erase import EraseConfig, ErasePrompt
from renma.config.load import read_toml, validate
from renma.core import text_file
from renma.core.errors import UserError
from renma.core.place import is_there

if TYPE_CHECKING:
    from yaml import Node, ScalarNode

_KINDS = (".yaml", ".yml", ".toml")


class PromptsFile(Section):
    """What a TOML file of concepts holds."""

    prompts: tuple[ErasePrompt, ...]
    """The concepts, a table [[prompts]] each."""


def prompts(config: EraseConfig, base: Path) -> tuple[ErasePrompt, ...]:
    """Returns the concepts of a run: those written in it, then those of its file.

    Args:
        config: the ``[erase]`` section.
        base: folder that a relative ``prompts_file`` starts from.

    Raises:
        UserError: no such file, or a mistake in it.
    """
    if not config.prompts_file:
        return config.prompts
    path = base / Path(config.prompts_file).expanduser()
    if not is_there(path):
        raise UserError(
            "there is no such file",
            where=f"erase.prompts_file = {config.prompts_file}",
            remedy=f"It is looked for at {path}.",
        )
    return (*config.prompts, *read(path))


def read(path: Path) -> tuple[ErasePrompt, ...]:
    """Returns the concepts of a file, at least one.

    Raises:
        UserError: it cannot be read, or there is a mistake in it.
    """
    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise UserError(f"is none of {', '.join(_KINDS)}", where=path)
    if kind == ".toml":
        found = validate(PromptsFile, read_toml(path), path).prompts
    else:
        found = tuple(_yaml(path))
    if not found:
        raise UserError("holds no concept", where=path, remedy="Write one with its 'target'.")
    return found


def _yaml(path: Path) -> Iterator[ErasePrompt]:
    import yaml  # only here: most runs have no such file

    try:
        root = yaml.compose(text_file.read(path), yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _malformed(path, error) from None
    except RecursionError:
        raise UserError("is nested too deeply", where=path) from None
    if not isinstance(root, yaml.SequenceNode):
        raise UserError("is no list of concepts", where=path, remedy="Begin each with '- target:'.")
    for node in root.value:
        yield validate(ErasePrompt, _table(node, path), f"{path}:{node.start_mark.line + 1}")


def _malformed(path: Path, error: Any) -> UserError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    return UserError(
        f"is not valid YAML: {problem}",
        where=where,
        remedy="Indent by blanks alone; put texts with ':' or '#' in quotes.",
    )


def _table(node: Node, path: Path) -> dict[str, Any]:
    """Returns the keys and values of one entry; an empty value is a key that was not given.

    Raises:
        UserError: it is no table, a key stands twice, or a value is a list or a table.
    """
    import yaml

    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        remedy = "Begin each with '- target:'."
        raise UserError("is no table of keys and values", where=f"{path}:{line}", remedy=remedy)
    found: dict[str, Any] = {}
    for key, value in node.value:
        where = f"{path}:{key.start_mark.line + 1}"
        name = str(key.value)
        if name in found:
            raise UserError(f"'{name}' stands twice in one entry", where=where, remedy="Keep one.")
        if not isinstance(value, yaml.ScalarNode):
            raise UserError(f"'{name}' is neither a text nor a number", where=where)
        found[name] = _scalar(value, name, where)
    return {name: value for name, value in found.items() if value is not None}


def _scalar(node: ScalarNode, name: str, where: str) -> Any:
    """Returns one value; texts are taken as they are written, so that `2` and `no` are words."""
    import yaml

    if name in _TEXTS and node.tag != "tag:yaml.org,2002:null":
        return node.value
    # YAML 1.1 takes 1e-1 for a text, 0512 for 330 and 8:32 for 512: numbers are as they look here
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind in ("int", "float", "str") and not node.style and _NUMBER.fullmatch(node.value):
        return float(node.value) if _FRACTION.search(node.value) else int(node.value)
    if kind in ("int", "float"):
        raise UserError(f"'{name}' is no decimal number: {node.value[:40]}", where=where)
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError):  # of tags such as !!bool
        raise UserError(f"'{name}' has a value that cannot be read", where=where) from None


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_FRACTION = re.compile(r"[.e]", re.IGNORECASE)
_TEXTS = frozenset({"target", "positive", "neutral", "unconditional"})
