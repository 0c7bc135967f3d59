"""Kills at random events and restarts: parameters and the ledger of samples stay those of an undisturbed run.

Arguments: `--kills N` (1,000), `--workers N` (jobs at a time), `--anew`. Goes on where it stopped:
build/restarts/done.jsonl has a line for each job that is done.
"""

from __future__ import annotations

import argparse
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.launch import restarts
from tools import results
from tools.long import resumable

COST = "1,000 kills in jobs of 20: about 8 minutes with 4 workers on 2 cores, 20 with one; goes on where it stopped"
PER_JOB = 20
STEPS = 90
MOST_FAILURES = 5


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev long restarts")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="jobs at a time")
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    options = parser.parse_args(arguments)
    folder = resumable.folder("restarts", options.anew)
    done = resumable.Done(folder)
    shutil.rmtree(folder / "quiet", ignore_errors=True)
    undisturbed = restarts.run(folder / "quiet", STEPS, [])
    failed: list[int] = []
    lock = threading.Lock()

    def restarted() -> int:
        return sum(piece["restarts"] for piece in done.pieces)

    def job(seed: int) -> None:
        with lock:
            if restarted() >= options.kills or len(failed) >= MOST_FAILURES:
                return
        where = folder / f"seed{seed}"
        shutil.rmtree(where, ignore_errors=True)
        try:
            disturbed = restarts.run(where, STEPS, restarts.draw(seed, PER_JOB))
            restarts.assert_same(disturbed, undisturbed)
        except Exception as error:
            print(f"seed {seed}: {error} (left in {where})", flush=True)
            with lock:
                failed.append(seed)
            return
        shutil.rmtree(where)
        with lock:
            done.add(seed=seed, restarts=disturbed.restarts)
            so_far = f"{restarted()} so far"
        print(f"seed {seed}: {disturbed.restarts} restarts, the same bits; {so_far}", flush=True)

    known = {piece["seed"] for piece in done.pieces}
    seeds = [seed for seed in range(1, options.kills + 1) if seed not in known]
    with ThreadPoolExecutor(options.workers) as pool:
        for each in [pool.submit(job, seed) for seed in seeds]:
            each.result()
    code = 1 if failed or restarted() < options.kills else 0
    results.append(
        "restarts",
        counts={"kills": restarted(), "jobs": len(done.pieces), "failed": len(failed)},
        figures={"failed_seeds": failed, "commits": done.commits()},
        exit_code=code,
    )
    print(f"{restarted()} kills, {len(failed)} jobs that differ or hang")
    return code
