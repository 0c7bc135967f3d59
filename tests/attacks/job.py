"""A job of two ranks under attack: its processes, what they print, and when they end."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.attacks import wire

LIMIT = 90.0  # seconds until anything counts as hanging

# Trains two steps before it says so: by then both ranks run the plan.
PROGRAM = """
import os, sys, signal, threading, time
import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

steps, fault = int(sys.argv[1]), sys.argv[2]
model = nn.Linear(64, 64)
optimizer = flow.optim.SGD(model.parameters(), lr=0.1)

@flow.train_step(model=model, optimizer=optimizer, mesh=flow.mesh("cpu", dp=2))
def step(x, y):
    return F.cross_entropy(model(x), y)

x, y = np.ones((4, 64), np.float32), np.arange(4)
for i in range(steps):
    loss = float(step(x, y)["loss"])
    if i == 2:
        print("running", flow.rank(), os.getpid(), flush=True)
    if i == 3 and flow.rank() == 1:  # both have said so: step 3 needs what rank 0 sends after it
        exec(fault)
    if steps > 1000:
        time.sleep(0.001)
print("loss", loss.hex(), flush=True)
"""

# Finds the other rank and says something to it, nothing more.
GREETING = """
from oneflow import environment

said = environment.transport().all_gather(b"rank %d" % environment.rank())
print(b", ".join(said).decode(), flush=True)
"""


def free_port() -> int:
    """Below those that the kernel hands out: it gives such a one to another test before rank 0 listens there."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Process:
    """A process of the job, its output read as it comes."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=arguments, daemon=True)
            for arguments in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: object, lines: list[str]) -> None:
        for line in stream:  # type: ignore[attr-defined]
            lines.append(line.rstrip("\n"))

    def wait_for(self, words: str, count: int = 1) -> list[str]:
        """The lines of stdout with these words, once there are so many."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            found = [line for line in self.out if words in line]
            if len(found) >= count:
                return found
            assert self.process.poll() is None or time.monotonic() < self.begin + LIMIT
            if self.process.poll() is not None and len(found) < count:
                self._finish_reading()
                found = [line for line in self.out if words in line]
                assert len(found) >= count, f"it ended first: {self.err}"
                return found
            time.sleep(0.01)
        raise AssertionError(f"`{words}` never came: {self.out} {self.err}")

    def end(self) -> int:
        """Its exit code. Hangs for at most LIMIT, which is a failure."""
        code = self.process.wait(timeout=LIMIT)
        self._finish_reading()
        return code

    def _finish_reading(self) -> None:
        for reader in self._readers:
            reader.join(timeout=5)

    def text(self) -> str:
        return "\n".join([*self.out, *self.err])


class Job:
    """Two ranks, started one by one as an attack wants it. Use as a context: at its end nothing is left."""

    def __init__(self, secret: bytes | None = None, path: str = "auto") -> None:
        self.path = path  # ONEFLOW_TRANSPORT of the ranks
        self._folder = tempfile.TemporaryDirectory(prefix="oneflow-attack-")
        self.folder = Path(self._folder.name)
        self.secret = secrets.token_bytes(32) if secret is None else secret
        (self.folder / "secret").write_bytes(self.secret)
        self.port = free_port()
        self.processes: list[Process] = []
        self._closing: list[Callable[[], None]] = []

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        for close in self._closing:
            close()
        for process in self.processes:
            if process.process.poll() is None:
                os.kill(process.process.pid, signal.SIGKILL)
                process.process.wait()
        self._folder.cleanup()

    def at_end(self, close: Callable[[], None]) -> None:
        self._closing.append(close)

    def claim(self, **fields: object) -> wire.Claim:
        """What an attacker who knows the secret says."""
        return wire.Claim(self.secret, self.folder.name, **fields)  # type: ignore[arg-type]

    def rank(
        self, rank: int, program: str, *arguments: str, port: int | None = None, world: int = 2
    ) -> Process:
        env = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port or self.port),
            "ONEFLOW_JOB_DIR": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "ONEFLOW_TRANSPORT": self.path,
        }
        process = Process([sys.executable, "-c", program, *arguments], env)
        self.processes.append(process)
        return process

    def launched(self, *arguments: str, ranks: int = 2, program: str = PROGRAM) -> Process:
        """The launcher with both ranks."""
        path = self.folder / "program.py"
        path.write_text(program)
        command = [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", str(ranks)]
        process = Process(
            [*command, str(path), *arguments],
            {"OMP_NUM_THREADS": "1", "ONEFLOW_TRANSPORT": self.path},
        )
        self.processes.append(process)
        return process

    def dial(self) -> socket.socket:
        """A connection to rank 0, once it listens."""
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                connection = wire.dial(self.port)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "rank 0 never listened"
                time.sleep(0.01)
        self.at_end(connection.close)
        return connection
