"""Fuzzes every target of tests/fuzz for 600 seconds (another number is the first argument).

Further arguments: parts of the names of targets.
Builds with clang 16 under ASan and UBSan. Inputs that were worth keeping stay in build/fuzz/corpus/, so a
later run goes on from them; an input that breaks a claim stays in build/fuzz/ under its target's name.
"""

from __future__ import annotations

import re

from tools import process, results, run_tests

COST = "builds base, plan, compiler and comm once with clang 16 (5 minutes), then 10 minutes per target"
ROOT = results.ROOT
FUZZ = ROOT / "tests" / "fuzz"
GOLDEN = ROOT / "tests" / "golden"
FOUND = ROOT / "build" / "fuzz"
SEED = 20240303


def main(arguments: list[str]) -> int:
    seconds = int(arguments[0]) if arguments else 600
    targets = [
        target
        for target in sorted(path.stem for path in FUZZ.glob("*_fuzz.cc"))
        if not arguments[1:] or any(name in target for name in arguments[1:])
    ]
    log = run_tests.LOGS / "build-fuzz.log"
    if process.run(["./dev", "build", "fuzz", *targets], 2400, cwd=ROOT, log=log):
        print(f"FAILED build ({log.relative_to(ROOT)})")
        return 1
    runs = {}
    failed = []
    for target in targets:
        corpus = FOUND / "corpus" / target
        corpus.mkdir(parents=True, exist_ok=True)
        dictionary = FUZZ / f"{target.removesuffix('_fuzz')}.dict"
        command = [
            str(ROOT / "build" / "fuzz" / "tests" / "fuzz" / target),
            f"-max_total_time={seconds}",
            f"-seed={SEED}",
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            f"-artifact_prefix={FOUND}/{target}-",
            *([f"-dict={dictionary}"] if dictionary.exists() else []),
            str(corpus),
            str(FUZZ / "seeds" / target),
            *([str(GOLDEN)] if target == "plan_text_fuzz" else []),  # whole plans
        ]
        log = run_tests.LOGS / f"{target}.log"
        if process.run(command, seconds + 120, cwd=ROOT, log=log):
            failed.append(target)
        text = log.read_text(errors="replace")
        count = re.search(r"stat::number_of_executed_units: *(\d+)", text)
        runs[target] = int(count.group(1)) if count else 0
        word = "FAILED" if target in failed else "ok    "
        print(f"{word} {target}: {runs[target]} runs ({log.relative_to(ROOT)})", flush=True)
    code = 1 if failed or not targets else 0
    counts = {"targets": len(targets), "failed": len(failed)}
    figures = {"runs": runs, "seconds": seconds}
    results.append("fuzz", counts=counts, figures=figures, seeds=[SEED], exit_code=code)
    return code
