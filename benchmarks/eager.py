"""What an op costs that runs at once, on 64 x 64 floats, beside PyTorch eager.

    ./dev bench eager [ROUNDS]

Two worker processes, ours and PyTorch's, take turns: in each of ROUNDS (15) every op is called 40 times in a row in
100 windows. Figures are microseconds a call, the best window of all rounds, for other load only adds; medians of the
rounds' best stand beside them. The bar: an add at most 3 us.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.outcome import Outcome

ROOT = Path(__file__).resolve().parent.parent
SIDES = ("ours", "torch")
CALLS, WINDOWS = 40, 100
LIMIT_US = 3.0


def calls_of(framework: Any) -> dict[str, Callable[[], Any]]:
    """The ops, written once for both frameworks."""
    a, b = framework.ones(64, 64) + 0, framework.ones(64, 64) + 0
    return {
        "add": lambda: a + b,
        "mul_number": lambda: a * 2.0,
        "relu": lambda: a.relu(),
        "sum": lambda: a.sum(),
        "matmul": lambda: a @ b,
        "transpose": lambda: a.t(),
    }


def best_us(call: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(WINDOWS):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, time.perf_counter() - start)
    return best / CALLS * 1e6


def worker(side: str) -> None:
    """Answers each line with the microseconds of every op."""
    if side == "ours":
        import oneflow as framework
    else:
        import torch as framework  # type: ignore[no-redef]

        framework.set_num_threads(1)
    calls = calls_of(framework)
    for _ in sys.stdin:
        print(json.dumps({name: best_us(call) for name, call in calls.items()}), flush=True)


def start(side: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.eager", "--worker", side],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def ask(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return dict(json.loads(process.stdout.readline()))


def main(arguments: list[str]) -> Outcome:
    rounds = int(arguments[0]) if arguments else 15
    processes = {side: start(side) for side in SIDES}
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    try:
        for _ in range(rounds):
            for side in SIDES:
                found[side].append(ask(processes[side]))
    finally:
        for process in processes.values():
            process.communicate(timeout=60)
    figures: dict[str, Any] = {}
    for op in found["ours"][0]:
        for side in SIDES:
            times = [one[op] for one in found[side]]
            figures[f"{op}_{side}_us"] = round(min(times), 2)
            figures[f"{op}_{side}_median_us"] = round(statistics.median(times), 2)
    held = figures["add_ours_us"] <= LIMIT_US
    return Outcome(figures, held, counts={"rounds": rounds, "calls": CALLS * WINDOWS})


if __name__ == "__main__" and sys.argv[1:2] == ["--worker"]:
    worker(sys.argv[2])
