"""The hosts of a job as the coordinator sees them: the one that it runs on itself, and those behind a link."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .. import addresses
from .blame import Ending
from .job import Job
from .link import Link, Message
from .output import Emit
from .program import Program, Share

_SUSPICIOUS_SILENCE = 3.0  # of a host, when somebody must be to blame


class Host(Protocol):
    """A host of the job. Used from one thread; nothing here waits but `end` of this host itself."""

    name: str
    count: int  # of ranks

    def listen(self, address: str, port: int) -> None:
        """Asks for a socket at which rank 0 will listen; `door` has its address soon."""

    def door(self) -> tuple[str, int] | None: ...

    def start(self, share: Share) -> None: ...

    def poll(self) -> None: ...

    def codes(self) -> list[int | None]:
        """Exit codes of its ranks; None for those that run."""

    def is_settled(self) -> bool:
        """Every rank has ended or is stopped: none will say more."""

    def endings(self) -> list[Ending]:
        """One for each rank, as far as it is known."""

    def stop(self) -> None:
        """Tells its ranks to end in order."""

    def signalled(self) -> str:
        """The signal that ends its launcher once its ranks have ended; empty if there is none."""

    def end(self) -> None:
        """Ends all ranks there; `is_clean` is true soon."""

    def is_clean(self) -> bool: ...

    def unable(self) -> str:
        """Why ranks cannot be started there; empty if they can."""

    def lost(self) -> str:
        """Why the host is out of reach; empty while it is not."""

    def dismiss(self, code: int, text: str) -> None:
        """The job is over: its exit code, and what this host may say of it."""


class LocalHost:
    """The host of the coordinator."""

    def __init__(
        self, name: str, program: Program, count: int, folder: Path, launcher: int, emit: Emit
    ) -> None:
        self.name = name
        self.count = count
        self._program = program
        self._folder = folder
        self._launcher = launcher
        self._emit = emit
        self._listener: socket.socket | None = None
        self._door: tuple[str, int] | None = None
        self._job: Job | None = None
        self._unable = ""

    def listen(self, address: str, port: int) -> None:
        self.adopt(addresses.listen(addresses.own_address(address), port))

    def adopt(self, listener: socket.socket) -> None:
        self._listener = listener
        name = listener.getsockname()
        self._door = (name[0], name[1])

    def door(self) -> tuple[str, int] | None:
        return self._door

    def start(self, share: Share) -> None:
        listener, self._listener, self._door = self._listener, None, None
        self._job = Job(self._program, share, self._folder, listener, self._launcher, self._emit)
        try:
            self._job.start()
        except OSError as error:
            self._unable = f"cannot start `{self._program.script}`: {error}"

    def poll(self) -> None:
        if self._job is not None:
            self._job.poll()

    def codes(self) -> list[int | None]:
        return [rank.exit_code for rank in self._job.ranks] if self._job is not None else []

    def is_settled(self) -> bool:
        return self._job is None or all(rank.stopped for rank in self._job.running())

    def endings(self) -> list[Ending]:
        endings = self._job.endings() if self._job is not None else []
        for ending in endings:
            ending.host = self.name
        return endings

    def stop(self) -> None:
        if self._job is not None:
            self._job.stop()

    def signalled(self) -> str:
        return ""  # the coordinator is told itself

    def end(self) -> None:
        if self._job is not None:
            self._job.end()

    def is_clean(self) -> bool:
        return self._job is None or not self._job.running()

    def unable(self) -> str:
        return self._unable

    def lost(self) -> str:
        return ""

    def dismiss(self, code: int, text: str) -> None:
        pass


@dataclass
class _Seen:
    """What a host has said since its ranks were started."""

    door: tuple[str, int] | None = None
    endings: dict[int, Ending] | None = None
    clean: bool = False
    unable: str = ""
    gone: str = ""  # why it leaves the job
    signalled: str = ""


class RemoteHost:
    """A host behind a link. `emit` gets the lines of its ranks, if they come this way."""

    def __init__(self, name: str, count: int, emit: Emit | None = None) -> None:
        self.name = name
        self.count = count
        self.link: Link | None = None
        self._emit = emit
        self._lock = threading.Lock()
        self._seen = _Seen()

    def forget(self) -> None:
        """What it said before it was lost."""
        with self._lock:
            self._seen = _Seen(clean=True)

    def listen(self, address: str, port: int) -> None:
        self._send(do="listen", address=address, port=port)

    def door(self) -> tuple[str, int] | None:
        with self._lock:
            return self._seen.door

    def start(self, share: Share) -> None:
        with self._lock:
            numbers = range(share.first, share.first + share.count)
            self._seen = _Seen(endings={n: Ending(n, None, host=self.name) for n in numbers})
        self._send(do="start", share=vars(share))

    def poll(self) -> None:
        pass

    def codes(self) -> list[int | None]:
        return [ending.exit_code for ending in self.endings()]

    def is_settled(self) -> bool:
        return all(ending.exit_code is not None or ending.stopped for ending in self.endings())

    def endings(self) -> list[Ending]:
        with self._lock:
            return list((self._seen.endings or {}).values())

    def stop(self) -> None:
        self._send(do="stop")

    def signalled(self) -> str:
        with self._lock:
            return self._seen.signalled

    def end(self) -> None:
        self._send(do="end")

    def is_clean(self) -> bool:
        with self._lock:
            return self._seen.clean

    def unable(self) -> str:
        with self._lock:
            return self._seen.unable

    def lost(self) -> str:
        with self._lock:
            gone = self._seen.gone
        return gone or (self.link.lost() if self.link is not None else "it was never there")

    def silence(self) -> str:
        """Why the host may be to blame, though it does not count as lost yet."""
        seconds = self.link.silence() if self.link is not None else 0.0
        if seconds < _SUSPICIOUS_SILENCE:
            return ""
        return f"no sign of life for {seconds:.0f} s"

    def dismiss(self, code: int, text: str) -> None:
        self._send(do="quit", code=code, text=text)

    def on_message(self, message: Message) -> None:
        """Called on the link's thread."""
        said = message.get("said")
        if said == "line":
            if self._emit is not None:
                text = str(message["text"]).encode("utf-8", "surrogateescape")
                self._emit(int(message["rank"]), 2 if message["stream"] == 2 else 1, text)
            return
        with self._lock:
            self._take(str(said), message)

    def _take(self, said: str, message: Message) -> None:
        if said == "listening":
            self._seen.door = (str(message["address"]), int(message["port"]))
        elif said == "unable":
            self._seen.unable = str(message["why"])
        elif said == "clean":
            self._seen.clean = True
        elif said == "signalled":
            self._seen.signalled = str(message["signal"])
        elif said == "leaving":
            self._seen.gone = str(message["why"])
        elif said == "rank" and self._seen.endings is not None:
            number = int(message["rank"])
            if number not in self._seen.endings:
                raise ValueError(f"rank {number} is not there")
            code = message["code"]
            report = message["report"]
            self._seen.endings[number] = Ending(
                number,
                None if code is None else int(code),
                bool(message["stopped"]),
                time.time() - float(message["ago"]),
                report if isinstance(report, dict) else {},
                host=self.name,
            )

    def _send(self, **message: Any) -> None:
        if self.link is not None:
            self.link.send(**message)
