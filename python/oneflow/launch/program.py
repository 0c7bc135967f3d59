"""What every rank runs, and which ranks of the job one host has. Data that travels between hosts as JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Program:
    """The program of every rank, and what becomes of its output on its host."""

    script: str
    arguments: list[str] = field(default_factory=list)
    module: bool = False  # SCRIPT is a module's name
    no_python: bool = False  # SCRIPT is a program
    log_dir: str = ""
    tee: dict[str, int] | int = (
        3  # streams for the console, 1 stdout + 2 stderr; by rank within the host
    )
    pin: bool = False  # each rank on cores of its own
    environment: dict[str, str] = field(default_factory=dict)  # beside that of the launcher
    folder: str = ""  # where it runs; "": where the launcher does

    def command(self) -> list[str]:
        if self.no_python:
            start = [self.script]
        elif self.module:
            start = [sys.executable, "-u", "-m", self.script]
        else:
            start = [sys.executable, "-u", self.script]
        return start + list(self.arguments)

    def streams_of(self, local_rank: int) -> int:
        """Which streams of a rank go to the console."""
        if isinstance(self.tee, int):
            return self.tee
        return self.tee.get(str(local_rank), 0)

    def log_of(self, rank: int) -> Path | None:
        return Path(self.log_dir) / f"rank{rank}.log" if self.log_dir else None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(entries: Mapping[str, Any]) -> Program:
        return Program(**entries)


@dataclass(frozen=True)
class Share:
    """The ranks of one host, in one epoch of the job."""

    first: int  # rank of its first process
    count: int
    world: int
    host: int  # number of the host
    epoch: int  # how often the job was restarted
    address: str  # where the ranks meet
    port: int
