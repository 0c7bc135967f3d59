"""States written by what reads them: `./dev long state-writes` runs 5,000 random programs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import oneflow as flow
import pytest

from tests.e2e.state_writes import program

PROGRAMS = 280


class Buffers(flow.nn.Module):
    """Two buffers that a step assigns."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("h", flow.Tensor(np.arange(n * n, dtype=np.float32).reshape(n, n)))
        self.register_buffer("g", flow.Tensor(np.full((n, n), 7, dtype=np.float32)))


def after_steps(
    model: Buffers, body: Callable[[], object], steps: int, accumulate: int = 1
) -> None:
    def step(x: flow.Tensor) -> flow.Tensor:
        body()
        return x.sum()

    run = flow.eval_step(
        step,
        model=model,
        mesh=flow.mesh("cpu", threads=1, dp=1),
        accumulate=accumulate,
        mutable="*",
    )
    for _ in range(steps):
        run(np.zeros((4, 2), dtype=np.float32))


def test_a_buffer_becomes_its_transpose() -> None:
    model = Buffers(3)

    def body() -> None:
        model.h = model.h.t()

    after_steps(model, body, 1)
    np.testing.assert_array_equal(model.h.numpy(), np.arange(9).reshape(3, 3).T)


def test_a_buffer_becomes_its_product() -> None:
    n = 96
    model = Buffers(n)
    w = np.random.default_rng(0).integers(-2, 3, (n, n)).astype(np.float32)
    h = np.random.default_rng(1).integers(-2, 3, (n, n)).astype(np.float32)
    model.h.copy_(h)
    model.g.copy_(w)

    def body() -> None:
        model.h = model.h @ model.g

    after_steps(model, body, 1)
    np.testing.assert_array_equal(model.h.numpy(), h @ w)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_buffers_are_swapped(accumulate: int) -> None:
    model = Buffers(3)
    h, g = model.h.numpy().copy(), model.g.numpy().copy()

    def body() -> None:
        model.h, model.g = model.g, model.h

    after_steps(model, body, 2, accumulate)
    np.testing.assert_array_equal(model.h.numpy(), h)
    np.testing.assert_array_equal(model.g.numpy(), g)
    after_steps(model, body, 1, accumulate)
    np.testing.assert_array_equal(model.h.numpy(), g)
    np.testing.assert_array_equal(model.g.numpy(), h)


def test_a_handle_keeps_what_its_name_meant() -> None:
    """An assignment gives the name a new value; a handle taken before it is the old one, and outside the step
    both are the buffer."""
    model = Buffers(3)
    handle = model.h
    h, g = model.h.numpy().copy(), model.g.numpy().copy()

    def body() -> None:
        old = model.h
        model.h = model.h + 1
        model.g = model.g + old + model.h

    after_steps(model, body, 1)
    np.testing.assert_array_equal(model.h.numpy(), h + 1)
    np.testing.assert_array_equal(model.g.numpy(), g + h + h + 1)
    assert model.h is handle


def test_a_buffer_read_after_its_update_is_read_as_it_was() -> None:
    model = Buffers(3)
    h, g = model.h.numpy().copy(), model.g.numpy().copy()

    def body() -> None:
        old = model.h.reshape(9).reshape(3, 3)
        model.h = model.h + 1
        model.g = model.g + old.t()

    after_steps(model, body, 1)
    np.testing.assert_array_equal(model.h.numpy(), h + 1)
    np.testing.assert_array_equal(model.g.numpy(), g + h.T)


def test_random_programs_equal_the_interpreter() -> None:
    wrong = []
    # The last ones were refused: a ring's shares under a view, reshards shared by output and update.
    for seed in [*range(PROGRAMS), 417, 984, 1201]:
        one = program(seed)
        difference = one.run_both()
        if difference is not None:
            wrong.append(f"program {seed} {one.layout}: {difference}; {one.writes}")
    assert not wrong, "\n".join(wrong)
