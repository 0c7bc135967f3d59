"""What was asked of software CUDA, call by call (kernels/cuda/soft_trace_for_test.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PLUGIN = Path(__file__).parents[2] / "build/release/kernels/cuda/liboneflow_soft_cuda.so"

# Calls in which the host may wait for the GPU.
WAITS = {"stream_synchronize", "event_synchronize", "copy_in", "allocate", "release"}


@dataclass(frozen=True)
class Call:
    """Threads, streams and objects (events, graphs) by numbers; "-" for none."""

    thread: str
    name: str
    stream: str
    captured: bool
    thing: str
    gpu: int = 0


@contextmanager
def traced() -> Iterator[list[Call]]:
    """The calls made inside, once it is left."""
    library = ctypes.CDLL(str(PLUGIN))
    library.oneflow_soft_cuda_trace.restype = ctypes.c_char_p
    calls: list[Call] = []
    library.oneflow_soft_cuda_start_trace(1)
    try:
        yield calls
        for line in library.oneflow_soft_cuda_trace().decode().splitlines():
            thread, name, stream, thing, gpu = line.split(" ")
            captured = stream.endswith("*")
            calls.append(Call(thread, name, stream.rstrip("*"), captured, thing, int(gpu)))
    finally:
        library.oneflow_soft_cuda_start_trace(0)


@dataclass(frozen=True)
class Steps:
    """Calls by step: those of the thread that launches, up to the event behind a step's results; and the waits
    of other threads, with what they wait for."""

    launches: list[list[Call]]
    rest: list[Call]  # of that thread, behind its last step
    waits: list[Call]
    ends: list[str]  # the events


def steps_of(calls: list[Call]) -> Steps:
    launcher = next(call.thread for call in calls if call.name in ("copy", "graph_launch"))
    launches: list[list[Call]] = [[]]
    for call in calls:
        if call.thread != launcher:
            continue
        launches[-1].append(call)
        # The end is the record behind the graph or, of a step without, behind the copy of its results.
        if call.name != "event_record" or call.captured or len(launches[-1]) < 2:
            continue
        before, first = launches[-1][-2], launches[-1][0]
        worked = before.name == "copy" and any(one.name == "launch" for one in launches[-1])
        is_last = before.stream == first.stream == call.stream
        if is_last and (before.name == "graph_launch" or worked):
            launches.append([])
    rest = launches.pop()
    ends = [step[-1].thing for step in launches]
    return Steps(launches, rest, [call for call in calls if call.thread != launcher], ends)
