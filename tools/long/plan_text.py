"""100,000 single and double changes of the text of the layouts' plans, under ASan and UBSan: refused by name, or run with every firing's operands between guards.

`./dev long plan-text COUNT SEED SECONDS` makes as many as fit into the seconds, on all cores; called again with
the same count and seed it goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tools import process, results, run_tests

COST = "builds C++ with sanitizers (15 minutes), then about 15 changes a second and core: 1 hour; goes on"
ROOT = results.ROOT
STATE = ROOT / "build" / "plan-text.json"
CHUNK = 500  # changes between two records of how far it came


class Progress:
    """What was found so far, kept in build/ so that a run can go on. Threads: any."""

    def __init__(self, count: int, seed: int) -> None:
        head, changed = results.commit()
        self.state: dict[str, Any] = {
            "key": [head, changed, count, seed],
            "done": [],  # first changes of finished chunks
            "counts": {},
            "crashes": [],
            "wrong": [],
        }
        if STATE.exists():
            known = json.loads(STATE.read_text())
            if known["key"] == self.state["key"] and not changed:
                self.state = known
        self._count = count
        self._lock = threading.Lock()

    def rest(self) -> list[int]:
        """First changes of the chunks that are not done."""
        return sorted(set(range(0, self._count, CHUNK)) - set(self.state["done"]))

    def add(self, first: int, counts: dict[str, int], crashes: list[str], wrong: list[str]) -> None:
        with self._lock:
            for name, number in counts.items():
                self.state["counts"][name] = self.state["counts"].get(name, 0) + number
            self.state["crashes"] += crashes
            self.state["wrong"] += wrong
            self.state["done"].append(first)
            STATE.parent.mkdir(exist_ok=True)
            STATE.write_text(json.dumps(self.state))
            for text in [*crashes, *wrong]:
                print(text, flush=True)
            made = min(self._count, len(self.state["done"]) * CHUNK)
            print(f"{made} of {self._count}: {self.state['counts']}", flush=True)


def main(arguments: list[str]) -> int:
    from tests.e2e.plan_attack import attack, plan_attack, save_jobs

    count, seed, seconds = (int(a) for a in (arguments + ["100000", "1", "7200"][len(arguments) :]))
    log = run_tests.LOGS / "build-plan-text.log"
    if process.run(["./dev", "build", "asan", "plan_attack"], 3000, cwd=ROOT, log=log):
        print(f"FAILED build ({log.relative_to(ROOT)})")
        return 1
    program = plan_attack("asan")
    progress = Progress(count, seed)
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        jobs = [job for model in ("mlp", "resnet") for job in save_jobs(Path(folder), model)]

        def strike(first: int) -> None:
            size = min(CHUNK, count - first)
            if (left := end - time.monotonic()) > 1:
                verdict = attack(
                    jobs, seed=seed, first=first, count=size, seconds=int(left), program=program
                )
                if verdict.next >= first + size:
                    progress.add(first, verdict.counts, verdict.crashes, verdict.wrong)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(strike, progress.rest()))
    state = progress.state
    finished = not progress.rest()
    code = 1 if state["crashes"] or state["wrong"] or not finished else 0
    made = sum(state["counts"].values()) + len(state["crashes"])
    results.append(
        "plan-text",
        counts={"made": made, "crashes": len(state["crashes"]), **state["counts"]},
        figures={"wrong": state["wrong"][:50]},
        seeds=[seed],
        exit_code=code,
    )
    return code
