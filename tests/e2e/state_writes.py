"""Random programs that write their states, in every layout, against the interpreter: bit for bit.

All numbers are small integers in f32, so sums are exact in any order and no tolerance hides a wrong element.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from oneflow import _core

HERE = ("state_writes.py", 1, "program")
BATCH = 8
STEPS = 3
LIMIT = 2**20  # a value that could exceed it is clamped

# (mesh axes, accumulate, ranks).
LAYOUTS: list[tuple[dict[str, int], int, int]] = [
    ({"dp": 1}, 1, 1),
    ({"dp": 1}, 2, 1),
    ({"dp": 2}, 1, 1),
    ({"dp": 2}, 2, 2),
    ({"tp": 2}, 1, 2),
    ({"pp": 2}, 2, 1),
    ({"dp": 3}, 1, 1),
]


@dataclass
class Value:
    """A value of the graph with a bound of its elements."""

    id: int
    shape: tuple[int, ...]
    bound: float


@dataclass
class Program:
    """One random graph; `describe` names its writes."""

    seed: int
    layout: tuple[dict[str, int], int, int]
    graph: Any = None
    states: dict[str, np.ndarray] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.numbers = np.random.default_rng(self.seed)
        self.graph = _core.Graph(f"program{self.seed}")
        self.n = self.random.choice([2, 3, 4, 5, 24])
        axes = self.layout[0]
        layout_axes = 1 + sum(axis != "pp" for axis in axes)
        self.batch = BATCH if axes.get("dp") != 3 else 6
        x = self.add("input", [], name="x", dtype="f32", shape=[self.batch, self.n], kind="batch")
        samples = Value(x, (self.batch, self.n), 3)
        current = {}
        for i in range(self.random.randint(1, 4)):
            name = f"h{i}"
            shape = self.random.choice([(self.n, self.n)] * 4 + [(self.n,), ()])
            annotation = {}
            if "tp" in axes and shape and self.random.random() < 0.5:
                annotation = {"tp": self.random.choice(["S(0)", "B"])}
            self.graph.add_state(name, "f32", list(shape), annotation, "", layout_axes)
            self.states[name] = self.numbers.integers(-3, 4, shape).astype(np.float32)
            current[name] = Value(self.add("state_read", [], name=name), shape, 3)
        self.make(samples, current)

    def add(self, op: str, inputs: list[int], **attrs: Any) -> int:
        result: list[int] = self.graph.add_node(op, inputs, attrs, HERE, "", None)
        return result[0] if result else -1

    def clamp(self, value: Value, bound: float) -> Value:
        """Within [-bound, bound] by ops whose numbers stay exact."""
        if value.bound <= bound:
            return value
        high = self.add("sub", [value.id, self.add("relu", [self.shifted(value, -bound)])])
        low = self.add(
            "add", [high, self.add("relu", [self.add("neg", [self.add_scalar(high, bound)])])]
        )
        return Value(low, value.shape, bound)

    def shifted(self, value: Value, by: float) -> int:
        return self.add_scalar(value.id, by)

    def add_scalar(self, id: int, by: float) -> int:
        return self.add("add_scalar", [id], value=float(by))

    def make(self, samples: Value, current: dict[str, Value]) -> None:
        pool = list(current.values())
        square = (self.n, self.n)
        if self.random.random() < 0.5:
            product = self.add(
                "matmul", [samples.id, samples.id], transpose_a=True, transpose_b=False
            )
            pool.append(self.clamp(Value(product, square, 9.0 * self.batch), 3))
        if self.random.random() < 0.5:
            total = self.add("sum", [samples.id], dims=[0], keepdim=False)
            pool.append(Value(total, (self.n,), 3.0 * self.batch))
        for _ in range(self.random.randint(1, 8)):
            pool.append(self.random_op(pool))
        names = list(current)
        self.random.shuffle(names)
        swapped = self.random.random() < 0.4
        for name in names:
            shape = current[name].shape
            others = [v for n, v in current.items() if v.shape == shape and n != name]
            if swapped and others:
                new = self.random.choice(others)
            elif self.random.random() < 0.15:
                continue
            else:
                same = [v for v in pool if v.shape == shape]
                fresh = [v for v in same if v not in current.values()]
                new = self.random.choice(fresh or same)
                if self.random.random() < 0.6:
                    new = self.random_op(
                        [new, current[name]] if self.random.random() < 0.5 else [new], shape
                    )
            if new not in current.values():
                new = self.clamp(new, 3)
            self.writes.append(f"{name} <- %{new.id}")
            self.add("state_write", [new.id], name=name)
        for i, value in enumerate(self.random.sample(pool, min(2, len(pool)))):
            self.add("output", [value.id], name=f"out{i}")

    def random_op(self, pool: list[Value], shape: tuple[int, ...] | None = None) -> Value:
        """Of any shape, or of `shape` from values that have it."""
        while True:
            a = self.clamp(self.random.choice(pool), LIMIT)
            b = self.clamp(self.random.choice(pool), LIMIT)
            if shape is not None and (a.shape != shape or b.shape != shape):
                a = b = next(v for v in pool if v.shape == shape)
            kind = self.random.choice(
                ["t", "roll", "binary", "binary", "matmul", "view", "broadcast", "unary", "sum"]
            )
            if kind == "unary":
                op = self.random.choice(["relu", "neg", "abs"])
                return Value(self.add(op, [a.id]), a.shape, a.bound)
            if kind == "binary" and a.shape == b.shape:
                op = self.random.choice(["add", "sub", "mul", "maximum"])
                if op == "mul":
                    a, b = self.clamp(a, 100), self.clamp(b, 100)
                bound = a.bound * b.bound if op == "mul" else a.bound + b.bound
                return Value(self.add(op, [a.id, b.id]), a.shape, bound)
            if a.shape != (self.n, self.n):
                continue
            if kind == "t":
                return Value(self.add("permute", [a.id], dims=[1, 0]), a.shape, a.bound)
            if kind == "roll":
                dim, cut = self.random.randint(0, 1), self.random.randint(1, self.n - 1)
                tail = self.add("slice", [a.id], dim=dim, start=cut, stop=self.n, step=1)
                head = self.add("slice", [a.id], dim=dim, start=0, stop=cut, step=1)
                return Value(self.add("cat", [tail, head], dim=dim), a.shape, a.bound)
            if kind == "matmul" and b.shape == a.shape:
                a, b = self.clamp(a, 30), self.clamp(b, 30)
                transposes = {"transpose_a": self.random.random() < 0.3, "transpose_b": False}
                product = self.add("matmul", [a.id, b.id], **transposes)
                return Value(product, a.shape, a.bound * b.bound * self.n)
            if kind == "view":
                flat = self.add("reshape", [a.id], shape=[self.n * self.n])
                square = self.add("reshape", [flat], shape=[self.n, self.n])
                return Value(square, a.shape, a.bound)
            if kind == "broadcast":
                row = self.add("slice", [a.id], dim=0, start=0, stop=1, step=1)
                return Value(self.add("add", [a.id, row]), a.shape, 2 * a.bound)
            if kind == "sum" and shape is None:
                total = self.add("sum", [a.id], dims=[0], keepdim=False)
                return Value(total, (self.n,), a.bound * self.n)

    def run_both(self) -> str | None:
        """What differs between the plans in a random order of events and the interpreter, if anything."""
        axes, accumulate, ranks = self.layout
        count = int(np.prod(list(axes.values())))
        target = _core.Target.cpu(
            ranks=[device * ranks // count for device in range(count)], threads=1, cores=2
        )
        plans = [
            _core.compile(
                self.graph, target, list(axes.items()), list(range(count)), accumulate, rank, ranks
            ).plan
            for rank in range(ranks)
        ]
        x = [
            self.numbers.integers(-3, 4, (self.batch, self.n)).astype(np.float32)
            for _ in range(STEPS)
        ]
        states = dict(self.states)
        expected = []
        for step in range(STEPS):
            outputs, states = _core.run_graph(self.graph, {"x": x[step]}, states)
            expected.append(outputs)
        known = {name for plan in plans for name, _, _ in plan.states}
        inputs = [[x[step] for _ in plans[0].inputs] for step in range(STEPS)]
        runtime = _core.VirtualRuntime(plans, with_kernels=True, verify=True)
        initial = {name: value for name, value in self.states.items() if name in known}
        got = runtime.run(initial, inputs, self.seed)
        for step in range(STEPS):
            for name, value in got["outputs"][step].items():
                if not np.array_equal(value, expected[step][name]):
                    return f"output {name} of step {step}"
        for name in known:
            if not np.array_equal(got["states"][name], states[name]):
                return f"state {name}"
        return None


def program(seed: int) -> Program:
    """The program with this number."""
    return Program(seed, LAYOUTS[seed % len(LAYOUTS)])
