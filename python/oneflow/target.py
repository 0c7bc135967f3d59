"""Target: a machine described by a file, for plans of machines that are not here.

`step.compile_for("h100.json", batch)` compiles what one rank of that machine would run: its memory, the bytes that it
moves and the predicted time are known on a laptop. Rates are the file's, so a predicted time is as good as these are.
docs/sharding.md shows a file.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _core
from .errors import Error, ShardingError
from .location import user_location
from .mesh import Mesh

# Plans are integers of nanoseconds and bytes; beyond these a description is a slip of units.
MOST_DEVICES = 65_536
MOST_RATE = 10_000_000.0  # GB/s, and Tflop/s


@dataclass(frozen=True)
class Link:
    """What joins each `devices` consecutive devices; None: all."""

    name: str
    latency_us: float
    gb_per_s: float
    devices: int | None = None


@dataclass(frozen=True)
class Target:
    """Hosts that are alike, with devices that are alike, and the levels of links between them."""

    name: str
    kind: str  # "cuda" or "cpu"
    hosts: int
    devices_per_host: int
    tflops: float  # of a device, at the precision and efficiency that are to be reckoned with
    memory_gb_per_s: float  # of a device
    links: tuple[Link, ...]  # from the innermost outwards; the last joins all
    copy_gb_per_s: float = 0.0  # within a device; 0: half of memory_gb_per_s, read and written
    memory_gib: float = 0.0  # of a device; 0: without limit
    ranks_per_host: int = 0  # 0: one for each device
    threads: int = 1  # of a CPU device
    cores: int = 0  # of a host, for its CPU devices; 0: one for each of their threads
    isa: str = "sm_90"  # of a CUDA device
    task_overhead_us: float = 4.0
    rank: int = 0  # whose plan is compiled
    # Of a CUDA device's memory: its context, kernels and libraries. The default is predicted.
    reserved_gib: float = 1.0

    def __post_init__(self) -> None:
        problem = _problem_of(self)
        if problem:
            raise Error(f"target {self.name!r}: {problem}", user_location())

    @classmethod
    def load(cls, path: str | os.PathLike[str], **changes: Any) -> Target:
        """Reads a JSON file of the fields above; `changes` replace some: `Target.load("h100.json", hosts=4)`.

        Error names the file, the entry and what it may be."""
        name = os.fspath(path)
        try:
            entries = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise Error(f"{name}: {error.strerror}", user_location()) from None
        except (ValueError, RecursionError) as error:
            raise Error(f"{name} is no JSON: {error}", user_location()) from None
        try:
            if not isinstance(entries, dict):
                raise ValueError("the file must hold one object, {...}")
            return cls(**{"name": Path(path).stem, **_fields_of(entries), **changes})
        except ValueError as error:
            raise Error(f"{name}: {error}", user_location()) from None
        except Error as error:
            raise Error(f"{name}: {error.message}", user_location()) from None

    def at(self, rank: int) -> Target:
        """The same machine, seen from another rank."""
        return dataclasses.replace(self, rank=rank)

    @property
    def num_devices(self) -> int:
        """Devices of all hosts."""
        return self.hosts * self.devices_per_host

    @property
    def num_ranks(self) -> int:
        """Processes of all hosts."""
        return self.hosts * (self.ranks_per_host or self.devices_per_host)

    def core(self, mesh: Mesh) -> _core.Target:
        """What the compiler takes; ShardingError if the mesh is not of so many devices of this kind."""
        if (mesh.kind, mesh.num_devices) != (self.kind, self.num_devices):
            raise ShardingError(
                f"the mesh ({mesh}) has {mesh.num_devices} {mesh.kind} devices and target {self.name!r} has "
                f"{self.num_devices} {self.kind} devices; make them equal, as in "
                f"flow.mesh({self.kind!r}, dp={self.num_devices}) or Target.load(path, hosts=..)",
                user_location(),
            )
        block = self.num_devices // self.num_ranks
        memory = ("memory", 1, 0, _mb(self.copy_gb_per_s or self.memory_gb_per_s / 2))
        return _core.Target.described(
            name=self.name,
            kind=self.kind,
            ranks=[device // block for device in range(self.num_devices)],
            threads=self.threads,
            cores=self.cores or self.devices_per_host * self.threads,
            memory_bytes=int(self.memory_gib * (1 << 30)),
            flops_per_us=max(1, int(self.tflops * 1e6)),
            bytes_per_us=_mb(self.memory_gb_per_s),
            isa=self.isa if self.kind == "cuda" else "",
            reserved_bytes=int(self.reserved_gib * (1 << 30)) if self.memory_gib else 0,
            task_overhead_ns=int(self.task_overhead_us * 1000),
            links=[
                memory,
                *(
                    (link.name, link.devices or 0, int(link.latency_us * 1000), _mb(link.gb_per_s))
                    for link in self.links
                ),
            ],
        )


def as_target(target: Target | str | os.PathLike[str]) -> Target:
    """A target as it is, a path read."""
    return target if isinstance(target, Target) else Target.load(target)


def _mb(gb_per_s: float) -> int:
    """Bytes in a microsecond."""
    return max(1, int(gb_per_s * 1000))


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}


def _entries_of(entries: Mapping[str, Any], of: type, where: str) -> dict[str, Any]:
    """Entries with the names and types of a dataclass's fields; ValueError says which is not."""
    fields = {field.name: str(field.type).partition(" ")[0] for field in dataclasses.fields(of)}
    for name, value in entries.items():
        if name not in fields:
            raise ValueError(f"{where} has no entry {name!r}; it has {', '.join(fields)}")
        wanted = _TYPES.get(fields[name])
        if wanted is not None and (isinstance(value, bool) or not isinstance(value, wanted)):
            raise ValueError(
                f"{name!r} of {where} must be of type {fields[name]}, got {json.dumps(value)}"
            )
    for field in dataclasses.fields(of):
        if (
            field.default is dataclasses.MISSING
            and field.name not in entries
            and field.name != "name"
        ):
            raise ValueError(f"{where} lacks the entry {field.name!r}")
    return dict(entries)


def _fields_of(entries: Mapping[str, Any]) -> dict[str, Any]:
    fields = _entries_of(entries, Target, "a target")
    links = fields["links"]
    if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
        raise ValueError(
            'links must be a list of objects, as in [{"name": "network", "latency_us": 5, "gb_per_s": 25}]'
        )
    fields["links"] = tuple(
        Link(**{"name": f"level{i + 1}", **_entries_of(link, Link, f"link {i + 1}")})
        for i, link in enumerate(links)
    )
    return fields


def _problem_of(target: Target) -> str:
    """What is wrong with the numbers; empty if nothing."""
    if target.kind not in ("cuda", "cpu"):
        return f'kind must be "cuda" or "cpu", got {target.kind!r}'
    counts = {"hosts": target.hosts, "devices_per_host": target.devices_per_host}
    counts |= {"threads": target.threads, "cores": target.cores or 1}
    for name, count in counts.items():
        if not 1 <= count <= MOST_DEVICES:
            return f"{name} must be from 1 to {MOST_DEVICES}, got {count}"
    if target.num_devices > MOST_DEVICES:
        return f"{target.num_devices} devices are more than {MOST_DEVICES}"
    ranks = target.ranks_per_host or target.devices_per_host
    if ranks < 1 or target.devices_per_host % ranks:
        return f"ranks_per_host must divide devices_per_host={target.devices_per_host}, got {ranks}"
    if not 0 <= target.rank < target.num_ranks:
        return f"rank must be from 0 to {target.num_ranks - 1}, got {target.rank}"
    if not re.fullmatch(r"sm_\d{2,3}", target.isa):
        return f'isa must be the name of an architecture, as "sm_90", got {target.isa!r}'
    rates = {"tflops": target.tflops, "memory_gb_per_s": target.memory_gb_per_s}
    rates |= {f"gb_per_s of link {link.name!r}": link.gb_per_s for link in target.links}
    for name, rate in rates.items():
        if not 0 < rate <= MOST_RATE:
            return f"{name} must be above 0 and at most {MOST_RATE:.0f}, got {rate}"
    if not 0 <= target.copy_gb_per_s <= MOST_RATE:
        return f"copy_gb_per_s must be from 0 to {MOST_RATE:.0f}, got {target.copy_gb_per_s}"
    times = {"task_overhead_us": target.task_overhead_us}
    times |= {f"latency_us of link {link.name!r}": link.latency_us for link in target.links}
    for name, time in times.items():
        if not 0 <= time <= 1e6:
            return f"{name} must be from 0 to 1000000, got {time}"
    if not 0 <= target.memory_gib <= 1 << 20:
        return f"memory_gib must be from 0 (no limit) to {1 << 20}, got {target.memory_gib}"
    if not 0 <= target.reserved_gib <= 1 << 20:
        return f"reserved_gib must be from 0 to {1 << 20}, got {target.reserved_gib}"
    return _problem_of_links(target)


def _problem_of_links(target: Target) -> str:
    if not target.links or target.links[-1].devices is not None:
        return "the last link joins all devices: it has no entry 'devices'"
    inner = 1
    for link in target.links[:-1]:
        if link.devices is None or link.devices <= inner or link.devices % inner:
            return (
                f"link {link.name!r} must join a multiple of the {inner} devices that the level inside it joins, "
                f"and more of them, got {link.devices}"
            )
        inner = link.devices
    return ""
