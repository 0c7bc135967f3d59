"""The reader of checkpoints against drawn changes of files, by accident and on purpose, and against single flipped bits.

Arguments: `--changes N` (5,000,000), `--flips N` (5,000,000), `--processes N` (one for each core), `--anew`. Goes on
where it stopped: build/checkpoint-reader/done.jsonl has a line for each piece that held. tests/fuzz/checkpoint_reader.py
says what holds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.fuzz.checkpoint_reader import Target, shape_of
from tools import results
from tools.long import resumable

COST = "5,000,000 changes and 5,000,000 flipped bits at about 1,500 a second and core: 55 minutes; goes on where it stopped"
PIECE = 20_000
_MEMORY = Path("/dev/shm")  # every input writes and removes files


def run_piece(draw: str, begin: int, end: int) -> dict[str, Any]:
    """The inputs of these seeds, in a process of a pool: what was said, how often, and what broke a claim."""
    said: Counter[str] = Counter()
    failed: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        target = Target(Path(folder))
        draws = {"changes": target.change, "flips": target.flip}
        for seed in range(begin, end):
            started = time.thread_time()
            try:
                said[shape_of(target.read(draws[draw](seed)))] += 1
            except Exception:
                failed.append(f"{draw} {seed}: {traceback.format_exc()}")
            slowest = max(slowest, time.thread_time() - started)
    figures = {"count": said.total(), "read": said["read"], "messages": len(said)}
    return {"draw": draw, "begin": begin, **figures, "slowest_s": slowest, "failed": failed}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev long checkpoint-reader")
    parser.add_argument("--changes", type=int, default=5_000_000)
    parser.add_argument("--flips", type=int, default=5_000_000)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    options = parser.parse_args(arguments)
    done = resumable.Done(resumable.folder("checkpoint-reader", options.anew))
    known = {(piece["draw"], piece["begin"]) for piece in done.pieces}
    failed: list[str] = []
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        pieces: list[Future[dict[str, Any]]] = [
            pool.submit(run_piece, draw, begin, min(begin + PIECE, wanted))
            for draw, wanted in (("changes", options.changes), ("flips", options.flips))
            for begin in range(0, wanted, PIECE)
            if (draw, begin) not in known
        ]
        for future in as_completed(pieces):
            piece = future.result()
            broken = piece.pop("failed")
            failed += broken
            print(*broken, sep="\n", end="\n" if broken else "", flush=True)
            if not broken:
                done.add(**piece)
                print(
                    f"{piece['draw']} from {piece['begin']}: {piece['messages']} messages, {piece['read']} read",
                    flush=True,
                )
            if len(failed) >= 5:
                pool.shutdown(cancel_futures=True)
                break
    counts = {
        draw: sum(piece["count"] for piece in done.pieces if piece["draw"] == draw)
        for draw in ("changes", "flips")
    }
    code = (
        1 if failed or counts["changes"] < options.changes or counts["flips"] < options.flips else 0
    )
    results.append(
        "checkpoint-reader",
        counts={**counts, "failed": len(failed)},
        figures={
            "failed": [each.partition(":")[0] for each in failed],
            "harmless": sum(piece["read"] for piece in done.pieces),
            "slowest_cpu_s": round(max((p["slowest_s"] for p in done.pieces), default=0.0), 3),
            "commits": done.commits(),
        },
        exit_code=code,
    )
    print(f"{counts}: {len(failed)} that broke a claim")
    return code
