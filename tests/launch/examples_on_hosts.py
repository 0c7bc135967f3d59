"""The example programs under the layouts of tests/e2e, in one process and in several, on one host and on many.

One oracle: the loss of every step and the file of final parameters are those of the one-process run of the same
layout, to the bit. Where the search may choose other layouts for another number of processes (docs/launch.md, "The
same bits"), the jobs follow the decisions that the one-process run saved.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.layouts import LAYOUTS, Layout
from tests.launch.cluster import LAUNCH, ROOT, Cluster, end

LIMIT = 240.0
SECRET = "3c" * 32

# What makes each example small, and where its weights come to lie in the folder of --save.
_TEXT = ["--steps", "6", "--context", "16", "--width", "32", "--heads", "4"]
OPTIONS = {
    "resnet": ["--steps", "6", "--lr", "0.05"],
    "bert": [*_TEXT, "--files", "10", "--vocabulary", "200"],
    "gpt": [*_TEXT, "--write", "0"],
}
WEIGHTS = {"resnet": "", "bert": "model.safetensors", "gpt": "model.safetensors"}
BATCH = {"resnet": "--batch-size", "bert": "--batch", "gpt": "--batch"}

# A layout of fewer devices than processes cannot be: these are `dp2` and `dp3` for four.
ALL = [*LAYOUTS, Layout("dp4", {"dp": 4}), Layout("dp4_uneven", {"dp": 4}, batch=7)]
BY_NAME = {layout.name: layout for layout in ALL}


@dataclass(frozen=True)
class Case:
    """An example under a layout in several processes, all on one host or each on one of its own."""

    example: str
    layout: str
    processes: int
    hosts: bool

    def __str__(self) -> str:
        return f"{self.example} {self.layout} {self.processes} {'hosts' if self.hosts else 'processes'}"


def devices(layout: Layout) -> int:
    count = 1
    for size in layout.axes.values():
        count *= size
    return count


def cases() -> list[Case]:
    """All: every layout in 2, 3 and 4 processes where its devices can be dealt to so many."""
    return [
        Case(example, layout.name, processes, hosts)
        for example in OPTIONS
        for layout in ALL
        for processes in (2, 3, 4)
        if devices(layout) % processes == 0
        for hosts in (False, True)
    ]


def follows_decisions(layout: Layout) -> bool:
    """Whether the search has a choice that depends on the links between processes."""
    return "tp" in layout.axes or layout.accumulate > 1


@dataclass
class Result:
    losses: str  # a line for each step
    weights: bytes


class Bench:
    """Runs cases in a folder; the one-process run of an example under a layout is made once."""

    def __init__(self, folder: Path, cluster: Cluster | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.cluster = cluster
        self._alone: dict[tuple[str, str], Result] = {}

    def _command(self, example: str, layout: Layout, name: str) -> list[str]:
        mesh = ",".join(f"{axis}={size}" for axis, size in layout.axes.items())
        command = [f"examples/{example}/train.py", *OPTIONS[example], "--mesh", mesh]
        command += ["--accumulate", str(layout.accumulate), BATCH[example], str(layout.batch)]
        return [*command, "--save", str(self.folder / name), "--log", f"{self.folder / name}.log"]

    def _decisions(self, example: str, layout: Layout) -> str:
        return str(self.folder / f"{example}-{layout.name}.decisions")

    def _result(self, example: str, name: str) -> Result:
        log = (self.folder / f"{name}.log").read_text()
        weights = (self.folder / name / WEIGHTS[example]).read_bytes()
        assert log.count("\n") == 6 and len(weights) > 10_000, (name, log)
        return Result(log, weights)

    def alone(self, example: str, layout: Layout) -> Result:
        """In one process, without the launcher."""
        key = (example, layout.name)
        if key not in self._alone:
            name = f"{example}-{layout.name}-alone"
            command = self._command(example, layout, name)
            command += ["--save-decisions", self._decisions(example, layout)]
            _run([sys.executable, *command])
            self._alone[key] = self._result(example, name)
        return self._alone[key]

    def run(self, case: Case) -> Result:
        """As the case says."""
        layout = BY_NAME[case.layout]
        name = str(case).replace(" ", "-")
        command = self._command(case.example, layout, name)
        if follows_decisions(layout):
            command += ["--decisions", self._decisions(case.example, layout)]
        if not case.hosts:
            _run([*LAUNCH, "--nproc-per-node", str(case.processes), *command])
        else:
            self._run_on_hosts(case.processes, command)
        return self._result(case.example, name)

    def _run_on_hosts(self, hosts: int, command: list[str]) -> None:
        assert self.cluster is not None
        launch = [*LAUNCH, "--nnodes", str(hosts), "--master-addr", "h1", "--nproc-per-node", "1"]
        jobs = [
            self.cluster.start(
                rank + 1,
                [*launch, "--node-rank", str(rank), *command],
                ONEFLOW_SECRET=SECRET,
                ONEFLOW_TRANSPORT="tcp",  # namespaces of one machine could share memory
            )
            for rank in range(hosts)
        ]
        for job in jobs:
            code, lines = end(job)
            assert code == 0, "\n".join(lines[-30:])
        self.cluster.assert_nothing_runs()

    def difference(self, case: Case) -> str:
        """Empty, or how the case differs from the run in one process."""
        alone, several = self.alone(case.example, BY_NAME[case.layout]), self.run(case)
        if alone.losses != several.losses:
            pairs = zip(alone.losses.splitlines(), several.losses.splitlines(), strict=True)
            return f"{case}: other losses: " + "; ".join(f"{a} {b}" for a, b in pairs if a != b)
        return "" if alone.weights == several.weights else f"{case}: other parameters"


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
