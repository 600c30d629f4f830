"""``renma options`` and ``renma schema``: what can stand in a run.toml."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def options(
    name: Annotated[
        str,
        Parameter(
            allow_leading_hyphen=True,
            help="A section (adapter), a key (rank), a path (adapter.rank), a part of a name, "
            "or an option of kohya-ss/sd-scripts (network_dim).",
        ),
    ] = "",
    /,
) -> None:
    """Explain the options of run.toml, basic ones first.

    Without a name: the basic options of all sections.

    Example: renma options adapter
    """
    from renma.cli import option_search
    from renma.config import views

    if name in views.sections():
        print("\n".join(views.terminal_manual(name)))
        return
    if name:
        print("\n".join(option_search.manual(name)))
        return
    for section in views.sections():
        print("\n".join(views.terminal_manual(section, ("basic",))), end="\n\n")
    print("`renma options SECTION` shows the advanced and expert options too, `renma options KEY`")
    print("one option alone.")


def schema() -> None:
    """Print the JSON Schema of run.toml, for editors and programs.

    Example: renma schema > run.schema.json
    """
    from renma.config import views

    print(views.json_schema(), end="")
