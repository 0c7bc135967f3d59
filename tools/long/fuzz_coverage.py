"""Which lines of the readers of what is not trusted the committed seeds reach: at least 95 % of each.

Replays tests/fuzz/seeds: in C++ by targets of libFuzzer that clang 16 instruments (llvm-cov counts), in Python by the
corpus of the checkpoint reader and 4,000 drawn inputs (coverage.py counts). Lines that are not reached are printed.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tools import process, results, run_tests

COST = "builds base, plan and comm once more with clang 16 (3 minutes), then seconds"
ROOT = results.ROOT
SEEDS = ROOT / "tests" / "fuzz" / "seeds"
BUILD = ROOT / "build" / "fuzz-coverage"
LEAST = 0.95
DRAWN = 2000  # inputs of the checkpoint reader
# What each target reads by, but for beats_fuzz, most of whose lines are of time that passes.
PARSERS = {
    "frames_fuzz": ("comm/frame.cc", "comm/frame_reader.cc"),
    "handshake_fuzz": ("comm/handshake.cc",),
    "announcements_fuzz": ("comm/agreement.cc", "comm/wire.cc"),
    "notices_fuzz": ("comm/notice_ring.cc",),
}
# Likewise of the checkpoint reader: functions and classes, for the same files write too.
PYTHON_PARSERS: Mapping[str, Sequence[str]] = {
    "python/oneflow/manifest.py": [
        "Manifest",
        "unsealed",
        "files_of",
        "read_manifest",
        "bounded",
        "_open",
        "parse",
        "_check_parts",
        "_expect",
        "count",
        "_checksums",
        "check_file",
        "_check",
        "_check_bytes",
    ],
    "python/oneflow/serialization.py": [
        "read_layout",
        "read_json",
        "_integers",
        "_entry",
        "_tensor",
        "load",
    ],
    "python/oneflow/checkpoint.py": [
        "find",
        "_find",
        "_refusal",
        "_candidates",
        "_own_candidates",
        "_read",
        "_read_earlier",
    ],
}

Lines = dict[int, bool]  # of one file: whether each line of code was reached


def lines_of(lcov: str) -> dict[str, Lines]:
    """What a trace file in LCOV's form says of each source file."""
    found: dict[str, Lines] = {}
    lines: Lines = {}
    for entry in lcov.splitlines():
        kind, _, rest = entry.partition(":")
        if kind == "SF":
            lines = found.setdefault(rest, {})
        elif kind == "DA":
            number, count = rest.split(",")[:2]
            lines[int(number)] = lines.get(int(number), False) or int(count) > 0
    return found


def replay(target: str) -> dict[str, Lines]:
    """The lines of a C++ target's parsers by its seeds."""
    binary = BUILD / "tests" / "fuzz" / target
    with tempfile.TemporaryDirectory() as folder:
        raw, merged = Path(folder) / "raw", Path(folder) / "merged"
        log = run_tests.LOGS / f"{target}-coverage.log"
        command = [str(binary), "-runs=0", str(SEEDS / target)]
        if process.run(command, 600, cwd=ROOT, env={"LLVM_PROFILE_FILE": str(raw)}, log=log):
            raise RuntimeError(f"a seed of {target} breaks a claim, see {log.relative_to(ROOT)}")

        def llvm(tool: str, *arguments: str) -> str:
            command = [f"{tool}-16", *arguments]
            return subprocess.run(
                command, cwd=ROOT, timeout=120, check=True, capture_output=True, text=True
            ).stdout

        llvm("llvm-profdata", "merge", "-o", str(merged), str(raw))
        sources = [str(ROOT / name) for name in PARSERS[target]]
        profile = f"-instr-profile={merged}"
        told = llvm(
            "llvm-cov", "export", "-format=lcov", str(binary), profile, "-sources", *sources
        )
    found = lines_of(told)
    return {name: found[str(ROOT / name)] for name in PARSERS[target]}


def spans(source: str, names: Sequence[str]) -> list[range]:
    """The lines of the functions and classes of these names. Raises KeyError if one is not there."""
    nodes = (ast.FunctionDef, ast.ClassDef)
    found = {
        node.name: range(node.lineno, (node.end_lineno or node.lineno) + 1)
        for node in ast.parse(source).body
        if isinstance(node, nodes)
    }
    return [found[name] for name in names]


def replay_checkpoints() -> dict[str, Lines]:
    """The lines of the checkpoint reader, by its corpus and what the fast suite draws; in a process that is new to it."""
    import coverage  # only the long suite has it

    counted = coverage.Coverage(data_file=None, include=[str(ROOT / n) for n in PYTHON_PARSERS])
    counted.start()
    from tests.fuzz.checkpoint_reader import Target, corpus

    with tempfile.TemporaryDirectory() as folder:
        target = Target(Path(folder))
        drawn = (draw(seed) for seed in range(DRAWN) for draw in (target.change, target.flip))
        for change in itertools.chain(corpus(), drawn):
            target.read(change)
    counted.stop()
    result = {}
    for name, parts in PYTHON_PARSERS.items():
        path = ROOT / name
        _, statements, _, missing, _ = counted.analysis2(str(path))
        inside = spans(path.read_text(), parts)
        result[name] = {
            line: line not in missing for line in statements if any(line in span for span in inside)
        }
    return result


def described(path: str, lines: Lines) -> str:
    """The share of the lines that was reached, and the text of the others."""
    reached = sum(lines.values())
    text = f"{reached / len(lines):7.1%} {path}: {reached} of {len(lines)} lines"
    source = (ROOT / path).read_text().splitlines()
    missed = [f"{n:14}: {source[n - 1]}" for n in sorted(lines) if not lines[n]]
    return "\n".join([text, *missed])


def main(arguments: list[str]) -> int:
    argparse.ArgumentParser(prog="./dev long fuzz-coverage").parse_args(arguments)
    log = run_tests.LOGS / "build-fuzz-coverage.log"
    if process.run(["./dev", "build", "fuzz-coverage", *PARSERS], 2400, cwd=ROOT, log=log):
        print(f"FAILED build ({log.relative_to(ROOT)})")
        return 1
    reached: dict[str, Lines] = {}
    for target in PARSERS:
        reached |= replay(target)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        reached |= pool.submit(replay_checkpoints).result()
    shares = {}
    for path, lines in reached.items():
        print(described(path, lines), flush=True)
        shares[path] = sum(lines.values()) / len(lines)
    few = [path for path, share in shares.items() if share < LEAST]
    results.append(
        "fuzz-coverage",
        counts={"files": len(shares), "below": len(few)},
        figures={"reached": {path: round(share, 4) for path, share in shares.items()}},
        exit_code=1 if few else 0,
    )
    return 1 if few else 0
