"""Runs of a test's project, and what they leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.train import task


def train(project: Path, out: str, *values: str, resume: bool = False) -> Path:
    """Trains ``project/run.toml`` with some values changed; returns the run's folder."""
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out, resume=resume)
    task.run(options, Silent())
    return project / out


def final(folder: Path) -> bytes:
    """The finished LoRA."""
    return (folder / "lora" / "lora.safetensors").read_bytes()


def losses(folder: Path) -> list[float]:
    """Losses of all steps, in their order."""
    return [row["loss"] for row in read_events(folder / "events.jsonl") if row["kind"] == "step"]


def kinds(folder: Path) -> list[str]:
    """Kinds of all events, in their order."""
    return [row["kind"] for row in read_events(folder / "events.jsonl")]


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All events of one kind, in their order."""
    return [row for row in read_events(folder / "events.jsonl") if row["kind"] == kind]
