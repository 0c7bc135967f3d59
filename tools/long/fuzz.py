"""Fuzzes every target of tests/fuzz for 600 seconds (another number is the first argument).

Further arguments: parts of the names of targets; `--until N` leaves out those that have been executed N times by now,
and gives the others slices of that many seconds until they have. Builds with clang 16 under ASan and UBSan. Inputs that
were worth keeping stay in build/fuzz/corpus/, so a later run goes on from them, and build/fuzz/done.jsonl counts what
was executed on which commit; an input that breaks a claim stays in build/fuzz/ under its target's name.
"""

from __future__ import annotations

import argparse
import re

from tools import process, results, run_tests
from tools.long import resumable

COST = "builds base, plan, compiler and comm once with clang 16 (5 minutes), then 10 minutes per target"
ROOT = results.ROOT
FUZZ = ROOT / "tests" / "fuzz"
GOLDEN = ROOT / "tests" / "golden"
FOUND = ROOT / "build" / "fuzz"
SEED = 20240303


def fuzz(target: str, seconds: int, seed: int) -> tuple[int, bool]:
    """One slice: how often it was executed, and whether every claim held."""
    corpus = FOUND / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    dictionary = FUZZ / f"{target.removesuffix('_fuzz')}.dict"
    command = [
        str(ROOT / "build" / "fuzz" / "tests" / "fuzz" / target),
        f"-max_total_time={seconds}",
        f"-seed={seed}",
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
    held = not process.run(command, seconds + 120, cwd=ROOT, log=log)
    count = re.search(r"stat::number_of_executed_units: *(\d+)", log.read_text(errors="replace"))
    runs = int(count[1]) if count else 0
    print(
        f"{'ok    ' if held else 'FAILED'} {target}: {runs} runs ({log.relative_to(ROOT)})",
        flush=True,
    )
    return runs, held and runs > 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev long fuzz")
    parser.add_argument("--until", type=int, default=0)
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args(arguments)
    rest: list[str] = options.rest
    seconds = int(rest.pop(0)) if rest and rest[0].isdigit() else 600
    targets = [
        target
        for target in sorted(path.stem for path in FUZZ.glob("*_fuzz.cc"))
        if not rest or any(name in target for name in rest)
    ]
    log = run_tests.LOGS / "build-fuzz.log"
    if process.run(["./dev", "build", "fuzz", *targets], 2400, cwd=ROOT, log=log):
        print(f"FAILED build ({log.relative_to(ROOT)})")
        return 1
    done = resumable.Done(resumable.folder("fuzz", anew=False))

    def executed(target: str) -> int:
        return sum(int(piece["runs"]) for piece in done.pieces if piece["target"] == target)

    failed = []
    for target in targets:
        while not options.until or executed(target) < options.until:
            slices = sum(piece["target"] == target for piece in done.pieces)
            runs, held = fuzz(target, seconds, SEED + slices)
            if not held:
                failed.append(target)
                break
            done.add(target=target, runs=runs, seconds=seconds)
            if not options.until:
                break
    code = 1 if failed or not targets else 0
    counts = {"targets": len(targets), "failed": len(failed)}
    figures = {"runs": {target: executed(target) for target in targets}, "seconds": seconds}
    figures |= {"commits": done.commits()}
    results.append("fuzz", counts=counts, figures=figures, seeds=[SEED], exit_code=code)
    return code
