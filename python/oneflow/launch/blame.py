"""Who was it: from how ranks ended and what they said of each other to the root cause."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ending:
    """How a rank ended, or that it has not, and what it wrote into its error file."""

    rank: int
    exit_code: int | None  # None: it still runs
    stopped: bool = False  # it exists but does not run (SIGSTOP), or did until it was given up
    time: float = 0.0
    report: dict[str, Any] = field(default_factory=dict)
    host: str = ""  # in a job of one host: empty

    @property
    def failed(self) -> bool:
        return bool(self.exit_code)

    @property
    def is_echo(self) -> bool:
        """True if the rank failed only because of another one."""
        return bool(self.report.get("peer"))

    @property
    def is_final(self) -> bool:
        """True if the job is not to be started again: another has taken its place."""
        return self.report.get("final") is True

    @property
    def blames(self) -> int | None:
        blamed = self.report.get("blames")
        return blamed if isinstance(blamed, int) else None

    def name(self) -> str:
        return f"rank {self.rank} on host {self.host}" if self.host else f"rank {self.rank}"

    def text(self) -> str:
        if self.report:
            where = f" at {self.report['location']}" if self.report.get("location") else ""
            return f"{self.report['type']}{where}: {self.report['message']}"
        if self.stopped:
            return (
                "stopped (SIGSTOP, a debugger, or a frozen container): it existed, but sent no heartbeat; "
                "see who stopped it, and start the job again"
            )
        if self.exit_code is None:
            return (
                "does not answer the other ranks, though it runs; see with py-spy or gdb where it stands, or "
                "raise ONEFLOW_PEER_SECONDS if it works alone for long"
            )
        if self.exit_code == 0:
            return (
                "ended with exit code 0 while other ranks still needed it "
                "(os._exit, sys.exit, or fewer steps than the others); let all ranks make the same steps"
            )
        if self.exit_code < 0:
            return f"killed by signal {-self.exit_code} {_of_signal(-self.exit_code)}"
        if self.exit_code == 128 + signal.SIGTERM:
            return "ended in order after SIGTERM: the scheduler took its host, or a person ended it"
        return f"exit code {self.exit_code}; what it wrote last says why"


def _of_signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"(signal {number})"
    hint = {
        "SIGKILL": " (out of memory, or killed by hand); see `dmesg`, and what the scheduler says of its limits",
        "SIGSEGV": "; a bug in native code: `python -X faulthandler` shows its Python line",
        "SIGABRT": "; what it wrote last says why",
        "SIGTERM": "; somebody ended it: the scheduler at its time limit, or a person",
    }.get(name, "")
    return f"({name}){hint}"


def root_cause(endings: list[Ending]) -> Ending:
    """The rank that the others followed. REQUIRES: a rank has failed."""
    failed = sorted((e for e in endings if e.failed), key=lambda e: e.time)
    for ending in failed:
        if not ending.is_echo:
            return ending
    # All point at somebody: follow them, as far as it goes.
    by_rank = {ending.rank: ending for ending in endings}
    ending = failed[0]
    seen = {ending.rank}
    while ending.blames is not None and ending.blames in by_rank and ending.blames not in seen:
        ending = by_rank[ending.blames]
        seen.add(ending.rank)
    return ending
