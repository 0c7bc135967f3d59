"""What Slurm, Open MPI, MPICH, PMIx, Kubernetes and Kubeflow say of a process in its environment.

Two questions: which *rank* is this process, if the program itself was started once per rank
(`srun python train.py`, `mpirun python train.py`); and which *host* of the job is it, if the launcher was
started once per host (`srun --ntasks-per-node=1 oneflow-launch ...`, a pod of an Indexed Job).
Functions of an environment, without side effects.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_PORT = 29500
_PART = re.compile(r"([^,\[\]]+)(?:\[([0-9,\-]+)\])?([^,\[\]]*)(?:,|$)")


@dataclass(frozen=True)
class Place:
    """Where a process stands: its number, how many there are, the same within its host."""

    system: str  # who says so
    number: int
    count: int
    local_number: int
    local_count: int
    address: str  # the host of number 0; "" if the environment does not tell
    port: int
    job: str  # the same for all processes of one start, and for no other


def port_of(job: str) -> int:
    """A port that all processes of a job agree on without a word: jobs of one host get different ones."""
    return 20000 + zlib.crc32(job.encode()) % 12000  # below Linux's range for outgoing connections


def expand_hosts(text: str) -> list[str]:
    """`n[1-3,07],login` as Slurm writes it -> n1 n2 n3 n07 login."""
    hosts: list[str] = []
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None:
            raise ValueError(f"`{text}` is no list of hosts")
        at = match.end()
        head, ranges, tail = match.groups()
        if ranges is None:
            hosts.append(head + tail)
            continue
        for part in ranges.split(","):
            first, _, last = part.partition("-")
            for number in range(int(first), int(last or first) + 1):
                hosts.append(f"{head}{number:0{len(first)}d}{tail}")
    return hosts


def _number(environ: Mapping[str, str], *names: str) -> int | None:
    """The first of these variables that holds a number."""
    for name in names:
        text = environ.get(name, "")
        if text.isdigit():
            return int(text)
    return None


def _first_host(environ: Mapping[str, str]) -> str:
    text = environ.get("SLURM_STEP_NODELIST", "") or environ.get("SLURM_JOB_NODELIST", "")
    try:
        return expand_hosts(text)[0] if text else ""
    except ValueError:
        return ""


def _slurm(environ: Mapping[str, str]) -> Place | None:
    # A batch script and an interactive shell have SLURM_PROCID and SLURM_NTASKS too, but are one process:
    # only what srun has started has the number of tasks of its step.
    number, count = _number(environ, "SLURM_PROCID"), _number(environ, "SLURM_STEP_NUM_TASKS")
    if number is None or count is None or environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    hosts = _number(environ, "SLURM_STEP_NUM_NODES", "SLURM_NNODES") or 1
    step = f"slurm-{environ.get('SLURM_JOB_ID', '')}.{environ.get('SLURM_STEP_ID', '')}"
    per_host = environ.get("SLURM_STEP_TASKS_PER_NODE", "")  # "2(x3),1": one entry per host
    counts = [
        int(match[1])
        for match in re.finditer(r"(\d+)(?:\(x(\d+)\))?", per_host)
        for _ in range(int(match[2] or 1))
    ]
    host = _number(environ, "SLURM_NODEID") or 0
    local_count = counts[host] if host < len(counts) else count // hosts
    local = _number(environ, "SLURM_LOCALID") or 0
    return Place(
        "Slurm", number, count, local, local_count, _first_host(environ), port_of(step), step
    )


def _mpi(environ: Mapping[str, str]) -> Place | None:
    for system, names in (
        ("Open MPI", ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")),
        ("MPICH", ("PMI_RANK", "PMI_SIZE")),
    ):
        number, count = _number(environ, names[0]), _number(environ, names[1])
        if number is None or count is None:
            continue
        local = _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")
        local_count = _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
        alone = local_count == count  # all of the job is on this host
        job = f"mpi-{environ.get('PMIX_NAMESPACE', '') or environ.get('PMI_ID', '')}"
        return Place(
            system,
            number,
            count,
            number if local is None else local,
            local_count or count,
            "127.0.0.1" if alone else "",
            port_of(job),
            job,
        )
    return None


def rank_of(environ: Mapping[str, str]) -> Place | None:
    """Which rank this process is, if srun or mpirun has started it once per rank."""
    place = _mpi(environ) or _slurm(environ)
    return place if place is not None and place.count > 1 else None


def host_of(environ: Mapping[str, str]) -> Place | None:
    """Which host of the job this is, if the launcher was started once per host."""
    kubernetes = _number(environ, "JOB_COMPLETION_INDEX")
    if kubernetes is not None:
        return Place("Kubernetes", kubernetes, 0, 0, 1, "", DEFAULT_PORT, "")
    # PyTorchJob of Kubeflow's first version: its RANK and WORLD_SIZE count pods, and there is no LOCAL_RANK.
    number, count = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
    address = environ.get("MASTER_ADDR", "")
    if number is not None and count is not None and address and "LOCAL_RANK" not in environ:
        port = _number(environ, "MASTER_PORT") or DEFAULT_PORT
        return Place("PyTorchJob", number, count, 0, 1, address, port, "")
    return _mpi(environ) or _slurm(environ)
