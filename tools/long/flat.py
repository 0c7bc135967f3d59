"""Resident memory is flat over gathers, shapes of batches, sessions and steps, and so is the time of a gather.

Flat: from the first quarter of the turns to their end memory grows by at most 1 MiB; in the first quarter pools are
taken. The median time of a gather in the last quarter is at most 1.5 times that of the second. Arguments: how many
gathers, shapes, sessions and steps.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools import results
from tools.long.memory import grown_over, trainer

COST = "10,000 gathers of two ranks, 2,000 shapes, 200 sessions, 100,000 steps: half an hour"
LIMIT = 1 << 20
SLOWER = 1.5


def gathers(turns: int) -> dict[str, float]:
    """On a rank of a job: a step, and a gather of all that it wrote."""
    import oneflow as flow

    step, x, y = trainer()
    model = next(iter(step._models.values()))
    seconds = []

    def turn() -> None:
        float(step(x, y)["loss"])
        start = time.perf_counter()
        flow.gather(model.state_dict())
        seconds.append(time.perf_counter() - start)

    grown = grown_over(turns, turn)
    quarter = max(1, turns // 4)
    slower = statistics.median(seconds[-quarter:]) / statistics.median(
        seconds[quarter : 2 * quarter]
    )
    return {"grown_by_gathers": grown, "slower_gathers": round(slower, 2)}


def gathers_of_two_ranks(turns: int) -> dict[str, float]:
    """The worst of both ranks."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["--nproc-per-node=2", "-m", "tools.long.flat", folder, str(turns)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run(
            [sys.executable, "-m", "oneflow.launch", *command], check=True, env=environment
        )
        ranks = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    assert len(ranks) == 2
    return {name: max(rank[name] for rank in ranks) for name in ranks[0]}


def shapes(turns: int) -> int:
    """Growth over batches of 64 sizes in turn, 8 of whose plans are kept."""
    step, x, y = trainer()
    count = 0

    def turn() -> None:
        nonlocal count
        # Another shape whenever the plans of the last 8 are there; the largest comes early.
        size = 2 * (64 - count % 64)
        count += 1
        float(step(x.repeat(8, axis=0)[:size], y.repeat(8)[:size])["loss"])

    return grown_over(turns, turn)


def main(arguments: list[str]) -> int:
    defaults = ["10000", "2000", "200", "100000"]
    given = [int(a) for a in (arguments + defaults[len(arguments) :])[:4]]
    figures = gathers_of_two_ranks(given[0])
    figures["grown_by_shapes"] = shapes(given[1])

    def session() -> None:
        step, *batch = trainer()
        float(step(*batch)["loss"])

    figures["grown_by_sessions"] = grown_over(given[2], session)
    step, x, y = trainer()
    figures["grown_by_steps"] = grown_over(given[3], lambda: float(step(x, y)["loss"]))
    held = all(figures[name] <= LIMIT for name in figures if name.startswith("grown_by"))
    held = held and figures["slower_gathers"] <= SLOWER
    for name, figure in figures.items():
        print(f"{name:24} {figure}")
    code = 0 if held else 1
    names = ("gathers", "shapes", "sessions", "steps")
    results.append(
        "flat", counts=dict(zip(names, given, strict=True)), figures=figures, exit_code=code
    )
    return code


if __name__ == "__main__":  # a rank of gathers_of_two_ranks
    from oneflow import environment

    found = gathers(int(sys.argv[2]))
    Path(sys.argv[1], f"{environment.rank()}.json").write_text(json.dumps(found))
