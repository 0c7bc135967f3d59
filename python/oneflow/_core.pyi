# Made by python/make_stubs.py: do not edit.
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

class Compiled:
    """A plan with what was decided on the way."""

    @property
    def decisions(self) -> str: ...
    @property
    def dumps(self) -> list[tuple[str, str]]: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def state_shardings(self) -> dict[str, str]: ...

class Graph:
    """What a step computes, logically (compiler/graph/graph.h)."""

    def __init__(self, name: str) -> None: ...
    def add_gradients(self, loss: int, wrt: Sequence[int]) -> list[int]: ...
    def add_node(
        self,
        op: str,
        inputs: Sequence[int],
        attrs: dict[str, Any],
        location: object,
        scope: str,
        stage: int | None,
    ) -> list[int]: ...
    def add_state(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        annotation: Mapping[str, str],
        sharding: str,
        layout_axes: int,
    ) -> None: ...
    def annotate(self, value: int, annotation: Mapping[str, str]) -> None: ...
    def copy(self) -> Graph: ...
    def num_nodes(self) -> int: ...
    def states(self) -> list[str]: ...
    def type_of(self, value: int) -> tuple[Any, ...]:
        """(dtype name, shape) of a value."""
    def verify(self) -> None: ...

class Plan:
    """Everything one rank does in a step, as data (plan/plan.proto)."""

    def figures(self) -> dict[str, Any]: ...
    def fingerprint(self) -> int: ...
    @property
    def inputs(self) -> list[Any]: ...
    def memory(self) -> list[Any]: ...
    @property
    def name(self) -> str: ...
    @property
    def num_tasks(self) -> int: ...
    @property
    def outputs(self) -> list[Any]: ...
    @staticmethod
    def parse(bytes: bytes) -> Plan: ...
    @staticmethod
    def parse_text(text: str) -> Plan: ...
    @property
    def rank(self) -> int: ...
    def serialize(self) -> bytes: ...
    @property
    def states(self) -> list[Any]: ...
    def summary(self) -> str: ...
    def text(self) -> str: ...
    def verify(self) -> None: ...

class Session:
    """Owns everything alive (runtime/session.h)."""

    def __init__(
        self, transport: Transport | None, watchdog_seconds: float, trace_path: str
    ) -> None: ...
    def close(self) -> None: ...
    def counters(self) -> list[Any]: ...
    def discard(self, invocation: int) -> None: ...
    def fetch(self, invocation: int) -> list[np.ndarray]: ...
    def has_state(self, arg0: str) -> bool: ...
    def launch(self, plan: int, inputs: Sequence[np.ndarray]) -> int: ...
    def load(self, plan: Plan) -> int: ...
    def read_state(self, name: str) -> np.ndarray: ...
    def state_version(self, arg0: str) -> int: ...
    def wait(self) -> None: ...
    def write_state(self, name: str, value: np.ndarray, dtype: str = "") -> None: ...

class Target:
    """The machine as data (plan/target.proto)."""

    @staticmethod
    def cpu(
        ranks: Sequence[int], threads: int, cores: int, memory_bytes: int = 0, kind: str = "cpu"
    ) -> Target:
        """One device per entry of `ranks` (its rank), all alike."""
    @property
    def name(self) -> str: ...
    @property
    def num_devices(self) -> int: ...
    def serialize(self) -> bytes: ...

class Transport:
    def abort(self, arg0: str) -> None: ...
    def all_gather(self, arg0: bytes) -> list[Any]: ...
    @property
    def bytes_received(self) -> int: ...
    @property
    def bytes_sent(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...

class VirtualRuntime:
    """The plans of all ranks in one thread, in virtual time (runtime/virtual_runtime.h)."""

    def __init__(
        self, plans: Sequence[Plan], with_kernels: bool = True, verify: bool = True
    ) -> None: ...
    def run(
        self,
        states: Mapping[str, np.ndarray],
        inputs: Sequence[Sequence[np.ndarray]],
        seed: int,
        jitter: float = 1.0,
    ) -> dict[str, Any]:
        """Runs len(inputs) steps from a seed; inputs[step][input]. Returns a dict: outputs (per step, by name), states, event_order_hash, virtual_ns, firings."""

def compile(
    graph: Graph,
    target: Target,
    axes: Sequence[tuple[str, int]],
    devices: Sequence[int],
    micro_batches: int,
    rank: int,
    world_size: int,
    keep_dumps: bool = False,
) -> Compiled:
    """Compiles one rank's plan; kernel rows that the target lacks are added to it."""

def connect(
    rank: int, world_size: int, address: str, secret: bytes, job: str, timeout_seconds: float
) -> Transport:
    """Finds the other ranks of the job; blocks until all are there."""

def describe_op(name: str) -> dict[str, Any]:
    """Schema, doc and defaults of one op of the table."""

def op_names() -> list[str]: ...
def philox_normal(seed: int, key: int, shape: Sequence[int], mean: float, std: float) -> np.ndarray:
    """f32 values, normal."""

def philox_uniform(
    seed: int, key: int, shape: Sequence[int], low: float, high: float
) -> np.ndarray:
    """f32 values, uniform on [low, high)."""

def run_graph(
    graph: Graph,
    inputs: Mapping[str, np.ndarray],
    states: Mapping[str, np.ndarray],
    threads: int = 1,
) -> tuple[Any, ...]:
    """Runs a graph op by op; returns (outputs, states after it)."""

def run_op(
    op: str, inputs: Sequence[np.ndarray], attrs: dict[str, Any], location: object, threads: int = 1
) -> list[np.ndarray]:
    """Runs one op at once on one CPU device."""

def verify_plans(plans: Sequence[Plan]) -> None:
    """Proofs over the plans of all ranks together."""
