"""Options of the commands for users of kohya-ss/sd-scripts."""

from __future__ import annotations

from pathlib import Path

from renma.config._base import Section, argument, short


class ImportKohyaOptions(Section):
    """Options of ``renma import-kohya``."""

    source: str = argument()
    """A command in quotes, or a file: .sh, .bat, .ps1 or .txt with one, a config file (.toml), a
    data set file (.toml), a preset of kohya_ss (.json)."""
    out: Path = short("-o")
    """The run.toml to write."""
    report: bool = False
    """Show what became of every option: taken, renamed, without effect, not supported."""
