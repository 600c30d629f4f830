"""The LoRA file: tensors in kohya's naming, metadata that the usual tools read."""

from __future__ import annotations

from pathlib import Path

from renma import adapters
from renma.config import Run
from renma.core.errors import UserError
from renma.engine.model import DTYPES
from renma.engine.network import Network
from renma.families._base import Family
from renma.formats import safetensors
from renma.formats.lora_file import hashes
from renma.formats.metadata import scrub
from renma.formats.portability import portability
from renma.train.metadata import Progress, full, minimal
from renma.train.network_metadata import sum_facts
from renma.train.plan import Prepared


def save_lora(
    path: Path, network: Network, run: Run, prepared: Prepared, family: Family, progress: Progress
) -> None:
    """Writes one checkpoint atomically.

    Raises:
        UserError: a weight is NaN or infinite in the file's precision; the old file stays.
    """
    tensors = network.tensors(DTYPES[run.output.precision])
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise UserError(
            f"not saved: {len(bad)} of {len(tensors)} tensors hold NaN or infinite numbers in "
            f"{run.output.precision}",
            where=path,
            remedy="Lower optimizer.learning_rate; output.precision = 'fp32' holds larger numbers.",
        )
    level = run.output.metadata
    whole = minimal(run, family, network) | full(run, prepared, family, progress)
    metadata = scrub(whole | sum_facts(network, run.adapter, tensors), level)
    safetensors.save(
        path, tensors, metadata if level == "none" else metadata | hashes(tensors, metadata)
    )


def portability_of(network: Network) -> str:
    """Returns which programs cannot load a network's file, and the way out; empty if all can."""
    kinds = (adapters.kinds(member.adapter.tensors()) for member in network.members.values())
    troubles = portability(name for layer in kinds for name in layer)
    return f"not every program loads this file: {'. '.join(troubles)}" if troubles else ""
