"""One rank of a job: sums, maxima, shares and wholes of values that go round a ring in pieces. Started by test_rings.py."""

from __future__ import annotations

import json
import sys

import numpy as np
import oneflow as flow
from oneflow import nn


def values(devices: int, count: int) -> np.ndarray:
    """Whole numbers, so that a sum in f32 is exact in any order."""
    draw = np.random.default_rng(count)
    return draw.integers(-1000, 1000, (devices, count)).astype(np.float32)


def main() -> None:
    devices, count, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    mesh = flow.mesh("cpu", dp=devices, threads=1)

    @flow.eval_step(model=nn.Linear(1, 1), mesh=mesh)
    def step(x: flow.Tensor) -> tuple[flow.Tensor, ...]:
        total = x.sum(0)
        share = flow.shard(total, dp="S(0)")
        return (
            flow.shard(total, dp="B"),
            flow.shard(x.amax(0), dp="B"),
            flow.shard(share * 2.0, dp="B"),
        )

    x = values(devices, count)
    plan = step.compile(x).text
    for _ in range(3):
        outs = step(x)
    whole, most, doubled = (np.asarray(out) for out in outs)
    np.testing.assert_array_equal(whole, x.sum(0, dtype=np.float64))
    np.testing.assert_array_equal(most, x.max(0))
    np.testing.assert_array_equal(doubled, 2 * x.sum(0, dtype=np.float64))
    holdings = step.store.session.holdings()
    said = {name: holdings[name] for name in ("rings_in_place", "rings_landing")}
    with open(f"{path}.rank{flow.rank()}", "w") as file:
        json.dump({"plan": plan, **said}, file)


if __name__ == "__main__":
    main()
