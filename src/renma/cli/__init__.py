"""The command line: commands derived from the task table, progress bars, exit codes (no torch)."""

from renma.cli.app import guarded, main

__all__ = ["guarded", "main"]
