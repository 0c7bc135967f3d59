"""Denormals are zero in every kernel, whoever runs it, and NumPy in the same thread goes on as before."""

from __future__ import annotations

import numpy as np
import oneflow as flow
import pytest

LEAST = np.finfo(np.float32).tiny
TINY = np.full((512, 512), LEAST / 4, np.float32)  # denormal; enough for every thread of a team


def numpy_keeps_denormals() -> bool:
    return bool((np.full(64, LEAST, np.float32) * np.float32(0.5) > 0).all())


def test_eager_ops_flush() -> None:
    assert (TINY > 0).all() and numpy_keeps_denormals()
    for x in (TINY, TINY[:4, :4]):
        t = flow.tensor(x)
        assert ((t + t).numpy() == 0).all() and ((t * 1024).numpy() == 0).all()
        assert ((t @ flow.ones(x.shape[1], 8)).numpy() == 0).all()
        assert t.numpy().tobytes() == x.tobytes()  # what is only moved stays
        assert numpy_keeps_denormals()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["cpu", "async"])
@pytest.mark.parametrize("devices", [1, 2])
def test_steps_flush(kind: str, threads: int, devices: int) -> None:
    @flow.eval_step(model=flow.nn.Identity(), mesh=flow.mesh(kind, threads=threads, dp=devices))
    def step(x):
        return {"sum": x + x, "product": x * 1024, "total": (x * 1024).sum(), "same": x}

    for _ in range(3):
        got = step(TINY)
        assert (got["sum"].numpy() == 0).all() and (got["product"].numpy() == 0).all()
        assert float(got["total"]) == 0
        assert got["same"].numpy().tobytes() == TINY.tobytes()
        assert numpy_keeps_denormals()
