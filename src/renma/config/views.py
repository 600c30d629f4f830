"""The schema as text: option manual (Markdown, terminal), kohya table, JSON Schema, taught TOML.

``python -m renma.config.views [FOLDER] [--check]`` writes the pages, or names those that are stale.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tomlkit
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from renma.config.run import Run
from renma.core.errors import UserError, did_you_mean
from renma.core.store import write_text

LEVELS = ("basic", "advanced", "expert")
"""Who needs an option; every view shows them in this order."""

_LIMITS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
_LIMITS |= {"multiple_of": "a multiple of {}", "min_length": "at least {} long"}
_LIMITS |= {"pattern": "matching `{}`"}
_WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class Option:
    """One key as people read about it."""

    key: str
    help: str
    default: str
    allowed: str
    level: str
    kohya: str


@dataclass(frozen=True)
class Chapter:
    """The options of one table of run.toml, or of one choice of its tag."""

    table: str
    choice: str
    intro: str
    options: tuple[Option, ...]
    listed: bool = False
    """Whether the table can stand many times: ``[[...]]``."""

    @property
    def title(self) -> str:
        """The choice, or the table's name as it stands in TOML; empty for a whole section."""
        if self.choice or "." not in self.table:
            return self.choice
        return f"[[{self.table}]]" if self.listed else f"[{self.table}]"

    def at(self, level: str) -> list[Option]:
        """Returns the options of one level."""
        return [option for option in self.options if option.level == level]


def sections() -> dict[str, str]:
    """Returns every section of run.toml with one line about it."""
    return {
        name: field.description or ""
        for name, field in Run.model_fields.items()
        if any(True for _ in _models(field.annotation))
    }


def chapters(section: str) -> list[Chapter]:
    """Returns what there is to say about one section.

    Raises:
        UserError: there is no such section.
    """
    field = Run.model_fields.get(section)
    if field is None or section not in sections():
        known = list(sections())
        raise UserError(
            f"there is no section '{section}'",
            remedy=did_you_mean(section, known) or f"Sections: {', '.join(known)}.",
        )
    found = [c for model in _models(field.annotation) for c in _walk(section, model, ())]
    # every choice of a section has the same tables inside: they are told once, after the choices
    return sorted(dict.fromkeys(found), key=lambda chapter: chapter.table.count("."))


def from_kohya() -> dict[str, list[str]]:
    """Returns kohya's option names, each with our keys that decide the same."""
    table: dict[str, list[str]] = {}
    for section in sections():
        for chapter in chapters(section):
            for option in chapter.options:
                ours = table.setdefault(option.kohya, [])
                if (name := f"{chapter.table}.{option.key}") not in ours:
                    ours.append(name)
    table.pop("", None)
    return dict(sorted(table.items()))


def json_schema() -> str:
    """Returns the JSON Schema of run.toml, for editors and other programs."""
    return json.dumps(Run.model_json_schema(), ensure_ascii=False, indent=2) + "\n"


def terminal_manual(section: str, levels: Iterable[str] = LEVELS) -> list[str]:
    """Returns the manual of one section as lines for a terminal, basic options first."""
    lines = [f"[{section}]  {sections()[section]}"] if section in sections() else []
    for chapter in chapters(section):
        if chapter.title:
            lines += ["", f"{chapter.title}  {chapter.intro}"]
        for level in levels:
            options = chapter.at(level)
            lines += [f"  {level}"] if options else []
            for option in options:
                lines += terminal_option(option)
    return lines


def taught(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns TOML in which every key stands below its help text.

    Args:
        values: section to key to value.
    """
    document = tomlkit.document()
    for section, keys in values.items():
        table = tomlkit.table()
        help_of = {
            o.key: o.help for chapter in reversed(chapters(section)) for o in chapter.options
        }
        for number, (key, value) in enumerate(keys.items()):
            if number:
                table.add(tomlkit.nl())
            for line in textwrap.wrap(help_of.get(key, ""), 96):
                table.add(tomlkit.comment(line))
            table.add(key, _toml_item(value))
        table.comment(sections()[section])
        document.add(tomlkit.nl())
        document.add(section, table)
    return tomlkit.dumps(document)


def pages() -> dict[str, str]:
    """Returns the generated files of ``docs/options``: name to text."""
    made = {f"{section}.md": _page(section) for section in sections()}
    made["README.md"] = _index()
    made["from-kohya.md"] = _kohya_page()
    made["run.schema.json"] = json_schema()
    return made


def stale(folder: Path) -> list[str]:
    """Returns the names of files that are missing, out of date or left over."""
    wanted = pages()
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.*")}
    return sorted(name for name in wanted.keys() | found if wanted.get(name) != found.get(name))


def main(arguments: list[str]) -> int:
    """Writes or checks the pages; returns the exit code."""
    folders = [Path(argument) for argument in arguments if argument != "--check"]
    folder = folders[0] if folders else Path("docs/options")
    old = stale(folder)
    if "--check" in arguments:
        for name in old:
            print(f"{folder / name}: stale; run `make docs`", file=sys.stderr)
        return 1 if old else 0
    wanted = pages()
    for name in old:
        if name in wanted:
            write_text(folder / name, wanted[name])
        else:
            (folder / name).unlink()
        print(folder / name)
    return 0


def _walk(
    table: str, model: type[BaseModel], above: tuple[str, ...], listed: bool = False
) -> Iterator[Chapter]:
    """Yields the chapter of a model and of the tables inside it, without repeating keys."""
    tag = next((name for name, field in model.model_fields.items() if _is_tag(field)), "")
    choice = f'{tag} = "{model.model_fields[tag].default}"' if tag else ""
    own, inside = [], {}
    for name, field in model.model_fields.items():
        if inner := list(_models(field.annotation)):
            inside[name] = (inner, not isinstance(field.annotation, type))
        elif name != tag and name not in above:
            own.append(_option(name, field))
    intro = " ".join((model.__doc__ or "").split())
    if above:
        absent = ", ".join(f"`{name}`" for name in above if name not in model.model_fields)
        intro += f" Takes the keys above, except {absent}; what stands here wins."
    yield Chapter(table, choice, intro, tuple(own), listed)
    keys = tuple(dict.fromkeys((*above, *(n for n in model.model_fields if n not in inside))))
    for name, (inner, many) in inside.items():
        for each in inner:
            yield from _walk(f"{table}.{name}", each, keys if many else (), many)


def _option(name: str, field: FieldInfo) -> Option:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    limits = [
        text.format(_number(value))
        for rule in field.metadata
        for limit, text in _LIMITS.items()
        if (value := getattr(rule, limit, None)) is not None
    ]
    return Option(
        name,
        " ".join((field.description or "").split()),
        "must be given"
        if field.is_required()
        else _toml(field.get_default(call_default_factory=True)),
        ", ".join([_type(field.annotation), *limits]),
        str(extra.get("level", "basic")),
        str(extra.get("kohya", "")),
    )


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _is_tag(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        *most, last = [f"`{_toml(value)}`" for value in arguments]
        return f"{', '.join(most)} or {last}" if most else last
    if origin in (Union, UnionType):
        return " or ".join(_type(a) for a in arguments if a is not NoneType)
    if origin is tuple:
        many = arguments[-1] is Ellipsis
        inner = ", ".join(_type(a) for a in arguments if a is not Ellipsis)
        return f"list of {inner}" if many else f"[{inner}]"
    if origin is dict:
        return "table of text to text"
    return _WORDS[annotation]


def _number(value: Any) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def _toml(value: Any) -> str:
    if value is None:
        return "not set"
    return _toml_item(value).as_string()


def _toml_item(value: Any) -> Any:
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update(value)
        return table
    if isinstance(value, list | tuple):
        long = sum(len(str(each)) for each in value) > 60
        array = tomlkit.array().multiline(long)
        array.extend(value)
        return array
    return tomlkit.item(value)


def terminal_option(option: Option) -> list[str]:
    """Returns one option as lines for a terminal: its facts, and its help below."""
    facts = f"{option.key} = {option.default}  ({option.allowed.replace('`', '')}"
    facts += f"; kohya: {option.kohya})" if option.kohya else ")"
    helps = textwrap.wrap(option.help, 84, break_on_hyphens=False)
    return [f"    {facts}", *(f"        {line}" for line in helps)]


def _page(section: str) -> str:
    lines = [f"# [{section}]", "", sections()[section], ""]
    lines += ["Generated from the schema by `make docs`; do not edit.", ""]
    for chapter in chapters(section):
        if chapter.title:
            lines += [f"## `{chapter.title}`", "", chapter.intro, ""]
        for level in LEVELS:
            if options := chapter.at(level):
                lines += [f"### {level.capitalize()}", "", *_table(options), ""]
    return "\n".join(lines)


def _table(options: Iterable[Option]) -> list[str]:
    head = ["| key | what it does | default | allowed | kohya |", "| --- | --- | --- | --- | --- |"]
    return head + [
        "| "
        + " | ".join(
            cell.replace("|", "\\|")
            for cell in (
                f"`{o.key}`",
                o.help,
                f"`{o.default}`",
                o.allowed,
                f"`{o.kohya}`" if o.kohya else "",
            )
        )
        + " |"
        for o in options
    ]


def _index() -> str:
    lines = [
        "# Options of run.toml",
        "",
        "Generated from the schema by `make docs`; do not edit.",
        "",
    ]
    lines += [f"- [[{name}]]({name}.md): {text}" for name, text in sections().items()]
    lines += ["", "[from-kohya.md](from-kohya.md) has the names for users of kohya-ss/sd-scripts;"]
    lines += ["[run.schema.json](run.schema.json) is the JSON Schema (`renma schema`).", ""]
    return "\n".join(lines)


def _kohya_page() -> str:
    lines = ["# From kohya-ss/sd-scripts to renma", ""]
    lines += [
        "Generated from the schema by `make docs`; do not edit. Each line names the key that",
        "",
    ]
    lines[-1] = "decides the same thing; its page says which values it takes."
    lines += ["", "| kohya | renma |", "| --- | --- |"]
    for kohya, ours in from_kohya().items():
        links = ", ".join(f"[`{name}`]({name.split('.')[0]}.md)" for name in ours)
        lines.append(f"| `{kohya}` | {links} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
