"""One job on all its hosts: started, watched, ended together, and started again if it may be.

An epoch is one start of all ranks. It ends when every rank has ended, one has failed, a host is lost or the user
wants it; then all ranks on all hosts are ended, and only when they are gone the next epoch begins, with a number
that the ranks of the last one do not have. What a rank of an old epoch still sends is refused by that number.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .blame import Ending, root_cause
from .hosts import Host, RemoteHost
from .job import GRACE_SECONDS, STOP_SECONDS
from .output import Console, say
from .program import Share

SETTLE_SECONDS = 3.0  # after the first failure, for the others to say what they saw
_QUICK_SETTLE_SECONDS = 0.3  # the same where the cause is known and the job starts again
_SIGNAL_SECONDS = 1.0  # between the first and the last host that a scheduler signals
_DOOR_SECONDS = 30.0  # for the first host to listen

# Exit codes of the launcher itself; else that of the rank that failed, 128 + its signal.
HOST_LOST = 69
CANNOT_START = 127
OUTPUT_GONE = 128 + signal.SIGPIPE


@dataclass(frozen=True)
class Outcome:
    """How an epoch ended."""

    code: int
    cause: str = ""  # of a failure: who and what
    who: str = ""  # of a failure: who
    stopped: int = 0  # ranks that ended only because of it
    may_restart: bool = False


class Coordinator:
    """Runs a job. Use from one thread."""

    def __init__(
        self,
        hosts: Sequence[Host],
        address: str,
        port: int,
        console: Console,
        max_restarts: int = 0,
        renew: Callable[[Host, Callable[[], bool]], bool] | None = None,
    ) -> None:
        self.hosts = hosts  # the first one has rank 0
        self.address = address  # where rank 0 listens, as that host knows it
        self.port = port
        self.console = console
        self.max_restarts = max_restarts
        self.renew = renew  # brings a lost host back, unless it is told to stop
        self.interrupted: int | None = None
        self._interrupts = 0
        self._restarts_left = max_restarts

    def interrupt(self, number: int) -> None:
        self._interrupts += 1
        self.interrupted = number

    def is_interrupted(self) -> bool:
        return self.interrupted is not None

    def run(self) -> int:
        """The whole job; returns its exit code. The last line says why it failed."""
        epoch = 0
        while True:
            outcome = self._run_epoch(epoch)
            if not outcome.may_restart or epoch == self.max_restarts or not self._bring_back():
                break
            epoch += 1
            self._restarts_left -= 1
            say(f"restart {epoch} of {self.max_restarts}, because of {outcome.cause}")
        self._dismiss(outcome)
        if epoch and outcome.cause:
            say(f"given up after {epoch} restart(s).")
        if outcome.stopped:
            say(f"{outcome.stopped} rank(s) stopped because {outcome.who} failed.")
        if outcome.cause:
            say(f"root cause: {outcome.cause}")
        elif self.interrupted is not None:
            say(f"interrupted by {signal.Signals(self.interrupted).name}; all ranks ended")
        elif outcome.code == OUTPUT_GONE:
            say("its output was closed; all ranks ended")
        return outcome.code

    def _run_epoch(self, epoch: int) -> Outcome:
        problem = self._start(epoch)
        if problem is None:
            self._watch()
            if self.interrupted == signal.SIGTERM or self._signalled():
                self._stop_in_order()
            problem = self._judge()
        self._end()
        return problem

    def _start(self, epoch: int) -> Outcome | None:
        first = self.hosts[0]
        if first.door() is None:
            first.listen(self.address, self.port)
        deadline = time.monotonic() + _DOOR_SECONDS
        while (door := first.door()) is None:
            if self._over() or time.monotonic() > deadline:
                return self._judge() if self._over() else self._lost(first, "it does not answer")
            time.sleep(0.02)
        world = sum(host.count for host in self.hosts)
        begin = 0
        for number, host in enumerate(self.hosts):
            host.start(Share(begin, host.count, world, number, epoch, *door))
            begin += host.count
        return None

    def _signalled(self) -> list[Host]:
        return [host for host in self.hosts if host.signalled()]

    def _stop_in_order(self) -> None:
        """Until all ranks have ended by themselves, for STOP_SECONDS at most, or until a second signal."""
        for host in self.hosts:
            if not host.lost():
                host.stop()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and not self.console.is_gone():
            for host in self.hosts:
                host.poll()
            if all(host.lost() or None not in host.codes() for host in self.hosts):
                return
            if self._interrupts > 1:
                return
            time.sleep(0.02)

    def _over(self) -> bool:
        """Something ends the job, whatever the ranks do."""
        return (
            self.interrupted is not None
            or self.console.is_gone()
            or any(host.unable() or host.lost() for host in self.hosts)
        )

    def _watch(self) -> None:
        """Until all are done, or one failed and the others have said what they saw. Nobody is ended here."""
        while True:
            for host in self.hosts:
                host.poll()
            codes = [code for host in self.hosts for code in host.codes()]
            if self.interrupted is not None or self.console.is_gone() or None not in codes:
                return
            if self._signalled() or any(host.unable() for host in self.hosts):
                return
            if any(codes) or self._over():
                self._settle()
                return
            time.sleep(0.02)

    def _settle(self) -> None:
        # The others notice by themselves; what they say helps to find who was first.
        first = [ending for host in self.hosts for ending in host.endings() if ending.failed]
        is_known = self._restarts_left > 0 and any(not ending.is_echo for ending in first)
        seconds = _QUICK_SETTLE_SECONDS if is_known else SETTLE_SECONDS
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            for host in self.hosts:
                host.poll()
            # A scheduler that ends the job signals every launcher; ours may come a moment after another's.
            is_early = time.monotonic() < begin + _SIGNAL_SECONDS
            if is_early and any(host.lost() for host in self.hosts) and not self.interrupted:
                time.sleep(0.02)
                continue
            if all(host.is_settled() or host.lost() for host in self.hosts):
                return
            time.sleep(0.02)

    def _judge(self) -> Outcome:
        for host in self.hosts:
            if why := host.unable():
                where = f" on host {host.name}" if host.name else ""
                return Outcome(CANNOT_START, f"ranks{where}: {why}", "it")
        endings = [ending for host in self.hosts for ending in host.endings()]
        # A scheduler signals the ranks together with their launcher, which hands the signal on.
        signals = {self.interrupted or 0, signal.SIGTERM if self._signalled() else 0} - {0}
        expected = {code for number in signals for code in (-number, 128 + number)}
        lost = [(host, why) for host in self.hosts if (why := host.lost())]
        if lost:  # it signals its ranks before it goes, and all ranks stop in order with these
            expected.add(128 + signal.SIGTERM)
        failed = [e for e in endings if e.failed and e.exit_code not in expected]
        lost += [
            (host, f"its launcher was ended by {host.signalled()}") for host in self._signalled()
        ]
        if any(not ending.is_echo for ending in failed):
            return self._failed(root_cause(endings), endings)
        if self.interrupted is not None:
            return Outcome(128 + self.interrupted)
        if lost:
            return self._lost(*lost[0])
        if failed:
            cause = root_cause(endings)
            for host in self.hosts:
                if not isinstance(host, RemoteHost) or host.name != cause.host:
                    continue
                if why := host.silence():
                    return self._lost(host, why)
            return self._failed(cause, endings)
        return Outcome(OUTPUT_GONE if self.console.is_gone() else 0)

    def _failed(self, cause: Ending, endings: list[Ending]) -> Outcome:
        code = cause.exit_code or next(e.exit_code for e in endings if e.exit_code)
        return Outcome(
            code if code > 0 else 128 - code,
            f"{cause.name()}: {cause.text()}",
            cause.name(),
            len(endings) - 1,
            may_restart=self.interrupted is None and not any(e.is_final for e in endings),
        )

    def _lost(self, host: Host, why: str) -> Outcome:
        name = f"host {host.name}"
        rest = sum(other.count for other in self.hosts if other is not host)
        hint = "the host, the network to it, or oneflow-launch there is gone; see whether it is up, then start again"
        return Outcome(
            HOST_LOST,
            f"{name}: {why}; {hint}",
            name,
            rest,
            may_restart=self.interrupted is None,
        )

    def _end(self) -> None:
        for host in reversed(self.hosts):  # this one waits for its ranks, so it comes last
            if not host.lost():
                host.end()
        deadline = time.monotonic() + 2 * GRACE_SECONDS
        while time.monotonic() < deadline:
            if all(host.is_clean() or host.lost() for host in self.hosts):
                return
            time.sleep(0.02)

    def _bring_back(self) -> bool:
        """Whether every host is there and has no rank left."""
        for host in self.hosts:
            if not host.lost():
                continue
            if self.renew is None:
                return False
            say(f"waits for host {host.name} to come back")
            if not self.renew(host, self.is_interrupted):
                return False
        return all(host.is_clean() for host in self.hosts)

    def _dismiss(self, outcome: Outcome) -> None:
        why = f"{outcome.who} failed" if outcome.who else ""
        if not why and self.interrupted is not None:
            why = "the launcher that leads the job was interrupted"
        for host in self.hosts:
            host.dismiss(outcome.code, why)
