"""What it costs the ranks of a job to find each other and to load a plan, by their number: time, bytes and descriptors.

    ./dev bench joining [--ranks 2,8,32,64] [--rounds 3]

Processes of this host, without Python (`comm/joining_benchmark.cc`): each connects to the others, then opens the
channels of a small plan (300 ops, 4 channels each way with each of two neighbours) nine times. Times are the slowest
rank's, of loading the median; bytes are what the rank that says most has sent over TCP by then, or in one loading;
descriptors are those of a rank that has joined. Medians over the rounds.

The bar: what a rank says when a plan is loaded grows by at most 256 bytes for each further rank that it has no channel
with. Without proportion it would be all rows and channels: 13 KB for this plan.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
from pathlib import Path

from benchmarks.outcome import Outcome

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"
TARGET = "oneflow_comm_joining"
BYTES_OF_A_STRANGER = 256


def join(ranks: int) -> dict[str, float]:
    """What comm/joining_benchmark.cc prints."""
    command = [str(BUILD / "comm" / TARGET), str(ranks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}


def main(arguments: list[str]) -> Outcome:
    parser = argparse.ArgumentParser(prog="./dev bench joining")
    parser.add_argument("--ranks", default="2,8,32,64")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    cmake = shutil.which("cmake", path="/usr/bin") or "cmake"
    build = [cmake, "--build", str(BUILD), "--target", TARGET]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL, timeout=1200)
    rows: list[dict[str, float]] = []
    for ranks in map(int, options.ranks.split(",")):
        rounds = [join(ranks) for _ in range(options.rounds)]
        medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        rows.append({"ranks": ranks, **{name: round(value, 2) for name, value in medians.items()}})
    # From three ranks on each has its two neighbours, and further ranks are strangers.
    held = True
    worlds = [row for row in rows if row["ranks"] > 2]
    for few, many in zip(worlds, worlds[1:], strict=False):
        growth = (many["load_bytes"] - few["load_bytes"]) / (many["ranks"] - few["ranks"])
        held &= growth <= BYTES_OF_A_STRANGER
    return Outcome({"worlds": rows}, held, counts={"rounds": options.rounds})
