"""oneflow-launch doctor: is this host, or this cluster, fit for a job? Says what to mend before a job finds out.

oneflow-launch doctor                     this host
oneflow-launch doctor --hosts a,b,c       each host, and every pair: latency, bandwidth, clocks
oneflow-launch doctor --json              the same for a program
"""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import schedulers
from . import findings, ssh
from .findings import Finding
from .link import Link, Message

_ASK_SECONDS = 60.0
_CLOCK_SECONDS = 1.0  # nothing depends on clocks; logs of hosts that differ by more mislead people
_ALL_PAIRS_UP_TO = 8  # hosts; more are measured along a ring


class Unreachable(Exception):
    """A host that does not answer; the text says why."""


class Probed:
    """A host with a probe behind an ssh of ours."""

    def __init__(self, target: ssh.Target, command: list[str]) -> None:
        self.name = target.host
        self.host = target.host.rpartition("@")[2]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdin and self._process.stdout
        self._answers: queue.Queue[Message] = queue.Queue()
        self._link = Link(self._process.stdout, self._process.stdin, self._answers.put)
        self._errors: list[str] = []
        self._number = 0
        threading.Thread(target=self._greet, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()

    def _greet(self) -> None:
        assert self._process.stdout
        while self._process.stdout.readline(1 << 16) not in (ssh.GREETING, b""):
            pass  # what a login prints
        self._link.begin()

    def _read_errors(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._errors.append(line.decode(errors="replace").rstrip())

    def ask(self, question: str, **more: Any) -> Message:
        self._number += 1
        self._link.send(ask=question, number=self._number, **more)
        deadline = time.monotonic() + _ASK_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self._answers.get(timeout=0.1)
            except queue.Empty:
                if self._link.lost() and self._answers.empty():
                    self._process.wait(timeout=10)
                    time.sleep(0.1)  # for its last words
                    raise Unreachable("; ".join(self._errors[-3:]) or self._link.lost()) from None
                continue
            if answer.get("answers") != self._number:
                continue
            if "problem" in answer:
                raise Unreachable(str(answer["problem"]))
            return answer
        raise Unreachable(f"no answer within {_ASK_SECONDS:.0f} s")

    def clock_difference(self) -> float:
        """Its clock minus ours, by the question that came back soonest."""
        best = (float("inf"), 0.0)
        for _ in range(7):
            begin = time.time()
            there = float(self.ask("time")["time"])
            trip = time.time() - begin
            best = min(best, (trip, there - begin - trip / 2))
        return best[1]

    def close(self) -> None:
        self._link.close()
        self._process.kill()
        self._process.wait()


def _pairs(count: int) -> list[tuple[int, int]]:
    if count <= _ALL_PAIRS_UP_TO:
        return [(a, b) for a in range(count) for b in range(count) if a != b]
    return [(a, (a + 1) % count) for a in range(count)]


def _measure(source: Probed, target: Probed) -> dict[str, Any]:
    pair: dict[str, Any] = {"from": source.name, "to": target.name}
    try:
        door = target.ask("listen", address="")
    except Unreachable:
        # Without ssh's word for it, the name of the host must do.
        door = target.ask("listen", address=target.host)
    try:
        where = {name: door[name] for name in ("address", "port", "token")}
        answer = source.ask("measure", **where)
        pair.update({name: answer[name] for name in ("latency_us", "megabytes_per_s")})
    except Unreachable as problem:
        pair["problem"] = f"{door['address']}:{door['port']}: {problem}"
    return pair


def _look_at_cluster(targets: list[ssh.Target], options: argparse.Namespace) -> dict[str, Any]:
    python = options.remote_python or sys.executable
    hosts = [
        Probed(target, ssh.command(target, options.ssh, python, "oneflow.launch.probe"))
        for target in targets
    ]
    found: dict[str, list[Finding]] = {}
    clocks: dict[str, float] = {}
    try:
        for host in hosts:
            try:
                answer = host.ask("look", port=options.master_port)
                found[host.name] = [Finding(**each) for each in answer["findings"]]
                clocks[host.name] = host.clock_difference()
            except Unreachable as problem:
                advice = f"`ssh {host.name} true` must work without a password, and oneflow be installed there"
                found[host.name] = [Finding("ssh", "fail", str(problem), advice)]
        reached = [host for host in hosts if host.name in clocks]
        pairs = [_measure(reached[a], reached[b]) for a, b in _pairs(len(reached))]
    finally:
        for host in hosts:
            host.close()
    return {
        "hosts": {name: [asdict(each) for each in list_] for name, list_ in found.items()},
        "pairs": pairs,
        "cluster": [asdict(each) for each in _compare(found, clocks, pairs)],
    }


def _compare(
    found: dict[str, list[Finding]], clocks: dict[str, float], pairs: list[dict[str, Any]]
) -> list[Finding]:
    """What only shows when hosts stand side by side."""
    compared = []
    for name in ("oneflow", "core", "numpy", "python"):
        values = {
            host: each.value.split(" ")[0]
            for host in clocks
            for each in found[host]
            if each.name == name
        }
        if len(set(values.values())) > 1:
            listed = ", ".join(f"{host}: {value}" for host, value in values.items())
            status = "fail" if name in ("oneflow", "core") else "warn"
            compared.append(Finding(name, status, listed, "install the same version on all hosts"))
    if clocks:
        spread = max(clocks.values()) - min(clocks.values())
        value = f"{spread * 1e3:.1f} ms between the hosts"
        late = spread > _CLOCK_SECONDS
        advice = "let chrony or ntpd set the clocks; times in logs mislead" if late else ""
        compared.append(Finding("clocks", "warn" if late else "ok", value, advice))
    for pair in pairs:
        if "problem" in pair:
            value = f"{pair['from']} -> {pair['to']}: {pair['problem']}"
            advice = "open the ports between the hosts (firewall, security group); ranks listen on free ones"
            compared.append(Finding("connection", "fail", value, advice))
    rates = [pair["megabytes_per_s"] for pair in pairs if "megabytes_per_s" in pair]
    for pair in pairs:
        if "megabytes_per_s" in pair and pair["megabytes_per_s"] < max(rates) / 4:
            value = f"{pair['from']} -> {pair['to']}: {pair['megabytes_per_s']} MB/s, the best pair has {max(rates)}"
            compared.append(Finding("slow link", "warn", value, "see cable, port and route"))
    return compared


def _print(report: dict[str, Any]) -> None:
    def show(title: str, each: list[dict[str, str]]) -> None:
        print(title)
        for finding in each:
            print(f"  {finding['status']:4} {finding['name']:16} {finding['value']}")
            if finding["advice"]:
                print(f"       {'':16} -> {finding['advice']}")

    for name, each in report["hosts"].items():
        show(f"host {name}", each)
    for pair in report["pairs"]:
        if "latency_us" in pair:
            print(
                f"{pair['from']} -> {pair['to']}: {pair['latency_us']} us one way, {pair['megabytes_per_s']} MB/s"
            )
    if report["cluster"]:
        show("cluster", report["cluster"])


def main(arguments: list[str]) -> int:
    """Looks and reports; 1 if a job would not run."""
    parser = argparse.ArgumentParser(
        prog="oneflow-launch doctor", description="Is this host, or this cluster, fit for a job?"
    )
    parser.add_argument("--hosts", help="hosts reached by ssh: a,b,c")
    parser.add_argument("--hostfile", type=Path, help="the same in a file")
    parser.add_argument("--ssh", default="ssh", help="how to reach them")
    parser.add_argument("--remote-python", help="Python of the other hosts")
    parser.add_argument("--master-port", type=int, default=schedulers.DEFAULT_PORT)
    parser.add_argument("--json", action="store_true", help="for a program")
    options = parser.parse_args(arguments)
    try:
        targets = ssh.parse_hosts(options.hosts) if options.hosts else []
        targets = ssh.parse_hostfile(options.hostfile) if options.hostfile else targets
    except ssh.HostFileError as error:
        parser.error(str(error))
    if targets:
        report = _look_at_cluster(targets, options)
    else:
        own = [asdict(each) for each in findings.look(options.master_port)]
        report = {"hosts": {"this host": own}, "pairs": [], "cluster": []}
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        _print(report)
    every = [each for list_ in report["hosts"].values() for each in list_] + report["cluster"]
    return int(any(each["status"] == "fail" for each in every))
