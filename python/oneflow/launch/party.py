"""The hosts of a job whose launchers come to the first one's door."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

from .admission import Door, Guest
from .hosts import Host, LocalHost, RemoteHost
from .output import say

_REPORT_SECONDS = 5.0
# After a host was lost: by then what was left there has ended itself (link.SILENCE_SECONDS and the grace).
_QUIET_SECONDS = 12.0


class _Expected(RemoteHost):
    """A host that comes by itself; while it is looked at, so is the door."""

    def __init__(self, name: str, look_at_door: Callable[[], None]) -> None:
        super().__init__(name, 0)
        self._look_at_door = look_at_door

    def poll(self) -> None:
        self._look_at_door()


class Party:
    """`hosts` is in the order of their numbers. Use from one thread."""

    def __init__(self, door: Door, job: str, local: LocalHost, count: int) -> None:
        self._door = door
        self._job = job
        self._patience = 0.0
        self._others = [_Expected(f"number {number}", self.turn_away) for number in range(1, count)]
        self.hosts: list[Host] = [local, *self._others]
        self._seen_names = {local.name: 0}

    def gather(self, seconds: float, stop: Callable[[], bool]) -> str:
        """Waits until all are there; else who is missing. Says so every 5 s."""
        self._patience = seconds
        begin = time.monotonic()
        next_report = begin + _REPORT_SECONDS
        while missing := [n for n, host in enumerate(self._others, 1) if host.lost()]:
            if stop():
                return "interrupted while hosts were gathering"
            try:
                self._admit(self._door.arrived.get(timeout=0.1))
            except queue.Empty:
                pass
            now = time.monotonic()
            numbers = ", ".join(map(str, missing))
            if now - begin > seconds:
                return (
                    f"host(s) {numbers} of {len(self.hosts)} did not come within {seconds:.0f} s; see whether "
                    "oneflow-launch was started there with the same --master-addr, --master-port and ONEFLOW_SECRET"
                )
            if now > next_report:
                next_report = now + _REPORT_SECONDS
                say(f"still waits for the launcher(s) of host(s) {numbers}")
        return ""

    def _admit(self, guest: Guest) -> None:
        hello, link = guest.hello, guest.link
        assert hello is not None and link is not None
        number, count = hello.get("host"), hello.get("count")
        why = ""
        if hello.get("hosts") != len(self.hosts):
            why = f"it has --nnodes {hello.get('hosts')}, and the first host has {len(self.hosts)}"
        elif not isinstance(number, int) or not 1 <= number < len(self.hosts):
            why = f"its --node-rank is {number}, and 1 to {len(self.hosts) - 1} are to come"
        elif not isinstance(count, int) or not 1 <= count <= 1024:
            why = f"it has {count} ranks"
        elif not self._others[number - 1].lost():
            why = f"host {number} is here already; every launcher needs its own --node-rank"
        if why:
            say(f"turned away a launcher on {hello.get('name')}: {why}")
            link.send(do="refuse", why=why)
            link.close()
            return
        assert isinstance(number, int) and isinstance(count, int)
        host = self._others[number - 1]
        host.forget()
        host.name, host.count, host.link = self._name(str(hello.get("name")), number), count, link
        guest.deliver_to(host.on_message)
        link.send(do="job", id=self._job)

    def _name(self, name: str, number: int) -> str:
        """Hosts of one name (containers, tests) are told apart by their number."""
        if self._seen_names.setdefault(name, number) != number:
            return f"{name} (number {number})"
        return name

    def turn_away(self) -> None:
        """Launchers that come while the job runs: a twin hears that it is one, who may be needed waits."""
        waiting = []
        while not self._door.arrived.empty():
            guest = self._door.arrived.get()
            number = (guest.hello or {}).get("host")
            if (
                isinstance(number, int)
                and 1 <= number < len(self.hosts)
                and self._others[number - 1].lost()
            ):
                waiting.append(guest)
            else:
                self._admit(guest)
        for guest in waiting:
            self._door.arrived.put(guest)

    def replace(self, host: Host, stop: Callable[[], bool]) -> bool:
        """Waits for a lost host's next launcher, as Kubernetes or Slurm starts one."""
        until = time.monotonic() + _QUIET_SECONDS
        while time.monotonic() < until and not stop():
            time.sleep(0.1)
        why = self.gather(self._patience, stop)
        return not why and not host.lost()

    def close(self) -> None:
        for host in self._others:
            if host.link is not None:
                host.link.close()
