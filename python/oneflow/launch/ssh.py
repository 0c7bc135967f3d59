"""Hosts reached through ssh: what stands in a host file, and the launcher of each host behind its pipe.

What the remote shell sees is a path to Python and fixed words; the program, its arguments and the job's secret go
through stdin. Where ssh, its connection or this launcher dies, the other end reads the end of its stdin, and ends
its ranks.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import guardian
from .hosts import RemoteHost
from .link import Link, Message
from .output import Emit, say

# The first line of a remote launcher; what a login prints before it is passed over.
GREETING = b"oneflow-launch: this is the launcher of a host, version 1\n"
_LINES_BEFORE_IT = 1000
# After a host was lost: by then its ranks have ended themselves (link.SILENCE_SECONDS and the grace).
_QUIET_SECONDS = 12.0
_HOST = re.compile(r"(?:[A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9._:][A-Za-z0-9._:-]*")


class HostFileError(Exception):
    """A list of hosts that cannot be used; the text says which line and why."""


@dataclass(frozen=True)
class Target:
    """One host of the list."""

    host: str  # as ssh takes it: "node1", "me@10.0.0.7", an alias of ~/.ssh/config
    slots: int | None = None  # ranks; None: as --nproc-per-node says
    port: int | None = None  # of ssh; None: as ssh thinks


def _target(host: str, slots: str, port: str, where: str) -> Target:
    if not _HOST.fullmatch(host):
        raise HostFileError(f"{where}: `{host}` is no name of a host")
    numbers = []
    for what, text, most in (("slots", slots, 1024), ("port", port, 65535)):
        if text and not (text.isdigit() and 1 <= int(text) <= most):
            raise HostFileError(f"{where}: {what}={text} is no number from 1 to {most}")
        numbers.append(int(text) if text else None)
    return Target(host, *numbers)


def parse_hosts(text: str) -> list[Target]:
    """`a,b:4,c`: a number behind a colon is how many ranks the host gets."""
    targets = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        host, _, slots = part.partition(":") if part.count(":") == 1 else (part, "", "")
        targets.append(_target(host, slots, "", "--hosts"))
    return _checked(targets, "--hosts")


def parse_hostfile(path: Path) -> list[Target]:
    """One host a line, as Open MPI and DeepSpeed write them: `name slots=4`, also `port=2222`; `#` begins a
    comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HostFileError(f"the host file {path} cannot be read: {error}") from None
    targets = []
    for number, line in enumerate(lines, start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        where = f"{path}:{number}"
        settings = {}
        for word in words[1:]:
            name, equals, value = word.partition("=")
            if not equals or name not in ("slots", "port") or not value or name in settings:
                raise HostFileError(f"{where}: `{word}` is neither slots=N nor port=N")
            settings[name] = value
        targets.append(
            _target(words[0], settings.get("slots", ""), settings.get("port", ""), where)
        )
    return _checked(targets, str(path))


def _checked(targets: list[Target], where: str) -> list[Target]:
    if not targets:
        raise HostFileError(f"{where}: no host stands there")
    names = [target.host for target in targets]
    for name in names:
        if names.count(name) > 1:
            raise HostFileError(f"{where}: {name} stands twice; give it more slots instead")
    return targets


def command(target: Target, ssh: str, python: str, module: str) -> list[str]:
    """The local command that runs a module of ours on that host."""
    port = [f"-p{target.port}"] if target.port else []
    # Nobody types a password here; a dead connection ends within 15 s whatever TCP thinks.
    options = ["-T", "-oBatchMode=yes", "-oConnectTimeout=10", "-oServerAliveInterval=5"]
    remote = f"exec {shlex.quote(python)} -u -m {module}"
    return [*shlex.split(ssh), *options, *port, "--", target.host, remote]


class SshHost(RemoteHost):
    """A host whose launcher runs behind an ssh of ours."""

    def __init__(self, target: Target, start: list[str], job: Message, emit: Emit) -> None:
        super().__init__(target.host, 0, emit)
        self.command = start
        self.address = ""  # of the host, as ssh's connection has it
        self._job = job
        self._process: subprocess.Popen[bytes] | None = None
        self._last_words = ""
        self._ready = threading.Event()

    def connect(self) -> None:
        own = os.getpid()
        self._ready.clear()
        self.forget()
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours alone
            preexec_fn=lambda: guardian.die_with(own, signal.SIGKILL),
        )
        process = self._process
        assert process.stdin and process.stdout and process.stderr
        self.link = Link(process.stdout, process.stdin, self.on_message)
        threading.Thread(target=self._greet, args=(process,), daemon=True).start()
        threading.Thread(target=self._read_errors, args=(process,), daemon=True).start()

    def _greet(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout and self.link
        link = self.link
        for _ in range(_LINES_BEFORE_IT):
            line = process.stdout.readline(1 << 16)
            if line == GREETING or not line:
                break
        link.begin()
        link.send(do="job", **self._job)

    def _read_errors(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr
        for line in iter(lambda: process.stderr.readline(1 << 16), b""):  # type: ignore[union-attr]
            text = line.decode(errors="replace").rstrip()
            if text:
                self._last_words = text
                print_of_host(self.name, text)

    def is_ready(self) -> bool:
        """Its launcher is there and knows the job."""
        return self._ready.is_set()

    def lost(self) -> str:
        why = super().lost()
        if why and self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(timeout=0.5)
                words = f": {self._last_words}" if self._last_words else ""
                if code == 255:
                    return f"ssh could not connect, or lost the connection{words}"
                return f"ssh ended with exit code {code}{words}"
        return why

    def _take(self, said: str, message: Message) -> None:
        if said == "ready":
            self.count = int(message["count"])
            self.address = str(message["address"])
            self._ready.set()
            return
        super()._take(said, message)

    def meeting_address(self) -> str:
        """Where rank 0 listens if this is the first host: the address by which ssh reached it, unless that
        was this machine's loopback by another name."""
        name = self.name.rpartition("@")[2]
        loopback = self.address.startswith("127.") or self.address == "::1"
        return self.address if self.address and not loopback else name

    def come_back(self, seconds: float, stop: Callable[[], bool]) -> bool:
        """Starts a lost host's launcher anew, once what was left there has ended itself."""
        self.leave(seconds=0.0)
        until = time.monotonic() + _QUIET_SECONDS
        while time.monotonic() < until:
            if stop():
                return False
            time.sleep(0.1)
        self.connect()
        why = gather([self], seconds, stop)
        if why:
            say(why)
        return not why

    def dismiss(self, code: int, text: str) -> None:
        super().dismiss(code, "")  # we say it ourselves

    def leave(self, seconds: float) -> None:
        """Waits until the other end has gone; then ssh goes as well."""
        if self.link is not None:
            self.link.close()
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            assert self._process.stdin
            self._process.stdin.close()
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def print_of_host(name: str, text: str) -> None:
    """A line that no rank has written."""
    if text.startswith("oneflow-launch: "):
        say(f"host {name}: {text.removeprefix('oneflow-launch: ')}")
    else:
        say(f"host {name}: {text}")


def gather(hosts: list[SshHost], seconds: float, stop: Callable[[], bool]) -> str:
    """Waits until every host is ready; else who is not, and why."""
    deadline = time.monotonic() + seconds
    while True:
        missing = [host for host in hosts if not host.is_ready()]
        if not missing:
            return ""
        if stop():
            return "interrupted while hosts were gathering"
        for host in missing:
            if why := host.unable() or host.lost():
                return f"host {host.name}: {why}"
        if time.monotonic() > deadline:
            names = ", ".join(host.name for host in missing)
            return f"host {names}: its launcher did not answer within {seconds:.0f} s"
        time.sleep(0.02)
