"""What bytes between hosts cost: our TCP transport beside iperf3 and a bare socket, an all-reduce beside PyTorch's gloo.

    ./dev bench hosts [--rounds 5]

Two network namespaces on one bridge (tests/launch/cluster.py) are the hosts, one process on each; all bytes go by TCP.
The rate is of 16 MiB messages one way (`comm/transport_benchmark.cc`: checksums on both sides, which iperf3 does not
have), iperf3's of one stream for three seconds. All-reduces of 1 KiB and of 64 MiB are as in `./dev bench transports`.
The rounds take turns; figures are medians.

The bars: at least 0.9 of iperf3's rate, a 64-byte message there and back in at most 1.5 of a bare socket's time, no
all-reduce slower than gloo's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.outcome import Outcome
from benchmarks.transports import (
    BLOCKS,
    GLOO,
    LARGE,
    LENGTHS,
    OURS,
    SMALL,
    all_reduce_us,
    built,
    figures_of,
    microseconds,
)

if TYPE_CHECKING:
    from tests.launch.cluster import Cluster

RATE_SHARE, ROUND_TRIP = 0.9, 1.5
SECONDS = 300
NAMES = {SMALL: "1_kib", LARGE: "64_mib"}


def on_both(cluster: Cluster, commands: list[list[str]], envs: list[dict[str, str]]) -> str:
    """What the first host's command printed; both have ended."""
    from tests.launch.cluster import output_of

    started = [
        cluster.start(host, command, **env)
        for host, (command, env) in enumerate(zip(commands, envs, strict=True), 1)
    ]
    for process in started:
        if process.wait(SECONDS):
            raise RuntimeError("\n".join(map(output_of, started))[-2000:])
    return output_of(started[0])


def messages(cluster: Cluster) -> dict[str, float]:
    program = built()
    commands = [[program, str(rank), "10.50.0.1", "5310"] for rank in range(2)]
    return figures_of(on_both(cluster, commands, [{}, {}]))


def iperf3_gb_per_s(cluster: Cluster) -> float:
    # A daemon of host 1, which ends with the first client.
    cluster.check(1, "iperf3 --server --one-off --daemon --bind 10.50.0.1")
    said = cluster.check(2, "sleep 0.3; iperf3 --client 10.50.0.1 --time 3 --json")
    return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 8e9


def ours_us(cluster: Cluster, program: Path, size: int) -> float:
    arguments = [str(program), *map(str, (size, *LENGTHS[size], BLOCKS))]
    launch = [sys.executable, "-m", "oneflow.launch", "--nnodes", "2", "--nproc-per-node", "1"]
    commands = [
        [*launch, "--node-rank", str(node), "--master-addr", "10.50.0.1", *arguments]
        for node in range(2)
    ]
    # The namespaces share a memory, through which they would talk otherwise.
    env = {"ONEFLOW_SECRET": os.urandom(32).hex(), "ONEFLOW_TRANSPORT": "tcp"}
    trace = program.parent / "trace"
    if size == LARGE:
        env["ONEFLOW_TRACE"] = str(trace)
    said = on_both(cluster, commands, [env, env])
    return all_reduce_us(trace, 2) if size == LARGE else microseconds(said)


def gloo_us(cluster: Cluster, program: Path, size: int) -> float:
    chain, steps = LENGTHS[size]
    command = [sys.executable, str(program), *map(str, (size, chain * steps, BLOCKS))]
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "10.50.0.1", "MASTER_PORT": "5320"}
    envs = [{**where, "RANK": str(rank), "GLOO_SOCKET_IFNAME": "eth0"} for rank in range(2)]
    return microseconds(on_both(cluster, [command, command], envs))


def main(arguments: list[str]) -> Outcome:
    from tests.launch.cluster import Cluster, why_not

    parser = argparse.ArgumentParser(prog="./dev bench hosts")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    if why_not() or shutil.which("iperf3") is None:
        raise SystemExit(why_not() or "no iperf3 here (./dev setup long)")
    seen: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, Cluster(2) as cluster:
        ours, gloo = Path(folder) / "ours.py", Path(folder) / "gloo.py"
        ours.write_text(OURS)
        gloo.write_text(GLOO)
        for _ in range(options.rounds):
            found = messages(cluster)
            found["iperf3_gb_per_s"] = iperf3_gb_per_s(cluster)
            for size, name in NAMES.items():
                found[f"all_reduce_us_{name}"] = ours_us(cluster, ours, size)
                found[f"gloo_us_{name}"] = gloo_us(cluster, gloo, size)
            for name, value in found.items():
                seen.setdefault(name, []).append(value)
    figures: dict[str, object] = {
        name: round(statistics.median(values), 2) for name, values in seen.items()
    }

    def ratio(name: str, one: str, other: str) -> float:
        """The median over rounds, of which each has met both, and its spread."""
        ratios = [a / b for a, b in zip(seen[one], seen[other], strict=True)]
        figures[name] = round(statistics.median(ratios), 2)
        figures[f"{name}_spread"] = [round(min(ratios), 2), round(max(ratios), 2)]
        return statistics.median(ratios)

    share = ratio("tcp_share_of_iperf3", "tcp_gb_per_s", "iperf3_gb_per_s")
    trips = ratio(
        "round_trips_of_a_socket", "tcp_sleeping_round_trip_us", "bare_socket_round_trip_us"
    )
    held = share >= RATE_SHARE and trips <= ROUND_TRIP
    for name in NAMES.values():
        held &= ratio(f"factor_{name}", f"gloo_us_{name}", f"all_reduce_us_{name}") >= 1.0
    return Outcome(figures, held, counts={"rounds": options.rounds})
