"""The whole table of attacks on rendezvous, on the bytes between ranks and on jobs: every end as expected.

Racy attacks run 50 times, the others once. Arguments: `--times N`, `--workers N` (jobs at a time, for machines
with cores to spare: an attack has limits of time), and parts of the names of attacks.
"""

from __future__ import annotations

import argparse
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from tests.attacks import on_frames, on_launcher, on_rendezvous, on_shared_memory
from tests.attacks.job import Job
from tests.attacks.table import ATTACKS, Attack
from tools import results

COST = "about 80 jobs, and 50 each of the racy ones: 40-90 minutes"
PARTS = (
    on_rendezvous,
    on_frames,
    on_launcher,
    on_shared_memory,
)  # each has added its rows to the table


def strike(attack: Attack) -> str:
    """Runs an attack once: empty, or what was not as expected."""
    try:
        with Job(attack.secret, attack.path) as job:
            attack.run(job)
    except Exception:
        return traceback.format_exc()
    return ""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev long attacks")
    parser.add_argument("--times", type=int, default=50, help="runs of each racy attack")
    parser.add_argument("--workers", type=int, default=1, help="jobs at a time")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args(arguments)
    chosen = [
        attack
        for attack in ATTACKS.values()
        if not options.names or any(name in attack.name for name in options.names)
    ]
    runs = 0
    seconds: dict[str, float] = {}
    failed: list[str] = []

    def timed(attack: Attack) -> tuple[float, str]:
        begin = time.monotonic()
        wrong = strike(attack)
        return time.monotonic() - begin, wrong

    with ThreadPoolExecutor(options.workers) as pool:
        ends = [
            [pool.submit(timed, attack) for _ in range(options.times if attack.racy else 1)]
            for attack in chosen
        ]
        for attack, each in zip(chosen, ends, strict=True):
            taken = [future.result() for future in each]
            wrong = [text for _, text in taken if text]
            print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
            failed += [attack.name] * len(wrong)
            runs += len(taken)
            longest = max(time for time, _ in taken)
            seconds[attack.name] = round(longest, 1)
            verdict = f"{len(wrong)} NOT AS EXPECTED" if wrong else "as expected"
            print(
                f"{attack.name:42} {len(taken):3} runs, at most {longest:5.1f} s: {verdict}",
                flush=True,
            )
    code = 1 if failed or not chosen else 0
    results.append(
        "attacks",
        counts={"attacks": len(chosen), "runs": runs, "failed": len(failed)},
        figures={"longest_s": seconds, "failed": sorted(set(failed))},
        exit_code=code,
    )
    print(f"{len(chosen)} attacks, {runs} runs, {len(failed)} not as expected")
    return code
