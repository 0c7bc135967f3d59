"""Steps of a tiny MLP over 1, 2 and 4 devices in one process, in two and in four: what a process border costs.

    ./dev bench processes [--rounds 5]

The model is so small that a step is nearly all scheduling and messages. Each figure is the median over rounds
of the median block of steps; the rounds take turns, so that other load meets all alike. The bar: two
processes with a device each take at most twice as long as one process with two devices.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.outcome import Outcome

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 2.0
# (processes, devices)
CASES = ((1, 1), (1, 2), (1, 4), (2, 2), (2, 4), (4, 4))

PROGRAM = """
import statistics, sys, time
import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
optimizer = flow.optim.SGD(model.parameters(), lr=0.01)

@flow.train_step(model=model, optimizer=optimizer, mesh=flow.mesh("cpu", dp=int(sys.argv[1])))
def step(x, y):
    return F.cross_entropy(model(x), y)

x, y = np.ones((8, 16), np.float32), np.arange(8)
blocks = []
for block in range(12):
    begin = time.perf_counter()
    for _ in range(50):
        metrics = step(x, y)
    float(metrics["loss"])
    blocks.append((time.perf_counter() - begin) / 50)
if flow.rank() == 0:
    print("microseconds", 1e6 * statistics.median(blocks[2:]))
"""


def step_us(program: Path, processes: int, devices: int) -> float:
    """Microseconds of a step, as rank 0 measures it."""
    command = [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", str(processes)]
    if processes == 1:
        command = [sys.executable]
    done = subprocess.run(
        [*command, str(program), str(devices)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=ROOT,
    )
    return float(done.stdout.split("microseconds", 1)[1])


def main(arguments: list[str]) -> Outcome:
    parser = argparse.ArgumentParser(prog="./dev bench processes")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    times: dict[tuple[int, int], list[float]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program.py"
        program.write_text(PROGRAM)
        for _ in range(options.rounds):
            for case in CASES:
                times[case].append(step_us(program, *case))
    # Of a round, so that other load meets both.
    ratios = [two / one for two, one in zip(times[2, 2], times[1, 2], strict=True)]
    ratio = statistics.median(ratios)
    figures: dict[str, object] = {
        f"step_us_{processes}_processes_{devices}_devices": round(statistics.median(of_case), 1)
        for (processes, devices), of_case in times.items()
    }
    figures["ratio_2_processes_2_devices"] = round(ratio, 2)
    figures["ratio_spread"] = [round(min(ratios), 2), round(max(ratios), 2)]
    return Outcome(figures, held=ratio <= LIMIT, counts={"rounds": options.rounds})
