"""What tools/gpu_check.sh saw: each benchmark's figure beside PyTorch's, and one record of all.

    python3 -m tools.gpu_report FOLDER --on gpu|software [--record NAME] [--check "WHAT=passed"]...

FOLDER has the lines of JSON that the benchmarks printed (ours: *.jsonl; PyTorch's: torch_*.jsonl) and the logs of the
tests (*.log). On software CUDA a benchmark counts as run and no time of it is printed or kept: such times say nothing.
Exits with 1 if a check failed, a benchmark printed nothing, or PyTorch has figures and none of ours has that name.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from tools import results

Row = dict[str, Any]
SPREAD = ("median_ms", "least_ms", "most_ms", "rate")
PASSED = re.compile(r"^\[  PASSED  \] (\d+) test|(\d+) passed", re.MULTILINE)


def read(folder: Path, pattern: str) -> tuple[list[Row], Row]:
    """Rows with a name, and what the lines without one say of device and versions."""
    rows, about = [], {}
    for path in sorted(folder.glob(pattern)):
        if pattern == "*.jsonl" and path.name.startswith("torch_"):
            continue
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if "name" in entry:
                rows.append(entry)
            else:
                about |= entry
    return rows, about


def beside(ours: list[Row], theirs: list[Row]) -> tuple[list[Row], list[str]]:
    """Ours, each with PyTorch's figures of that name; and the names that only PyTorch has."""
    by_name = {row["name"]: row for row in theirs}
    merged = []
    for row in ours:
        other = by_name.pop(row["name"], None)
        if other is not None:
            row = {**row, "torch": {key: other[key] for key in SPREAD if key in other}}
        merged.append(row)
    return merged, sorted(by_name)


def lines_of(rows: list[Row], on: str) -> list[str]:
    """The table: times of ours and PyTorch's, and how many times as fast ours is."""
    lines = [f"{'':58} {'ours ms':>10} {'PyTorch ms':>11} {'times as fast':>14}"]
    for row in rows:
        if "median_ms" not in row:
            lines.append(f"{row['name']:58} {'held' if holds(row) else 'DOES NOT HOLD'}")
            continue
        other = row.get("torch")
        if on == "software":
            shown = ["ran", "ran" if other else "-", "-"]
        elif other:
            ratio = other["median_ms"] / row["median_ms"]
            shown = [f"{row['median_ms']:.4f}", f"{other['median_ms']:.4f}", f"{ratio:.2f}"]
        else:
            shown = [f"{row['median_ms']:.4f}", "-", "-"]
        lines.append(f"{row['name']:58} {shown[0]:>10} {shown[1]:>11} {shown[2]:>14}")
    return lines


def holds(row: Row) -> bool:
    """Of a row that has a bound."""
    return bool(row["largest_relative_difference"] <= row["bound"])


def without_times(rows: list[Row]) -> list[Row]:
    """What a run on software CUDA may claim: that it ran, and numbers that are no times."""
    kept = []
    for row in rows:
        row = {key: value for key, value in row.items() if key not in (*SPREAD, "unit")}
        if "torch" in row:
            row["torch"] = "ran"
        kept.append(row)
    return kept


def counted(folder: Path) -> dict[str, int]:
    """Tests that passed, by log."""
    counts = {}
    for log in sorted(folder.glob("*.log")):
        found = PASSED.findall(log.read_text(errors="replace"))
        if found:
            counts[log.stem] = sum(int(one or other) for one, other in found)
    return counts


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools.gpu_report")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--on", choices=("gpu", "software"), required=True)
    parser.add_argument("--record", default="", help="a file of benchmarks/results/ to append to")
    parser.add_argument("--check", action="append", default=[], help="WHAT=passed|failed")
    options = parser.parse_args(arguments)
    ours, about = read(options.folder, "*.jsonl")
    theirs, torch = read(options.folder, "torch_*.jsonl")
    rows, alone = beside(ours, theirs)
    print("\n".join(lines_of(rows, options.on)))
    checks = dict(check.rsplit("=", 1) for check in options.check)
    wrong = [f"{what}: {how}" for what, how in checks.items() if how != "passed"]
    wrong += [f"only PyTorch has {name!r}" for name in alone]
    wrong += [f"{row['name']} does not hold" for row in rows if "bound" in row and not holds(row)]
    if not ours:
        wrong.append("no benchmark printed a figure")
    for one in wrong:
        print(f"FAILED {one}")
    figures: Row = {"on": options.on, "about": about, "torch": torch, "checks": checks}
    if options.on == "software":
        figures["note"] = "software CUDA at small sizes: what ran and what agreed; no times"
        rows = without_times(rows)
    figures["benchmarks"] = rows
    code = 1 if wrong else 0
    counts = {"benchmarks": len(rows), "beside": sum("torch" in row for row in rows)}
    counts |= counted(options.folder)
    if options.record:
        results.append(options.record, counts=counts, figures=figures, exit_code=code)
    (options.folder / "report.json").write_text(json.dumps({"counts": counts, **figures}))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
