"""What `oneflow-launch doctor` looks at on one host. Each finding says what is, and what to mend if it should not be so."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import addresses, environment
from . import counting

_MIB = 1 << 20
_GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """`status` is ok, warn (a job runs, but worse than it could) or fail (it does not run)."""

    name: str
    status: str
    value: str
    advice: str = ""


def _ok(name: str, value: str) -> Finding:
    return Finding(name, "ok", value)


def version() -> str:
    try:
        return importlib.metadata.version("oneflow")
    except importlib.metadata.PackageNotFoundError:
        return "source tree"


def _versions() -> list[Finding]:
    import numpy

    found = [
        _ok("oneflow", version()),
        _ok("python", f"{platform.python_version()} {sys.executable}"),
        _ok("numpy", numpy.__version__),
        _ok("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
    ]
    try:
        from .. import _core

        found.append(_ok("core", f"{len(_core.op_names())} ops"))
    except ImportError as error:
        advice = "install the package for this Python, or ./dev build in a source tree"
        found.append(Finding("core", "fail", str(error), advice))
    return found


def _devices() -> list[Finding]:
    cores, all_cores = environment.core_count(), os.cpu_count() or 1
    memory = environment.memory_bytes() / _GIB
    found = [
        _ok("cores", f"{cores} of {all_cores}"),
        _ok("memory", f"{memory:.1f} GiB"),
    ]
    count = counting.gpus()
    if count == 0:
        return [*found, _ok("gpus", "none")]
    found.append(_ok("gpus", str(count)))
    try:
        driver = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
        found.append(_ok("driver", driver))
    except OSError as error:
        advice = "load the NVIDIA driver (nvidia-smi must work); in a container, start it with --gpus all"
        found.append(Finding("driver", "fail", str(error), advice))
    if os.path.exists(environment.cuda_library()):
        found.append(_ok("cuda plugin", environment.cuda_library()))
    else:
        advice = "./dev cuda builds it; without it only CPU devices work"
        found.append(Finding("cuda plugin", "warn", "missing", advice))
    return found


def _library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _nccl() -> list[Finding]:
    wheels = [Path(folder) / "nvidia/nccl/lib/libnccl.so.2" for folder in sys.path]
    here = [str(path) for path in wheels if path.exists()]
    if here or _library("libnccl.so.2"):
        return [_ok("nccl", here[0] if here else "libnccl.so.2")]
    if counting.gpus() > 1:
        return [Finding("nccl", "warn", "missing", "pip install nvidia-nccl-cu13")]
    return [_ok("nccl", "not needed: no several GPUs")]


def _cudnn() -> list[Finding]:
    named = environment.cudnn()
    if named or _library("libcudnn.so.9"):
        return [_ok("cudnn", named or "libcudnn.so.9")]
    if counting.gpus() > 0:
        advice = "pip install nvidia-cudnn-cu13; without it convolutions run on slow kernels"
        return [Finding("cudnn", "warn", "missing", advice)]
    return [_ok("cudnn", "not needed: no GPU")]


def _rdma() -> list[Finding]:
    ports = sorted(Path("/sys/class/infiniband").glob("*/ports/*"))
    if not ports:
        return [_ok("rdma", "no adapter; ranks speak TCP")]
    found = []
    for port in ports:
        name = f"rdma {port.parts[-3]}:{port.name}"
        try:
            state = (port / "state").read_text().strip()
        except OSError as error:
            state = str(error)
        advice = "" if "ACTIVE" in state else "bring the link up (ibstat, cable, subnet manager)"
        found.append(Finding(name, "warn" if advice else "ok", state, advice))
    if not _library("libibverbs.so.1"):
        advice = "apt install libibverbs1 ibverbs-providers; without it ranks speak TCP"
        found.append(Finding("libibverbs", "warn", "missing", advice))
    return found


def _limits() -> list[Finding]:
    found = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 1024  # two connections for each peer, and what Python and data files take
    if soft < needed:
        advice = (
            f"ulimit -n 65536 (now {soft}, at most {hard}), or nofile in /etc/security/limits.conf"
        )
        found.append(Finding("open files", "fail" if hard < needed else "warn", str(soft), advice))
    else:
        found.append(_ok("open files", str(soft)))
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    value = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft // 1024} KiB"
    if soft != resource.RLIM_INFINITY and any(Path("/sys/class/infiniband").glob("*")):
        advice = "RDMA locks its buffers: memlock unlimited in /etc/security/limits.conf, or in the unit of slurmd or docker"
        found.append(Finding("locked memory", "warn", value, advice))
    else:
        found.append(_ok("locked memory", value))
    return found


def _space() -> list[Finding]:
    found = []
    places = (("disk", os.getcwd(), _GIB), ("temporary files", tempfile.gettempdir(), 64 * _MIB))
    for name, folder, least in (*places, ("/dev/shm", "/dev/shm", 64 * _MIB)):
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            advice = (
                "mount a tmpfs there (docker run --shm-size=8g)" if "shm" in name else "make it"
            )
            found.append(Finding(name, "warn", str(error), advice))
            continue
        value = f"{free / _GIB:.1f} GiB free in {folder}"
        if os.access(folder, os.W_OK) and free >= least:
            found.append(_ok(name, value))
            continue
        advice = "docker run --shm-size=8g" if "shm" in name else "make room, or make it writable"
        found.append(Finding(name, "warn", value, advice))
    return found


def _network(port: int) -> list[Finding]:
    found = []
    listed = ", ".join(f"{a} ({i})" for i, a in addresses.interfaces().items()) or "loopback alone"
    found.append(_ok("addresses", listed))
    name = socket.gethostname()
    try:
        found.append(_ok("own name", f"{name} is {addresses.own_address(name)}"))
    except addresses.AddressError as error:
        advice = "give --master-addr an address, or mend /etc/hosts and DNS"
        found.append(Finding("own name", "warn", str(error), advice))
    try:
        addresses.listen("127.0.0.1", port).close()
        found.append(_ok("port", f"{port} is free"))
    except addresses.AddressError as error:
        advice = "another job or service has it: give --master-port another one"
        found.append(Finding("port", "warn", str(error), advice))
    return found


def look(port: int) -> list[Finding]:
    """All findings of this host. One that cannot be made is one, too."""
    groups: list[Callable[[], list[Finding]]] = [
        _versions,
        _devices,
        _nccl,
        _cudnn,
        _rdma,
        _limits,
        _space,
        lambda: _network(port),
    ]
    found = []
    for group in groups:
        try:
            found += group()
        except Exception as error:
            name = group.__name__.strip("_<>")
            found.append(
                Finding(name, "fail", f"{type(error).__name__}: {error}", "a bug of doctor")
            )
    return found
