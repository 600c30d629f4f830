"""How many processes the launcher was asked for, and whether they are there.

`accelerate launch --num_processes 2` starts one process only, and says nothing, unless it also has
--multi_gpu (or a configuration that says so) or finds two GPUs by itself; with --cpu it needs
mpirun besides. It then sets MASTER_ADDR and MASTER_PORT as for several processes, but no
WORLD_SIZE: that, or its own command line, gives it away (accelerate 1.x, commands/launch.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from renma.core.errors import UserError

_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where torchrun, Open MPI, MPICH and MVAPICH say how many processes there are."""
_SEVERAL = 2
_VALUED = frozenset(
    {
        "num_processes", "num_machines", "mixed_precision", "num_cpu_threads_per_process",
        "gpu_ids", "main_process_port", "main_process_ip", "machine_rank", "config_file",
        "dynamo_backend", "dynamo_mode", "nproc_per_node", "nnodes", "master_port", "master_addr",
        "rdzv_backend", "rdzv_endpoint", "rdzv_conf", "node_rank", "rdzv_id", "log_dir", "tee",
        "role",
    }
)  # fmt: skip
"""Options of accelerate and torchrun that take a value."""


def running_processes(environment: Mapping[str, str] = os.environ) -> int:
    """Returns how many processes the launcher started."""
    return next((int(environment[name]) for name in _SIZES if name in environment), 1)


def expected_processes(
    environment: Mapping[str, str] = os.environ, parent: Iterable[str] | None = None
) -> int | None:
    """Returns how many processes somebody asked for; None where nothing says it.

    Args:
        environment: variables of this process.
        parent: words of the command that started it (default: read where Linux shows them).

    Returns:
        The number on the launcher's command line; else 2 where accelerate prepared for several
        processes without saying how many.
    """
    words = list(_parent() if parent is None else parent)
    asked = _asked(words)
    if asked is not None:
        return asked
    # these two are set by accelerate alone, and together only for more than one process
    simple = "ACCELERATE_USE_CPU" in environment and "ACCELERATE_MIXED_PRECISION" in environment
    if simple and {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        return max(_SEVERAL, running_processes(environment))
    return None


def split(words: Sequence[str]) -> tuple[int | None, list[str]]:
    """Returns the number of ``--processes N``, and the other words.

    It is renma's own option of the trainers, for systems that do not show the launcher's command.

    Raises:
        UserError: it has no number.
    """
    rest: list[str] = []
    wanted, place = None, 0
    while place < len(words):
        name, sign, text = words[place].partition("=")
        if name == "--processes":
            if not sign:
                place += 1
                text = words[place] if place < len(words) else ""
            if not text.isdigit() or int(text) == 0:
                raise UserError(f"'{text}' is no number of processes", where="--processes")
            wanted = int(text)
        else:
            rest.append(words[place])
        place += 1
    return wanted, rest


def check(
    environment: Mapping[str, str] = os.environ,
    parent: Iterable[str] | None = None,
    wanted: int | None = None,
) -> None:
    """Refuses to train alone where several processes were asked for.

    Args:
        environment: variables of this process.
        parent: words of the command that started it (default: read where Linux shows them).
        wanted: the number of ``--processes``, which needs no guessing.

    Raises:
        UserError: the launcher started another number of processes than it was asked for.
    """
    words = list(_parent() if parent is None else parent)
    found = running_processes(environment)
    expected = wanted or expected_processes(environment, words)
    if expected is None or expected == found:
        return
    asked = str(expected) if wanted or _asked(words) else "several"
    raise UserError(
        f"{asked} processes were asked for, but {found} {'is' if found == 1 else 'are'} running",
        where="accelerate launch",
        remedy="Add --multi_gpu (on GPUs), or start torchrun --nproc-per-node "
        f"{expected} -m ... with the same module; --num_processes 1 trains alone.",
    )


def launched(words: Sequence[str]) -> dict[str, str]:
    """Returns options of a launcher: names with underscores, switches with the value ""."""
    found: dict[str, str] = {}
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not word.startswith("-"):
            continue
        name, sign, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if not sign and name in _VALUED and place < len(words):
            value = words[place]
            place += 1
        found[name] = value
    return found


def _asked(words: list[str]) -> int | None:
    """Returns the number of processes on a launcher's command line."""
    for place, word in enumerate(words):
        name = PurePath(word).name
        if name in ("accelerate", "accelerate-launch", "accelerate.commands.launch", "torchrun"):
            options = launched(words[place + 1 :])
            break
        if name in ("torch.distributed.run", "torch.distributed.launch"):
            options = launched(words[place + 1 :])
            break
    else:
        return None
    machines = options.get("nnodes", "1")
    for key in ("num_processes", "nproc_per_node"):
        if options.get(key, "").isdigit() and machines.isdigit():
            return int(options[key]) * (int(machines) if key == "nproc_per_node" else 1)
    return None


def _parent() -> list[str]:
    """Returns the words of the command that started this process; none where it is not shown."""
    try:
        text = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return []
    return text.decode(errors="replace").rstrip("\0").split("\0")
