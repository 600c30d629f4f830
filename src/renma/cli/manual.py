"""``renma options`` and ``renma schema``: what can stand in a run.toml."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def options(
    section: Annotated[str, Parameter(help="A section of run.toml, such as adapter.")] = "", /
) -> None:
    """Explain the options of run.toml, basic ones first.

    Without a section: the basic options of all of them.

    Example: renma options adapter
    """
    from renma.config import views

    if section:
        print("\n".join(views.terminal_manual(section)))
        return
    for name in views.sections():
        print("\n".join(views.terminal_manual(name, ("basic",))), end="\n\n")
    print("`renma options SECTION` shows the advanced and expert options too.")


def schema() -> None:
    """Print the JSON Schema of run.toml, for editors and programs.

    Example: renma schema > run.schema.json
    """
    from renma.config import views

    print(views.json_schema(), end="")
