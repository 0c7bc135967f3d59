"""Four network namespaces as hosts h1 to h4, 10.50.0.1 to .4, on one bridge. A context: at its end nothing is left.

Each has its own name, its own /etc/hosts (which, as Debian does, gives the host's own name a loopback address) and,
for root, an sshd. Processes of a host are seen from outside under their pids.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = [sys.executable, "-m", "oneflow.launch"]
LIMIT = 60.0
_AS_ROOT = os.geteuid() == 0
SSHD = ROOT / ".venv" / "sshd"  # unpacked by ./dev setup


@functools.cache
def why_not() -> str:
    """Why this machine has no namespaces; empty if it has."""
    missing = [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)} here"
    tried = subprocess.run(["unshare", "-Urnm", "true"], capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else ""


def environment() -> dict[str, str]:
    """A copy of this process's. Where jobs are started from several threads, pytest's own sets and removes a variable
    for each test meanwhile, and a copy that meets it is made again."""
    while True:
        with contextlib.suppress(KeyError, RuntimeError):
            return dict(os.environ)


def why_no_sshd() -> str:
    if not _AS_ROOT:
        return "a real sshd with namespaces needs root"
    return "" if (SSHD / "usr/sbin/sshd").exists() else f"no sshd in {SSHD} (./dev setup test)"


needs_namespaces = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
needs_sshd = pytest.mark.skipif(
    bool(why_not() or why_no_sshd()), reason=why_not() or why_no_sshd() or "-"
)

DISK_BYTES = 2 << 20


class Cluster:
    def __init__(self, hosts: int = 4, seconds: int = 1000) -> None:
        """It goes after so many seconds, should nobody be left to end it."""
        self.count = hosts
        self._seconds = seconds
        self._folder = tempfile.TemporaryDirectory(prefix="oneflow-cluster-")
        self.folder = Path(self._folder.name)
        self._holders: list[subprocess.Popen[bytes]] = []
        self._started: list[subprocess.Popen[str]] = []
        self._base = self._hold(["unshare", *([] if _AS_ROOT else ["-U", "-r"]), "-nm"])
        self.disk = self.folder / "disk"  # a small one, which all hosts see and nobody else
        self.disk.mkdir()
        script = [
            "mount --make-rprivate /",
            f"mount -t tmpfs -o size={DISK_BYTES} none {self.disk}",
            "ip link set lo up",
            "ip link add br0 type bridge",
            "ip link set br0 up",
        ]
        self._enter_base("; ".join(script))
        self.pids = []
        for number in range(1, hosts + 1):
            holder = self._hold([*self._nsenter(self._base.pid, "-n", "-m"), "unshare", "-nmu"])
            self.pids.append(holder.pid)
            self._enter_base(
                f"ip link add v{number} type veth peer name eth0 netns {holder.pid} && "
                f"ip link set v{number} master br0 && ip link set v{number} up"
            )
            names = "".join(f"10.50.0.{n} h{n}\n" for n in range(1, hosts + 1) if n != number)
            own = self.folder / f"hosts{number}"
            own.write_text(f"127.0.0.1 localhost\n127.0.1.1 h{number}\n{names}")
            self.check(
                number,
                f"hostname h{number}; ip link set lo up; ip addr add 10.50.0.{number}/24 dev eth0; "
                f"ip link set eth0 up; mount --bind {own} /etc/hosts",
            )

    def _hold(self, command: list[str]) -> subprocess.Popen[bytes]:
        """A process that keeps namespaces alive, once it has them."""
        ready = self.folder / f"ready{len(self._holders)}"
        holder = subprocess.Popen(
            [*command, "sh", "-c", f"touch {ready}; exec sleep {self._seconds}"],
            stdin=subprocess.DEVNULL,
        )
        self._holders.append(holder)
        deadline = time.monotonic() + LIMIT
        while not ready.exists():
            assert holder.poll() is None and time.monotonic() < deadline, command
            time.sleep(0.005)
        return holder

    @staticmethod
    def _nsenter(pid: int, *kinds: str) -> list[str]:
        user = [] if _AS_ROOT else ["-U", "--preserve-credentials"]
        return ["nsenter", "-t", str(pid), *user, *kinds, f"--wd={ROOT}", "--"]

    def _enter_base(self, script: str) -> None:
        subprocess.run(
            [*self._nsenter(self._base.pid, "-n", "-m"), "sh", "-ec", script], check=True
        )

    def on(self, number: int) -> list[str]:
        """The words that put a command onto host h<number>."""
        return self._nsenter(self.pids[number - 1], "-n", "-m", "-u")

    def check(self, number: int, script: str) -> str:
        ran = subprocess.run(
            [*self.on(number), "sh", "-ec", script], check=True, capture_output=True, text=True
        )
        return ran.stdout

    def start(self, number: int, command: list[str], **env: str) -> subprocess.Popen[str]:
        """A command on a host; its stdout and stderr go into one file, `output_of`."""
        log = self.folder / f"log{len(self._started)}"
        with open(log, "w") as out:
            process = subprocess.Popen(
                [*self.on(number), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**environment(), "OMP_NUM_THREADS": "1", **env},
                text=True,
            )
        process.log = log  # type: ignore[attr-defined]
        self._started.append(process)
        return process

    def plug(self, number: int, state: str) -> None:
        """Cuts a host off (`down`), or connects it again (`up`)."""
        self._enter_base(f"ip link set v{number} {state}")

    def serve_ssh(self, number: int) -> str:
        """An sshd on that host; returns the words for --ssh."""
        key, server = self.folder / "key", self.folder / "server_key"
        for path in (key, server):
            if not path.exists():
                subprocess.run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True
                )
        passwd = self.folder / "passwd"
        users = Path("/etc/passwd").read_text()
        if not any(line.startswith("sshd:") for line in users.splitlines()):
            users += "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
        passwd.write_text(users)
        self.check(
            number,
            f"mount -t tmpfs run /run; mkdir -m 755 /run/sshd; mount --bind {passwd} /etc/passwd",
        )
        settings = {
            "ListenAddress": f"10.50.0.{number}",
            "HostKey": str(server),
            "AuthorizedKeysFile": f"{key}.pub",
            "StrictModes": "no",
            "UsePAM": "no",
            "PermitRootLogin": "yes",
            "PidFile": "none",
        }
        words = [f"-o{name}={value}" for name, value in settings.items()]
        library = str(SSHD / "usr/lib/x86_64-linux-gnu")
        sshd = [str(SSHD / "usr/sbin/sshd"), "-D", "-e", "-f", "/dev/null", *words]
        self.start(number, sshd, LD_LIBRARY_PATH=library)
        known = self.folder / "known_hosts"
        return (
            f"ssh -F /dev/null -i {key} -oStrictHostKeyChecking=no -oUserKnownHostsFile={known} "
            "-oLogLevel=ERROR"
        )

    def wait_for_ssh(self, number: int, *, from_host: int) -> None:
        """Until it listens."""
        probe = f"import socket; socket.create_connection(('10.50.0.{number}', 22), 5)"
        deadline = time.monotonic() + LIMIT
        while subprocess.run(
            [*self.on(from_host), sys.executable, "-c", probe], capture_output=True
        ).returncode:
            assert time.monotonic() < deadline, "sshd never came"
            time.sleep(0.1)

    def processes(self, number: int) -> dict[int, str]:
        """Command lines of the processes that live on a host, but for the one that keeps it."""
        own = os.stat(f"/proc/{self.pids[number - 1]}/ns/net").st_ino
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == self.pids[number - 1]:
                continue
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}/ns/net").st_ino == own:
                    line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ")
                    if line and b"sshd" not in line:
                        found[int(entry)] = line.decode(errors="replace").strip()
        return found

    def assert_nothing_runs(self, *numbers: int) -> None:
        deadline = time.monotonic() + LIMIT
        for number in numbers or range(1, self.count + 1):
            while left := self.processes(number):
                assert time.monotonic() < deadline, f"left on h{number}: {left}"
                time.sleep(0.05)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(1, len(self.pids) + 1):
            for pid in self.processes(number):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in [*self._started, *reversed(self._holders)]:
            process.kill()
            process.wait()
        self._folder.cleanup()


def output_of(process: subprocess.Popen[str]) -> str:
    return process.log.read_text()  # type: ignore[attr-defined, no-any-return]


def wait_for(process: subprocess.Popen[str], words: str, count: int = 1) -> str:
    deadline = time.monotonic() + LIMIT
    while output_of(process).count(words) < count:
        assert process.poll() is None and time.monotonic() < deadline, output_of(process)
        time.sleep(0.02)
    return output_of(process)


def end(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Its exit code and its lines."""
    code = process.wait(timeout=LIMIT)
    return code, output_of(process).strip().splitlines()
