"""Kills at random events and restarts: parameters and the ledger of samples stay those of an undisturbed run.

Arguments: `--kills N` (1,000). Goes on where it stopped: build/restarts/done.jsonl has a line for each job that is done.
"""

from __future__ import annotations

import argparse
import shutil

from tests.launch import restarts
from tools import results
from tools.long import resumable

COST = "1,000 kills in jobs of 20, each 1-2 s: about 30 minutes; goes on where it stopped"
PER_JOB = 20
STEPS = 90


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev long restarts")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    options = parser.parse_args(arguments)
    folder = resumable.folder("restarts", options.anew)
    done = resumable.Done(folder)
    restarted = sum(piece["restarts"] for piece in done.pieces)
    shutil.rmtree(folder / "quiet", ignore_errors=True)
    undisturbed = restarts.run(folder / "quiet", STEPS, [])
    failed: list[int] = []
    seed = len(done.pieces)
    while restarted < options.kills and len(failed) < 5:
        seed += 1
        job = folder / f"seed{seed}"
        shutil.rmtree(job, ignore_errors=True)
        try:
            disturbed = restarts.run(job, STEPS, restarts.draw(seed, PER_JOB))
            restarts.assert_same(disturbed, undisturbed)
        except Exception as error:
            print(f"seed {seed}: {error} (left in {job})", flush=True)
            failed.append(seed)
            continue
        restarted += disturbed.restarts
        done.add(seed=seed, restarts=disturbed.restarts)
        shutil.rmtree(job)
        print(
            f"seed {seed}: {disturbed.restarts} restarts, the same bits; {restarted} so far",
            flush=True,
        )
    code = 1 if failed else 0
    results.append(
        "restarts",
        counts={"kills": restarted, "jobs": seed, "failed": len(failed)},
        figures={"failed_seeds": failed, "commits": done.commits()},
        exit_code=code,
    )
    print(f"{restarted} kills, {len(failed)} jobs that differ or hang")
    return code
