"""Faults at random events of jobs of three hosts: the right rank and fault named in time, no hang, no orphan, the right bits.

Goes on where it stopped: build/faults/done.jsonl has a line for each trial that held. Trial n of a fault strikes at
the n-th of its stages in turn; the rest is drawn from n. Arguments: `--trials N` of each fault, `--workers N` (jobs at
a time), `--anew`, and parts of the names of faults.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.faults.job import STAGES, Trial, undisturbed
from tests.faults.table import FAULTS, Fault
from tests.launch.cluster import Cluster, why_not
from tools import results
from tools.long import resumable

COST = "20 trials of each of 18 faults: about 10 minutes with 4 workers on 2 cores; resumable"
MOST_FAILURES = 20


class Run:
    """Trials on clusters, one for each worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done = resumable.Done(folder)
        self.failed: list[str] = []
        self.bits = undisturbed(folder / "quiet")
        self._lock = threading.Lock()
        self._own = threading.local()
        self._clusters: list[Cluster] = []

    def _cluster(self) -> Cluster:
        if not hasattr(self._own, "cluster"):
            self._own.cluster = Cluster(hosts=3, seconds=6 * 3600)
            with self._lock:
                self._clusters.append(self._own.cluster)
        cluster: Cluster = self._own.cluster
        return cluster

    def trial(self, fault: Fault, number: int) -> None:
        if len(self.failed) >= MOST_FAILURES:
            return
        stage = fault.stages[number % len(fault.stages)]
        folder = self.folder / f"{fault.name}-{number}"
        begin = time.monotonic()
        wrong = ""
        with Trial(
            self._cluster(), folder, stage, number, fault.victims, fault.first_checkpoints
        ) as trial:
            try:
                fault.run(trial, self.bits)
            except Exception:
                wrong = traceback.format_exc()
            end = time.monotonic()
        record = {
            "fault": fault.name,
            "trial": number,
            "stage": stage,
            "victim": trial.victim,
            "event": trial.count,
            "seconds": round(end - (trial.struck or begin), 2),
            **trial.figures,
        }
        with self._lock:
            if wrong:
                self.failed.append(f"{fault.name} {number} ({stage})")
                print(f"{record}: {wrong}", flush=True)
                return
            self.done.add(**record)
            print(f"{fault.name:24} {number:3} {stage:11} {record['seconds']:6.1f} s", flush=True)
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        for cluster in self._clusters:
            cluster.__exit__()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev long faults")
    parser.add_argument("--trials", type=int, default=20, help="of each fault")
    parser.add_argument("--workers", type=int, default=1, help="jobs at a time")
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args(arguments)
    if why_not() or os.geteuid() != 0:
        print(f"needs root and network namespaces: {why_not()}", file=sys.stderr)
        return 2
    folder = resumable.folder("faults", options.anew)
    chosen = [
        fault
        for fault in FAULTS.values()
        if not options.names or any(name in fault.name for name in options.names)
    ]
    run = Run(folder)
    known = {(record["fault"], record["trial"]) for record in run.done.pieces}
    try:
        with ThreadPoolExecutor(options.workers) as pool:
            waiting = [
                pool.submit(run.trial, fault, number)
                for number in range(options.trials)
                for fault in chosen
                if (fault.name, number) not in known
            ]
            for each in waiting:
                each.result()
    finally:
        run.close()
    return _report(run, chosen)


def _report(run: Run, chosen: list[Fault]) -> int:
    """Prints where each fault struck and how long it took to the end, and keeps it."""
    figures: dict[str, Any] = {}
    print(f"{'trials that held':24} {' '.join(f'{stage:>11}' for stage in STAGES)}  median    most")
    for fault in chosen:
        held = [record for record in run.done.pieces if record["fault"] == fault.name]
        where = Counter(record["stage"] for record in held)
        seconds = sorted(record["seconds"] for record in held) or [0.0]
        middle, most = seconds[len(seconds) // 2], seconds[-1]
        row = " ".join(f"{where[stage]:11}" for stage in STAGES)
        print(f"{fault.name:24} {row}  {middle:5.1f} s {most:5.1f} s")
        figures[fault.name] = {
            "held": len(held),
            "stages": {stage: where[stage] for stage in STAGES if where[stage]},
            "median_s": middle,
            "most_s": most,
        }
        for name in ("packets", "dropped"):
            if counted := sum(record.get(name, 0) for record in held):
                figures[fault.name] |= {name: counted}
    code = 1 if run.failed or not chosen else 0
    trials = sum(record["fault"] in {fault.name for fault in chosen} for record in run.done.pieces)
    results.append(
        "faults",
        counts={"faults": len(chosen), "held": trials, "failed": len(run.failed)},
        figures={**figures, "failed": run.failed, "commits": run.done.commits()},
        exit_code=code,
    )
    print(f"{trials} trials held, {len(run.failed)} did not: {run.failed}")
    return code
