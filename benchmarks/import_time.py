"""How long `import oneflow` takes in a fresh process, and that it needs neither PyTorch nor rich.

The bar: the median of 7 is at most 0.5 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.outcome import Outcome

PROBE = """
import sys, time
start = time.perf_counter()
import oneflow
seconds = time.perf_counter() - start
print(seconds, "torch" in sys.modules, "rich" in sys.modules)
"""


def main(arguments: list[str]) -> Outcome:
    times = []
    heavy = False
    for _ in range(int(arguments[0]) if arguments else 7):
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120, check=True
        )
        seconds, torch, rich = probe.stdout.split()
        times.append(float(seconds))
        heavy |= torch == "True" or rich == "True"
    median = statistics.median(times)
    figures = {
        "median_s": round(median, 3),
        "worst_s": round(max(times), 3),
        "imports_heavy": heavy,
    }
    return Outcome(figures, held=median <= 0.5 and not heavy, counts={"runs": len(times)})
