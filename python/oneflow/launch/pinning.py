"""Cores of a host, shared out over its ranks: neighbours stay together, hyperthreads of a core too."""

from __future__ import annotations

import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")


def _node_of(folder: Path) -> int:
    for entry in folder.glob("node[0-9]*"):
        return int(entry.name[4:])
    return 0


def _place(cpu: int, cpus: Path) -> tuple[int, int, int, int]:
    """NUMA node, socket, core, number: cores that are near stand next to each other."""
    folder = cpus / f"cpu{cpu}"
    numbers = []
    for name in ("physical_package_id", "core_id"):
        try:
            numbers.append(int((folder / "topology" / name).read_text()))
        except (OSError, ValueError):
            numbers.append(0 if name == "physical_package_id" else cpu)
    return _node_of(folder), numbers[0], numbers[1], cpu


def shares(ranks: int, cpus: Path = _CPUS, usable: set[int] | None = None) -> list[set[int]]:
    """The cores of each rank: of those that this process may use (a scheduler may have narrowed them) equal
    contiguous shares. Whole cores, where there are enough; no shares at all where ranks outnumber what is there."""
    available = os.sched_getaffinity(0) if usable is None else usable
    ordered = sorted(available, key=lambda cpu: _place(cpu, cpus))
    if ranks > len(ordered):
        return [set(ordered) for _ in range(ranks)]
    cores: dict[tuple[int, int, int], list[int]] = {}
    for cpu in ordered:
        cores.setdefault(_place(cpu, cpus)[:3], []).append(cpu)
    units = list(cores.values()) if ranks <= len(cores) else [[cpu] for cpu in ordered]
    return [
        {
            cpu
            for unit in units[len(units) * r // ranks : len(units) * (r + 1) // ranks]
            for cpu in unit
        }
        for r in range(ranks)
    ]
