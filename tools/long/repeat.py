"""The concurrent tests 50 times over without a failure (another count is the first argument).

Concurrent: the C++ tests of comm and runtime. Each repetition is shuffled by GoogleTest with its number
as the seed, so that a failing order can be run again.
"""

from __future__ import annotations

from tools import process, results
from tools.run_tests import LOGS, ROOT

COST = "50 runs of the tests of comm and runtime: 5-20 minutes"
FOLDERS = ("comm", "runtime")


def main(arguments: list[str]) -> int:
    times = int(arguments[0]) if arguments else 50
    failed: list[str] = []
    for seed in range(1, times + 1):
        for folder in FOLDERS:
            binary = ROOT / "build" / "release" / folder / f"oneflow_{folder}_test"
            command = [str(binary), "--gtest_shuffle", f"--gtest_random_seed={seed}"]
            log = LOGS / f"repeat-{folder}.log"
            code = process.run(command, 600, cwd=ROOT, env={"OMP_NUM_THREADS": "1"}, log=log)
            if code:
                failed.append(f"{folder} seed {seed} exit code {code}")
                print(f"FAILED {failed[-1]}", flush=True)
                log.rename(LOGS / f"repeat-{folder}-{seed}.log")
    code = 1 if failed else 0
    counts = {"runs": times * len(FOLDERS), "failed": len(failed)}
    results.append(
        "repeat", counts=counts, figures={"failed": failed}, seeds=[1, times], exit_code=code
    )
    print(f"{counts['runs'] - len(failed)} of {counts['runs']} runs passed")
    return code
