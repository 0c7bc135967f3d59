"""What bytes between processes of one host cost: a message by shared memory and by TCP, and an all-reduce beside
PyTorch's gloo.

    ./dev bench transports [--rounds 5]

Messages (`comm/transport_benchmark.cc`): the rate of 16 MiB ones beside memcpy, and a 64-byte one there and back
beside a bare TCP connection. All-reduces: of 1 KiB and of 64 MiB, over 2 and 4 processes with a thread each. Ours
is a plan, steps of which hold a chain of all-reduces and of the small kernels that make the next one's operand. At
64 MiB, where those take longer than the all-reduce, its time is read from rank 0's trace: from the first thing that it
sends until the last that it adds or puts in its place. At 1 KiB they count as the all-reduce's. gloo's is
`torch.distributed.all_reduce` in a loop. The rounds take turns; figures are medians.

The bars: shared memory at least 0.8 of memcpy; a round trip at most 1.5 of a bare socket's; an all-reduce of 64 MiB
3 times as fast as gloo's, one of 1 KiB 10 times.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.outcome import Outcome

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"
SMALL, LARGE = 1 << 10, 64 << 20
# all-reduces in a step, steps in a block: of a figure's bytes
LENGTHS = {SMALL: (50, 10), LARGE: (4, 1)}
BLOCKS = 9
MEMCPY_SHARE, ROUND_TRIP, LARGE_FACTOR, SMALL_FACTOR = 0.8, 1.5, 3.0, 10.0

# Arguments: bytes, all-reduces in a step, steps, blocks.
OURS = """
import statistics, sys, time
import numpy as np
import oneflow as flow
from oneflow import nn

count, chain, steps, blocks = int(sys.argv[1]) // 4, *map(int, sys.argv[2:5])
world = flow.world_size()

@flow.eval_step(model=nn.Linear(1, 1), mesh=flow.mesh("cpu", dp=world, threads=1))
def step(x):
    y = x
    for _ in range(chain):
        total = y.sum(0)
        y = x + flow.shard(total, dp="B") * (0.5 / world)
    return total[:1]

x = np.ones((world, count), np.float32)
times = []
for _ in range(blocks + 2):
    begin = time.perf_counter()
    for _ in range(steps):
        out = step(x)
    np.asarray(out)
    times.append((time.perf_counter() - begin) / steps / chain)
expected = y = 1.0
for _ in range(chain):
    expected = world * y
    y = 1 + 0.5 * y
np.testing.assert_allclose(np.asarray(out), expected, rtol=1e-5)
if flow.rank() == 0:
    print("microseconds", 1e6 * statistics.median(times[2:]))
"""

# Arguments: bytes, all-reduces in a block, blocks.
GLOO = """
import os, statistics, sys, time
import torch
import torch.distributed as dist

torch.set_num_threads(1)
dist.init_process_group("gloo")
count, calls, blocks = int(sys.argv[1]) // 4, *map(int, sys.argv[2:4])
x = torch.ones(count)
times = []
for _ in range(blocks + 2):
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(calls):
        dist.all_reduce(x)
        x.mul_(0.5) if count < 1 << 16 else None
    times.append((time.perf_counter() - begin) / calls)
if dist.get_rank() == 0:
    print("microseconds", 1e6 * statistics.median(times[2:]))
dist.destroy_process_group()
"""


def microseconds(output: str) -> float:
    return float(output.split("microseconds", 1)[1].split()[0])


def built() -> str:
    """The program of comm/transport_benchmark.cc."""
    target = "oneflow_comm_transports"
    cmake = shutil.which("cmake", path="/usr/bin") or "cmake"
    build = [cmake, "--build", str(BUILD), "--target", target]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL, timeout=1200)
    return str(BUILD / "comm" / target)


def figures_of(output: str) -> dict[str, float]:
    """What it prints."""
    return {name: float(value) for name, value in map(str.split, output.splitlines())}


def messages() -> dict[str, float]:
    done = subprocess.run([built()], capture_output=True, text=True, timeout=300, check=True)
    return figures_of(done.stdout)


def ours(program: Path, processes: int, size: int) -> float:
    """Microseconds of one of our all-reduces."""
    arguments = [str(program), *map(str, (size, *LENGTHS[size], BLOCKS))]
    launcher = [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", str(processes)]
    trace = program.parent / "trace"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    if size == LARGE:
        env["ONEFLOW_TRACE"] = str(trace)
    done = subprocess.run(
        [*launcher, *arguments], capture_output=True, text=True, timeout=300, check=True, env=env
    )
    return all_reduce_us(trace, processes) if size == LARGE else microseconds(done.stdout)


def all_reduce_us(trace: Path, processes: int) -> float:
    """What the rings took, behind two steps of warming up: from when the last rank begins until the last has ended.

    All ranks go by the clock of one machine. What a rank waits for others that still compute, where there are more
    ranks than cores, is none of the all-reduce's; gloo's are called one behind the other.
    """
    from tools.trace_slices import slices

    spans: list[dict[tuple[int, str], tuple[int, int]]] = []  # by rank, by step and reshard
    rings = set()
    for rank in range(processes):
        own: dict[tuple[int, str], tuple[int, int]] = {}
        for each in slices(trace.with_name(f"{trace.name}.rank{rank}")):
            reshard, _, task = each.name.rpartition(".")
            if task.startswith("ring_reduce"):
                rings.add(reshard)
            if each.step >= 2 and not task.startswith("recv"):  # begins when its slot is posted
                begin, end = own.get((each.step, reshard), (each.begin_ns, 0))
                ends = each.begin_ns + each.duration_ns
                own[each.step, reshard] = (min(begin, each.begin_ns), max(end, ends))
        spans.append(own)
    taken = [
        max(own[key][1] for own in spans) - max(own[key][0] for own in spans)
        for key in spans[0]
        if key[1] in rings
    ]
    return statistics.median(taken) / 1e3


def gloo(program: Path, processes: int, size: int) -> float:
    """Microseconds of one of gloo's."""
    chain, steps = LENGTHS[size]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ranks = []
    for rank in range(processes):
        env = {
            **os.environ,
            "RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        command = [sys.executable, str(program), *map(str, (size, chain * steps, BLOCKS))]
        ranks.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    outputs = [rank.communicate(timeout=300)[0] for rank in ranks]
    return microseconds(outputs[0])


def main(arguments: list[str]) -> Outcome:
    parser = argparse.ArgumentParser(prog="./dev bench transports")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    of_messages: dict[str, list[float]] = {}
    cases = [(processes, size) for processes in (2, 4) for size in (SMALL, LARGE)]
    times: dict[tuple[str, int, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        programs = {}
        for name, text in (("ours", OURS), ("gloo", GLOO)):
            programs[name] = Path(folder) / f"{name}.py"
            programs[name].write_text(text)
        for _ in range(options.rounds):
            for name, value in messages().items():
                of_messages.setdefault(name, []).append(value)
            for processes, size in cases:
                for name, run in (("ours", ours), ("gloo", gloo)):
                    taken = run(programs[name], processes, size)
                    times.setdefault((name, processes, size), []).append(taken)
    figures: dict[str, object] = {
        name: round(statistics.median(values), 2) for name, values in of_messages.items()
    }

    def ratio(one: str, other: str) -> float:
        """The median over rounds, of which each has met both."""
        pairs = zip(of_messages[one], of_messages[other], strict=True)
        return statistics.median(a / b for a, b in pairs)

    share = ratio("shm_gb_per_s", "memcpy_gb_per_s")
    trip = ratio("shm_looking_round_trip_us", "bare_socket_round_trip_us")
    figures |= {"shm_share_of_memcpy": round(share, 2), "round_trips_of_a_socket": round(trip, 2)}
    held = share >= MEMCPY_SHARE and trip <= ROUND_TRIP
    for processes, size in cases:
        what = f"{processes}_processes_{'1_kib' if size == SMALL else '64_mib'}"
        mine, theirs = times["ours", processes, size], times["gloo", processes, size]
        factors = [b / a for a, b in zip(mine, theirs, strict=True)]
        factor = statistics.median(factors)
        figures[f"all_reduce_us_{what}"] = round(statistics.median(mine), 1)
        figures[f"gloo_us_{what}"] = round(statistics.median(theirs), 1)
        figures[f"factor_{what}"] = round(factor, 2)
        figures[f"factor_spread_{what}"] = [round(min(factors), 2), round(max(factors), 2)]
        held &= factor >= (SMALL_FACTOR if size == SMALL else LARGE_FACTOR)
    return Outcome(figures, held, counts={"rounds": options.rounds})
