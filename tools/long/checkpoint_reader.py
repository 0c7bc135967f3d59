"""The reader of checkpoints against drawn changes of files, by accident and on purpose, and against single flipped bits.

Arguments: `--changes N` (1,000,000), `--flips N` (1,000,000), `--anew`. Goes on where it stopped:
build/checkpoint-reader/done.jsonl has a line for each piece that held. tests/fuzz/checkpoint_reader.py says what holds.
"""

from __future__ import annotations

import argparse
import time
import traceback
from collections import Counter

from tests.fuzz.checkpoint_reader import Target, shape_of
from tools import results
from tools.long import resumable

COST = "1,000,000 changes and 1,000,000 flipped bits at about 2,500 a second: 15 minutes; goes on where it stopped"
PIECE = 20_000


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev long checkpoint-reader")
    parser.add_argument("--changes", type=int, default=1_000_000)
    parser.add_argument("--flips", type=int, default=1_000_000)
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    options = parser.parse_args(arguments)
    folder = resumable.folder("checkpoint-reader", options.anew)
    done = resumable.Done(folder)
    target = Target(folder / "checkpoints")
    draws = {"changes": target.change, "flips": target.flip}
    known = {(piece["draw"], piece["begin"]) for piece in done.pieces}
    failed: list[str] = []
    for draw, wanted in (("changes", options.changes), ("flips", options.flips)):
        for begin in range(0, wanted, PIECE):
            if (draw, begin) in known or len(failed) >= 5:
                continue
            said: Counter[str] = Counter()
            slowest, before = 0.0, len(failed)
            for seed in range(begin, min(begin + PIECE, wanted)):
                started = time.monotonic()
                try:
                    said[shape_of(target.read(draws[draw](seed)))] += 1
                except Exception:
                    failed.append(f"{draw} {seed}")
                    print(f"{draw} {seed}: {traceback.format_exc()}", flush=True)
                slowest = max(slowest, time.monotonic() - started)
            if len(failed) == before:
                done.add(draw=draw, begin=begin, count=sum(said.values()), read=said["read"],
                         messages=len(said), slowest_s=round(slowest, 3))  # fmt: skip
                print(f"{draw} from {begin}: {len(said)} messages, {said['read']} read", flush=True)
    counts = {
        draw: sum(piece["count"] for piece in done.pieces if piece["draw"] == draw)
        for draw in draws
    }
    code = (
        1 if failed or counts["changes"] < options.changes or counts["flips"] < options.flips else 0
    )
    results.append(
        "checkpoint-reader",
        counts={**counts, "failed": len(failed)},
        figures={
            "failed": failed,
            "harmless": sum(piece["read"] for piece in done.pieces),
            "slowest_s": max((piece["slowest_s"] for piece in done.pieces), default=0.0),
            "commits": done.commits(),
        },
        exit_code=code,
    )
    print(f"{counts}: {len(failed)} that broke a claim")
    return code
