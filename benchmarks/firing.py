"""What a firing costs without its work: in one thread, and where threads fire in turn.

    ./dev bench firing [ROUNDS]

Null devices run no kernels. The bars: 0.2 us a firing in a chain of one thread, 1 us where every firing waits
for the other of two threads. Figures are the best of ROUNDS processes (11), for other load only adds; medians
stand beside them, with the share of waits that parked a thread.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from pathlib import Path

from benchmarks.outcome import Outcome

BUILD = Path(__file__).resolve().parent.parent / "build" / "release"
LIMITS = {"chain of 1000": 200, "two threads in turn": 1000}
ALSO = ("pipeline, 2 devices",)
LINE = re.compile(r"(\S.*?) +(\d+) ns/firing.*?([\d.]+) % of")


def main(arguments: list[str]) -> Outcome:
    rounds = int(arguments[0]) if arguments else 11
    cmake = shutil.which("cmake", path="/usr/bin") or "cmake"
    target = "oneflow_runtime_overhead"
    command = [cmake, "--build", str(BUILD), "--target", target]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=1200)
    times: dict[str, list[int]] = {name: [] for name in (*LIMITS, *ALSO)}
    parked: dict[str, list[float]] = {name: [] for name in times}
    for _ in range(rounds):
        done = subprocess.run(
            [str(BUILD / "runtime" / target)],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        for name, nanoseconds, share in LINE.findall(done.stdout):
            if name in times:
                times[name].append(int(nanoseconds))
                parked[name].append(float(share))
    figures: dict[str, object] = {}
    for name, of_case in times.items():
        key = re.sub(r"\W+", "_", name)
        figures[f"{key}_ns"] = min(of_case)
        figures[f"{key}_median_ns"] = statistics.median(of_case)
        figures[f"{key}_parked_percent"] = statistics.median(parked[name])
    held = all(min(times[name]) <= limit for name, limit in LIMITS.items())
    return Outcome(figures, held, counts={"rounds": rounds})
