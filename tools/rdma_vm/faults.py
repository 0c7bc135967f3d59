"""Runs in the guest: the transport's tests over soft-RoCE, then pairs of ranks that real faults strike.

    python tools/rdma_vm/faults.py BUILD OUT [NAME...]

BUILD is the folder of the release build. A line of JSON for each case goes into the file OUT: its name, whether it
held, seconds and what was said. A case that is struck prints who was blamed and how long after. NAME: parts of names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOSTS = 4
# Of the two that have lost each other whoever notices first tells the other.
CUT = r"rdma by rxe[12]:1: transport retry counter exceeded \(status 12\)"
PORT = 29800


def sh(command: str) -> str:
    return subprocess.run(
        command, shell=True, check=True, capture_output=True, text=True, timeout=60
    ).stdout


@contextlib.contextmanager
def netem(what: str, hosts: int = HOSTS) -> Iterator[None]:
    """What the hosts send goes through this while the body runs."""
    for host in range(1, hosts + 1):
        sh(f"tc qdisc replace dev h{host} root netem limit 10000 {what}")
    try:
        yield
    finally:
        for host in range(1, hosts + 1):
            sh(f"tc qdisc del dev h{host} root")


def dropped() -> int:
    """Packets that netem has dropped so far."""
    return sum(int(count) for count in re.findall(r"dropped (\d+)", sh("tc -s qdisc show")))


def packets(device: str) -> int:
    """What a soft-RoCE device has sent so far."""
    return int(Path(f"/sys/class/infiniband/{device}/ports/1/hw_counters/sent_pkts").read_text())


class Rank:
    """A process of oneflow_comm_pair, its lines and when each came."""

    def __init__(self, command: list[str]) -> None:
        self.lines: list[tuple[float, str]] = []
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append((time.monotonic(), line.rstrip("\n")))

    def said(self, pattern: str) -> tuple[float, str] | None:
        return next(((at, line) for at, line in self.lines if re.search(pattern, line)), None)

    def wait_for(self, pattern: str, limit: float = 60) -> tuple[float, str]:
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if found := self.said(pattern):
                return found
            if self.process.poll() is not None and not self.thread.is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(
            f"no line with {pattern!r}; it said {[line for _, line in self.lines]}"
        )


@dataclasses.dataclass
class Pair:
    """Two ranks, each with its device."""

    build: Path
    path: str = "rdma"
    size: int = 64 << 10
    messages: int = 100
    prefix: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def __enter__(self) -> Pair:
        global PORT
        PORT += 1
        self.ranks = [
            Rank(
                [
                    *(*self.prefix[rank], str(self.build / "comm" / "oneflow_comm_pair")),
                    *(str(rank), f"127.0.0.1:{PORT}", self.path, f"rxe{rank + 1}"),
                    *(str(self.size), str(self.messages)),
                ]
            )
            for rank in range(2)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for rank in self.ranks:
            rank.process.kill()
            rank.process.wait()

    def done(self, limit: float = 120) -> str:
        """Both have sent, received and checked all; how they reached each other."""
        for rank in self.ranks:
            rank.wait_for(f"^done {self.messages}$", limit)
        return self.ranks[0].wait_for("^by ")[1]

    def struck(
        self, strike: Callable[[Pair], object], survivor: int, words: str
    ) -> tuple[float, str]:
        """Strikes while messages go; how long until the survivor has named the other, and its line."""
        for rank in self.ranks:
            rank.wait_for("^at 20$")
        strike(self)  # which takes its time in the guest
        begin = time.monotonic()
        at, line = self.ranks[survivor].wait_for("^(lost|done|wrong)", 30)
        assert re.search(rf"^lost \d+ rank {1 - survivor}: .*{words}", line), line
        return at - begin, line


def tests(build: Path, pattern: str, limit: float) -> str:
    """The transport's tests over the devices."""
    command = [
        str(build / "comm" / "oneflow_comm_test"),
        "--gtest_also_run_disabled_tests",
        f"--gtest_filter={pattern}",
    ]
    out = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    assert out.returncode == 0, out.stdout[-3000:]
    found = re.search(r"\[  PASSED  \] (\d+) tests", out.stdout)
    assert found and int(found[1]) > 0, out.stdout[-3000:]
    return f"{found[1]} tests"


ENDLESS = 1 << 30
SECOND_HOST = ("unshare", "--pid", "--fork", "--kill-child")
POOR = ("prlimit", "--memlock=65536", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class Cases:
    """What is run, in this order; a case returns its figures."""

    def __init__(self, build: Path) -> None:
        self.build = build

    def the_transports_tests(self) -> dict[str, object]:
        return {"said": tests(self.build, "DISABLED_Paths/*", 400)}

    def tests_with_loss(self) -> dict[str, object]:
        # But for 160 MB, which take minutes where packets are lost.
        with netem("loss 2% delay 1ms"):
            said = tests(self.build, "DISABLED_Paths/*-*AMessageIsThere*:*MessagesOfAChannel*", 400)
            return {"said": said, "dropped": dropped()}

    def _through(self, what: str) -> dict[str, object]:
        with netem(what, 2), Pair(self.build, messages=60) as pair:
            return {"said": pair.done(240), "dropped": dropped()}

    def loss_1(self) -> dict[str, object]:
        return self._through("loss 1%")

    def loss_5(self) -> dict[str, object]:
        return self._through("loss 5% delay 2ms")

    def duplicates(self) -> dict[str, object]:
        return self._through("duplicate 5%")

    def reordered(self) -> dict[str, object]:
        return self._through("delay 2ms reorder 80% 50%")

    def changed_bytes(self) -> dict[str, object]:
        return self._through("corrupt 1%")

    def a_short_break_is_no_loss(self) -> dict[str, object]:
        with Pair(self.build, messages=400) as pair:
            pair.ranks[0].wait_for("^at 20$")
            sh("ip link set b2 down")
            time.sleep(0.3)
            sh("ip link set b2 up")
            return {"said": pair.done(240)}

    def a_model_trained_by_rdma_has_the_bits_of_one_process(self) -> dict[str, object]:
        with tempfile.TemporaryDirectory() as folder:
            found = []
            for processes, path in ((1, "tcp"), (2, "rdma:rxe1")):
                out = Path(folder) / str(processes)
                out.mkdir()
                launcher = ["-m", "oneflow.launch", "--nproc-per-node", str(processes)]
                program = ["-m", "tests.e2e.rank_program", "mlp", "dp2", str(out)]
                subprocess.run(
                    [sys.executable, *launcher, *program],
                    cwd=ROOT,
                    env={**os.environ, "ONEFLOW_TRANSPORT": path, "OMP_NUM_THREADS": "1"},
                    check=True,
                    timeout=400,
                )
                for rank in range(processes):
                    with np.load(out / f"rank{rank}.npz") as values:
                        found.append({key: values[key].tobytes() for key in sorted(values)})
        assert found[0] == found[1] == found[2], "the bits differ"
        return {"said": f"{len(found[0])} arrays, the same bits", "packets": packets("rxe1")}

    def _lost(self, strike: Callable[[Pair], object], words: str) -> dict[str, object]:
        with Pair(self.build, messages=ENDLESS) as pair:
            seconds, line = pair.struck(strike, 0, words)
            return {"noticed_s": round(seconds, 2), "said": line}

    def a_killed_peer(self) -> dict[str, object]:
        return self._lost(lambda pair: pair.ranks[1].process.kill(), "it closed the connection")

    def a_stopped_peer(self) -> dict[str, object]:
        return self._lost(
            lambda pair: os.kill(pair.ranks[1].process.pid, signal.SIGSTOP), "no heartbeat|silent"
        )

    def a_link_that_goes_down(self) -> dict[str, object]:
        try:
            return self._lost(
                lambda pair: sh("ip link set b2 down"),
                CUT,
            )
        finally:
            sh("ip link set b2 up")

    def a_link_that_swallows_all(self) -> dict[str, object]:
        try:
            return self._lost(
                lambda pair: sh("tc qdisc replace dev h2 root netem loss 100%"),
                CUT,
            )
        finally:
            sh("tc qdisc del dev h2 root")

    def auto_takes_rdma_between_hosts(self) -> dict[str, object]:
        with Pair(self.build, path="auto", prefix=((), SECOND_HOST)) as pair:
            said = pair.done()
        assert said == "by rdma (rxe1:1 to rxe2:1)", said
        return {"said": said}

    def auto_takes_tcp_where_no_probe_comes(self) -> dict[str, object]:
        with netem("loss 100%", 2), Pair(self.build, path="auto", prefix=((), SECOND_HOST)) as pair:
            said = pair.done()
        # Where the address of the other's port has been forgotten there is not even a connection.
        assert re.match(r"by tcp \(.*(status 12|probe|cannot connect)", said), said
        return {"said": said}

    def auto_takes_tcp_where_a_port_is_down(self) -> dict[str, object]:
        sh("ip link set h2 down")
        try:
            with Pair(self.build, path="auto", prefix=((), SECOND_HOST)) as pair:
                said = pair.done()
        finally:
            sh("ip link set h2 up")
        assert re.match(r"by tcp \(.*rxe2:1 is not active", said), said
        return {"said": said}

    def memory_that_may_not_be_locked_goes_by_tcp(self) -> dict[str, object]:
        sh("chmod a+rw /dev/infiniband/uverbs*")
        with Pair(self.build, size=1 << 20, messages=20, prefix=(POOR, POOR)) as pair:
            said = pair.done()
            line = pair.ranks[0].wait_for("raise memlock")[1]
        return {"said": f"{said}; {line}"}


def main() -> int:
    build, out, *names = sys.argv[1:]
    sh(f"bash {HERE / 'hosts.sh'} {HOSTS}")
    cases = Cases(Path(build))
    failed = 0
    for name, case in vars(Cases).items():
        if name.startswith("_") or (names and not any(part in name for part in names)):
            continue
        begin = time.monotonic()
        record: dict[str, object] = {"name": name.replace("_", "-"), "held": True}
        try:
            record |= case(cases)
        except Exception as error:
            failed += 1
            record |= {"held": False, "said": str(error)[-3000:]}
        record["seconds"] = round(time.monotonic() - begin, 1)
        with open(out, "a") as sink:
            sink.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
