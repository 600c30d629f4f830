"""Several processes on one run: who they are, and how their gradients are added up.

Each step's batches are dealt out in turn, by their running number; gradients are summed over all
of them. So two processes do what one does with twice the accumulation, sample for sample.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from renma.core.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PATIENCE = timedelta(hours=6)
"""How long others wait while one process draws previews or writes files."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Args:
        rank: number of this one, from 0.
        size: how many there are.
        local_rank: number of this one on its machine: the GPU it uses.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Processes:
        """Reads what torchrun or accelerate set for this process (no torch)."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        rank, size, local = (
            int(environment.get(name, d)) for name, d in zip(names, "010", strict=True)
        )
        return cls(rank, size, local)

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def check(self, wanted: int) -> None:
        """Compares with what the run asks for.

        Args:
            wanted: ``train.processes``, 0 for any number.

        Raises:
            UserError: the launcher started another number.
        """
        if wanted and wanted != self.size:
            raise UserError(
                f"{self.size} process{'es are' if self.size > 1 else ' is'} running",
                where=f"train.processes = {wanted}",
                remedy=f"Start it with: torchrun --nproc-per-node {wanted} -m renma train ...",
            )

    def check_share(self, batches: int) -> None:
        """Refuses a step whose batches cannot be dealt out evenly.

        Args:
            batches: of one optimizer step, as the run was begun with.

        Raises:
            UserError: they cannot.
        """
        if batches % self.size:
            raise UserError(
                f"{batches} batches a step cannot be dealt out to {self.size} processes",
                where="train.processes",
                remedy=f"Start a number of processes that divides {batches}.",
            )

    def join(self, device: torch.device) -> None:
        """Connects to the others; one process alone does nothing."""
        if self.size == 1:
            return
        import torch
        from torch import distributed

        if device.type == "cuda":
            torch.cuda.set_device(self.local_rank)
        if not distributed.is_initialized():
            backend = "nccl" if device.type == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=_PATIENCE)

    def leave(self) -> None:
        """Disconnects."""
        if self.size > 1:
            from torch import distributed

            if distributed.is_initialized():
                distributed.destroy_process_group()

    def wait(self) -> None:
        """Waits until all have come here.

        Raises:
            UserError: another process is gone.
        """
        if self.size > 1:
            from torch import distributed

            with self._gone():
                distributed.barrier()

    def share(self, value: Any) -> Any:
        """Returns the first process' value in all of them.

        Raises:
            UserError: another process is gone.
        """
        if self.size == 1:
            return value
        from torch import distributed

        held = [value]
        with self._gone():
            distributed.broadcast_object_list(held, src=0)
        return held[0]

    @contextmanager
    def _gone(self) -> Iterator[None]:
        """Says in one line that a process died while this one waits for it."""
        try:
            yield
        except RuntimeError as error:
            raise UserError(
                f"another of the {self.size} processes is gone ({str(error).splitlines()[0]})",
                remedy="Go on from the last saved state with --resume.",
            ) from None

    def deal(self, numbers: Iterable[int]) -> list[int]:
        """Returns those of a step's batches that this process computes."""
        return list(numbers)[self.rank :: self.size]

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replaces every tensor by its sum over all processes.

        Raises:
            UserError: another process is gone.
        """
        if self.size == 1 or not tensors:
            return
        import torch
        from torch import distributed

        flat = torch.cat([tensor.detach().flatten().float() for tensor in tensors])
        with self._gone():
            distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.detach().copy_(part.view_as(tensor))
