"""All environment variables that the package reads, in one place (docs/environment.md lists them).

The launcher's contract is RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, ONEFLOW_EPOCH and
ONEFLOW_JOB_DIR, a folder of the job with its secret, in which a failing rank leaves its error for the
launcher. Where srun or mpirun has started the program once per rank, their variables say the same, and
ONEFLOW_SECRET holds the secret. Else there is one rank, which owns every device.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from . import addresses, schedulers
from .errors import CheckpointError, Error, PeerError, StaleRunError

# Variables that the package has set itself because they were unset; the launcher does not hand them on.
own_defaults: set[str] = set()


def set_thread_defaults() -> None:
    """Defaults that libgomp reads when it is loaded: call it before oneflow._core is imported."""
    here = schedulers.rank_of(os.environ) if "WORLD_SIZE" not in os.environ else None
    # A scheduler that gives each rank cores of its own has bound it to them already.
    is_bound = core_count() < (os.cpu_count() or 1)
    sharing = here.local_count if here and not is_bound else 1
    threads = max(1, core_count() // sharing)
    for name, value in (("OMP_WAIT_POLICY", "PASSIVE"), ("OMP_NUM_THREADS", str(threads))):
        if name not in os.environ:
            own_defaults.add(name)
            os.environ[name] = value


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int:
    """Memory of this host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True)
class Launch:
    """What the launcher said of this process."""

    rank: int
    world_size: int
    local_rank: int
    address: str
    job: str  # id of the job, the same on all ranks
    job_dir: str  # "": no launcher waits for this rank's error
    epoch: int  # how often the job was restarted
    listener: int  # rank 0: descriptor of a socket that listens at `address`; -1 if it has none


def _integer(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise Error(f"the environment variable {name} is {text!r}, which is no integer") from None


@functools.cache
def launch() -> Launch:
    """The launcher's variables, or those of srun and mpirun, read once."""
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        place = schedulers.rank_of(os.environ)
        if place is not None:
            return _started_by_scheduler(place)
    world_size = _integer("WORLD_SIZE", 1)
    rank = _integer("RANK", 0)
    if not 0 <= rank < world_size:
        raise Error(f"RANK={rank} does not lie in [0, WORLD_SIZE={world_size})")
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    port = _integer("MASTER_PORT", schedulers.DEFAULT_PORT)
    job_dir = os.environ.get("ONEFLOW_JOB_DIR", "")
    return Launch(
        rank=rank,
        world_size=world_size,
        local_rank=_integer("LOCAL_RANK", rank),
        address=f"{host}:{port}",
        job=os.path.basename(job_dir) or "by hand",
        job_dir=job_dir,
        epoch=_integer("ONEFLOW_EPOCH", 0),
        listener=_integer("ONEFLOW_LISTENER", -1) if rank == 0 else -1,
    )


def _started_by_scheduler(place: schedulers.Place) -> Launch:
    host = os.environ.get("MASTER_ADDR", "") or place.address
    if not host:
        raise Error(
            f"{place.system} started this program on several hosts, but does not say where rank 0 runs: set "
            "MASTER_ADDR to its host (mpirun -x MASTER_ADDR=...)"
        )
    if place.local_count < place.count:
        # On rank 0's host its name may be a loopback address, which ranks of other hosts do not reach.
        try:
            host = addresses.own_address(host)
        except addresses.AddressError as error:
            raise Error(str(error).replace("give --master-addr", "set MASTER_ADDR to")) from None
    return Launch(
        rank=place.number,
        world_size=place.count,
        local_rank=place.local_number,
        address=f"{host}:{_integer('MASTER_PORT', place.port)}",
        job=place.job,
        job_dir="",
        epoch=_integer("SLURM_RESTART_COUNT", 0),
        listener=-1,
    )


def secret_given() -> bytes:
    """ONEFLOW_SECRET: the job's secret where no launcher makes one; `@FILE`: what that file holds. Empty if
    unset."""
    text = os.environ.get("ONEFLOW_SECRET", "")
    if text.startswith("@"):
        try:
            with open(text[1:], "rb") as file:
                secret = file.read().strip()
        except OSError as error:
            raise Error(f"ONEFLOW_SECRET names a file that cannot be read: {error}") from None
    else:
        secret = text.encode()
    if text and len(secret) < 16:
        raise Error(
            f"the secret in ONEFLOW_SECRET has {len(secret)} bytes, too few to keep anybody out (at least 16): "
            "make one with `openssl rand -hex 32`"
        )
    return secret


def _secret(here: Launch) -> bytes:
    if here.job_dir:
        with open(os.path.join(here.job_dir, "secret"), "rb") as file:
            return file.read()
    secret = secret_given()
    if not secret:
        raise Error(
            f"this is rank {here.rank} of {here.world_size}, but there is no secret by which the ranks know each "
            "other: start them with oneflow-launch, or set ONEFLOW_SECRET to the same value for all "
            "(export ONEFLOW_SECRET=$(openssl rand -hex 32) before srun or mpirun -x ONEFLOW_SECRET)"
        )
    return secret


def watchdog_seconds() -> float:
    """ONEFLOW_WATCHDOG: seconds of standstill after which the watchdog names the culprit."""
    text = os.environ.get("ONEFLOW_WATCHDOG", "")
    return float(text) if text else 30.0


def peer_seconds() -> float:
    """ONEFLOW_PEER_SECONDS: for how long another rank may owe a message or a collective call."""
    text = os.environ.get("ONEFLOW_PEER_SECONDS", "")
    try:
        seconds = float(text) if text else 120.0
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise Error(
            f"the environment variable ONEFLOW_PEER_SECONDS is {text!r}, which is no number of seconds above 0"
        )
    return seconds


def transport_choice() -> str:
    """ONEFLOW_TRANSPORT: how this rank reaches the others: auto, tcp, shm or rdma; auto and rdma also with the adapter
    to use, `rdma:mlx5_0`."""
    choice = os.environ.get("ONEFLOW_TRANSPORT", "") or "auto"
    kind, colon, device = choice.partition(":")
    if kind not in ("auto", "tcp", "shm", "rdma") or (
        colon and (not device or kind in ("tcp", "shm"))
    ):
        raise Error(
            f"the environment variable ONEFLOW_TRANSPORT is {choice!r}; it may be auto, tcp, shm or rdma, "
            "or an adapter too: auto:mlx5_0, rdma:mlx5_0"
        )
    return choice


def trace_path() -> str:
    """ONEFLOW_TRACE: file for a Perfetto trace of what ran; with several ranks, one file each."""
    path = os.environ.get("ONEFLOW_TRACE", "")
    if path and launch().world_size > 1:
        path = f"{path}.rank{launch().rank}"
    return path


def cuda_library() -> str:
    """ONEFLOW_CUDA_LIBRARY: the library for CUDA; by default the one that ./dev cuda put into the package."""
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "liboneflow_cuda.so")
    return os.environ.get("ONEFLOW_CUDA_LIBRARY", "") or default


def cuda_graphs() -> bool:
    """ONEFLOW_CUDA_GRAPHS: off enqueues the kernels of a step on a GPU one by one, not as a graph."""
    choice = os.environ.get("ONEFLOW_CUDA_GRAPHS", "") or "on"
    if choice not in ("on", "off"):
        raise Error(
            f"the environment variable ONEFLOW_CUDA_GRAPHS is {choice!r}; it may be on or off"
        )
    return choice == "on"


def cuda_algorithms() -> dict[str, Any]:
    """ONEFLOW_CUDA_ALGORITHMS: heuristics, measured, or measured:FILE, where measured ones are kept; by the names that
    oneflow._core has for it."""
    choice = os.environ.get("ONEFLOW_CUDA_ALGORITHMS", "") or "heuristics"
    kind, colon, path = choice.partition(":")
    if kind not in ("heuristics", "measured") or (colon and (kind != "measured" or not path)):
        raise Error(
            f"the environment variable ONEFLOW_CUDA_ALGORITHMS is {choice!r}; it may be heuristics, measured or "
            "measured:FILE"
        )
    if kind == "measured" and not path:
        cache = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(cache):  # as its specification says
            cache = os.path.expanduser("~/.cache")
        path = os.path.join(cache, "oneflow", "algorithms.txt")
    return {"measures": kind == "measured", "algorithms": path and os.path.abspath(path)}


def cublaslt() -> str:
    """ONEFLOW_CUBLASLT: the file of cuBLASLt; by default that of the package nvidia-cublas, else the loader's."""
    named = os.environ.get("ONEFLOW_CUBLASLT", "")
    if named:
        return named
    for folder in sys.path:
        path = os.path.join(folder, "nvidia", "cu13", "lib", "libcublasLt.so.13")
        if os.path.exists(path):
            return path
    return ""


def cudnn() -> str:
    """The file of cuDNN in the package nvidia-cudnn-cu13; empty: the loader's, if it has one."""
    for folder in sys.path:
        path = os.path.join(folder, "nvidia", "cudnn", "lib", "libcudnn.so.9")
        if os.path.exists(path):
            return path
    return ""


def nccl() -> str:
    """The file of NCCL in the package nvidia-nccl-cu13; empty: the loader's, if it has one."""
    for folder in sys.path:
        path = os.path.join(folder, "nvidia", "nccl", "lib", "libnccl.so.2")
        if os.path.exists(path):
            return path
    return ""


def cuda_files() -> dict[str, str]:
    """The files that a cuda mesh opens, by the names that oneflow._core has for them."""
    return {"cublaslt": cublaslt(), "nccl": nccl(), "cudnn": cudnn()}


def dump_directory() -> str:
    """ONEFLOW_DUMP: directory for the graph after each pass and the plan."""
    return os.environ.get("ONEFLOW_DUMP", "")


@functools.cache
def transport() -> Any:
    """The connection to the other ranks, made at the first use; None for one rank."""
    here = launch()
    if here.world_size == 1:
        return None
    secret = _secret(here)
    from . import _core

    return _core.connect(
        rank=here.rank,
        world_size=here.world_size,
        address=here.address,
        secret=secret,
        job=here.job,
        epoch=here.epoch,
        listener=here.listener,
        timeout_seconds=120.0,
        collective_seconds=peer_seconds(),
        path=transport_choice(),
    )


def paths() -> list[str]:
    """How this rank reaches each rank ("shared memory", "tcp (why)"); empty before it has met them."""
    return list(transport().paths) if world_size() > 1 and transport.cache_info().currsize else []


def rank() -> int:
    """Rank of this process, from 0."""
    return launch().rank


def world_size() -> int:
    """Number of ranks of the job."""
    return launch().world_size


def local_rank() -> int:
    """Rank of this process among those of its host."""
    return launch().local_rank


def _users_line(trace: TracebackType | None) -> str:
    """Where an exception that is none of ours left the user's code: "train.py:7"."""
    package = os.path.dirname(os.path.abspath(__file__))
    for frame in reversed(traceback.extract_tb(trace)):
        path = os.path.abspath(frame.filename)
        is_library = path.startswith(package) or "site-packages" in path or "<" in frame.filename
        if not is_library and not path.startswith(os.path.dirname(os.__file__)):
            return f"{os.path.basename(path)}:{frame.lineno}"
    return ""


def report_failures() -> None:
    """Under the launcher: an uncaught exception is left in the job's folder and told to the other ranks,
    so that all stop at once and the launcher can name the root cause."""
    if not os.environ.get("ONEFLOW_JOB_DIR"):
        return
    here = launch()
    shown = sys.excepthook

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        is_final = isinstance(error, StaleRunError)
        if (
            world_size() == 1 and not is_final
        ):  # the launcher has its exit code, the user its traceback
            shown(kind, error, trace)
            return
        when = time.time()
        place = getattr(error, "location", None)
        where = place.short() if place else _users_line(trace)
        text = getattr(error, "message", str(error))
        blamed = error.rank if isinstance(error, (PeerError, CheckpointError)) else None
        record = {
            "type": kind.__name__,
            "message": text,
            "location": where,
            # Whom all others blame is no echo of theirs.
            "peer": blamed != here.rank and (isinstance(error, PeerError) or blamed is not None),
            "blames": blamed,
            "final": is_final,  # to start again would not help
            "time": when,
        }
        path = os.path.join(here.job_dir, f"error.{here.rank}.json")
        with contextlib.suppress(OSError), open(path, "w") as file:
            json.dump(record, file)
        if transport.cache_info().currsize and not record["peer"]:
            with contextlib.suppress(Exception):
                transport().abort(f"{kind.__name__}{f' at {where}' if where else ''}: {text}")
        shown(kind, error, trace)

    sys.excepthook = report
