"""The example programs under every layout, in 2, 3 and 4 processes and on as many hosts: the bits of one process.

Hosts are network namespaces. Goes on where it stopped: build/examples-on-hosts/done.jsonl has a line for each case
that held. Arguments: `--anew`, and parts of the names of cases ("gpt tp4").
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter

from tests.launch.cluster import Cluster, why_not
from tests.launch.examples_on_hosts import Bench, cases
from tools import results
from tools.long import resumable

COST = (
    "102 jobs of 3-8 s and 36 runs to compare them with: about 15 minutes; goes on where it stopped"
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev long examples-on-hosts")
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args(arguments)
    if why_not():
        print(f"hosts are network namespaces: {why_not()}", file=sys.stderr)
        return 2
    folder = resumable.folder("examples-on-hosts", options.anew)
    done = resumable.Done(folder)
    held = {piece["case"] for piece in done.pieces}
    chosen = [
        case
        for case in cases()
        if not options.names or any(name in str(case) for name in options.names)
    ]
    failed: list[str] = []
    with Cluster(seconds=3 * 3600) as cluster:
        bench = Bench(folder / "runs", cluster)
        for case in chosen:
            if str(case) in held:
                continue
            begin = time.monotonic()
            try:
                wrong = bench.difference(case)
            except Exception as error:
                wrong = f"{case}: {type(error).__name__}: {error}"
            if wrong:
                failed.append(str(case))
                print(wrong, flush=True)
                continue
            held.add(str(case))
            done.add(case=str(case))
            print(f"{case}: the bits of one process, {time.monotonic() - begin:.1f} s", flush=True)
    shutil.rmtree(folder / "runs", ignore_errors=True)
    same = [case for case in chosen if str(case) in held]
    code = 1 if failed or not chosen else 0
    results.append(
        "examples-on-hosts",
        counts={"cases": len(chosen), "the same bits": len(same), "failed": len(failed)},
        figures={
            "by example": dict(sorted(Counter(case.example for case in same).items())),
            "on hosts": sum(case.hosts for case in same),
            "failed": failed,
            "commits": done.commits(),
        },
        exit_code=code,
    )
    print(f"{len(same)} of {len(chosen)} cases have the bits of one process")
    return code
