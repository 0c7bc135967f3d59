"""A host that does what the coordinator says over a link: it starts its ranks, tells how they fare, ends them.

It ends them by itself when the coordinator is out of reach, so that no rank outlives its job on any host.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from .. import addresses
from . import guardian
from .coordinator import HOST_LOST
from .job import STOP_SECONDS, Job
from .link import Link, Message
from .output import Emit, say
from .program import Program, Share

_LOOK_SECONDS = 0.2  # between two looks at which ranks are stopped


class Member:
    """The ranks of this host in somebody else's job. Use from one thread; `receive` may come from another."""

    def __init__(self, folder: Path, launcher: int, emit: Emit) -> None:
        self.folder = folder
        self.launcher = launcher
        self.emit = emit
        self.program: Program | None = None
        self.link: Link | None = None
        self.interrupted: int | None = None
        self._stop_by: float | None = None  # the job ends in order, because of `interrupted`
        self._inbox: queue.Queue[Message] = queue.Queue()
        self._listener: Any = None
        self._job: Job | None = None
        self._said: dict[int, tuple[int | None, bool]] = {}
        self._next_look = 0.0

    def receive(self, message: Message) -> None:
        self._inbox.put(message)

    def interrupt(self, number: int) -> None:
        if self._stop_by is not None:  # a second one does not wait
            self._stop_by = 0.0
        self.interrupted = number

    def serve(self, prepare: Callable[[Message], dict[str, Any]]) -> int:
        """Until the coordinator says that the job is over, or is out of reach; returns the exit code.
        `prepare` takes the message that says what the job is, and returns what to answer."""
        assert self.link is not None
        try:
            while True:
                message: Message = {}
                with contextlib.suppress(queue.Empty):
                    message = self._inbox.get(timeout=0.02)
                if message.get("do") == "quit":
                    return self._quit(int(message["code"]), str(message["text"]))
                if message.get("do") == "refuse":
                    say(f"root cause: the first host turned this launcher away: {message['why']}")
                    return HOST_LOST
                if message:
                    self._obey(message, prepare)
                self._tell()
                if self.interrupted is not None and not self._stops_in_order():
                    name = signal.Signals(self.interrupted).name
                    self.link.send(said="leaving", why=f"its launcher was ended by {name}")
                    return 128 + self.interrupted
                if message == {} and (why := self.link.lost()):
                    self._end()
                    say(
                        f"lost the launcher that leads the job ({why}), so all ranks of this host were ended; its "
                        "last lines say why"
                    )
                    return HOST_LOST
        finally:
            self._end()
            self.link.close()

    def _stops_in_order(self) -> bool:
        """Whether ranks are still on their way to the checkpoint behind which this host leaves the job. The
        coordinator tells all ranks of all hosts."""
        assert self.link is not None
        if self._job is None or not self._job.running() or self.interrupted != signal.SIGTERM:
            return False
        if self._stop_by is None:
            self._stop_by = time.monotonic() + STOP_SECONDS
            self.link.send(said="signalled", signal="SIGTERM")
        return time.monotonic() < self._stop_by

    def _quit(self, code: int, why: str) -> int:
        if code and why:
            say(f"all ranks of this host were ended because {why}; the first host says more")
        return code

    def _obey(self, message: Message, prepare: Callable[[Message], dict[str, Any]]) -> None:
        assert self.link is not None
        do = message.get("do")
        try:
            if do == "job":
                self.link.send(**prepare(message))
            elif do == "listen":
                address = addresses.own_address(str(message["address"]))
                self._listener = addresses.listen(address, int(message["port"]))
                name = self._listener.getsockname()
                self.link.send(said="listening", address=name[0], port=name[1])
            elif do == "start":
                self._start(Share(**message["share"]))
            elif do == "stop":
                if self._job is not None:
                    self._job.stop()
            elif do == "end":
                self._end()
                self.link.send(said="clean")
        except addresses.AddressError as error:
            self.link.send(said="unable", why=str(error))

    def _start(self, share: Share) -> None:
        assert self.program is not None and self.link is not None
        self._said = {}
        self._job = Job(self.program, share, self.folder, self._listener, self.launcher, self.emit)
        self._listener = None
        try:
            self._job.start()
        except OSError as error:
            self.link.send(said="unable", why=f"cannot start `{self.program.script}`: {error}")

    def _tell(self) -> None:
        """What is new of the ranks."""
        if self._job is None:
            return
        assert self.link is not None
        self._job.poll()
        look = time.monotonic() >= self._next_look
        if look:
            self._next_look = time.monotonic() + _LOOK_SECONDS
        for rank in self._job.ranks:
            known = self._said.get(rank.number, (None, False))
            state = (rank.exit_code, rank.stopped if look else known[1])
            if state == known:
                continue
            self._said[rank.number] = state
            ending = self._job.ending(rank)
            self.link.send(
                said="rank",
                rank=rank.number,
                code=ending.exit_code,
                stopped=ending.stopped,
                ago=max(0.0, time.time() - ending.time) if ending.time else 0.0,
                report=ending.report,
            )

    def _end(self) -> None:
        if self._job is not None:
            self._job.end()
            self._job = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None


def take_signals(interrupt: Callable[[int], None], launcher: int) -> None:
    """Signals that end a launcher, and the death of the process that the user started, which counts as SIGHUP."""

    def take(number: int, _frame: FrameType | None) -> None:
        orphaned = os.getppid() != launcher
        interrupt(signal.SIGHUP if orphaned else number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, take)
    guardian.die_with(launcher, signal.SIGTERM)


def write_secret(folder: Path, secret: bytes) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    file = os.open(folder / "secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(secret)
