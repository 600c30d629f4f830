"""Which options of a section somebody chose."""

from __future__ import annotations

from renma.config._base import Section


def given(section: Section) -> set[str]:
    """Returns the options that somebody chose: set, and not to what they are anyway.

    The run.toml in a run's folder has every option written out.
    """
    fields = type(section).model_fields
    return {
        name
        for name in section.model_fields_set
        if getattr(section, name) != fields[name].get_default(call_default_factory=True)
    }
