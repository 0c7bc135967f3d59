"""Each mistake a user can make: the class, the line, the advice, and that following the advice cures it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

X = np.ones((4, 3), np.float32)
Y = np.zeros(4, np.int64)


def raises(
    kind: type[flow.Error], message: str, run: Callable[[], Any], marker: str = "# here"
) -> None:
    """`run` fails with `kind`, and the location is the line of the calling test that ends on `marker`."""
    with pytest.raises(kind, match=message) as caught:
        run()
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    source, first = inspect.getsourcelines(frame.f_back.f_code)
    lines = [first + i for i, line in enumerate(source) if line.rstrip().endswith(marker)]
    location = caught.value.location
    assert location is not None, caught.value
    assert location.file == __file__ and location.line in lines, (location, lines)
    assert str(location.line) in str(caught.value)


def graph_of(
    fn: Callable[..., Any], model: nn.Module | None = None, **options: Any
) -> Callable[[], Any]:
    """Traces `fn(x, y)` as an eval step."""
    step = flow.eval_step(
        fn, model=model or nn.Linear(3, 5), mesh=flow.mesh("cpu", dp=2), **options
    )
    return lambda: step.graph(X, Y)


def test_a_branch_on_a_traced_value() -> None:
    def step(x: flow.Tensor, y: flow.Tensor) -> flow.Tensor:
        if x.sum() > 0:  # here
            return x
        return -x

    raises(flow.Error, r"flow\.where", graph_of(step))
    graph_of(lambda x, y: flow.where(x.sum() > 0, x, -x))()


def test_the_value_of_a_traced_tensor() -> None:
    def step(x: flow.Tensor, y: flow.Tensor) -> flow.Tensor:
        return x * x.sum().item()  # here

    raises(flow.Error, "not known while the step is traced", graph_of(step))
    graph_of(lambda x, y: x * x.sum())()


def test_a_traced_value_used_after_the_trace() -> None:
    kept = []

    def step(x: flow.Tensor, y: flow.Tensor) -> flow.Tensor:
        kept.append(x * 2)
        return x

    graph_of(step)()
    raises(flow.Error, "used after the trace", lambda: kept[0] + 1)  # here
    raises(flow.Error, "used after the trace", lambda: kept[0].numpy())  # here


def test_shapes_that_do_not_fit() -> None:
    def step(x: flow.Tensor, y: flow.Tensor) -> flow.Tensor:
        return x @ x  # here

    raises(flow.ShapeError, "matmul", graph_of(step))
    graph_of(lambda x, y: x @ x.T)()


def test_shapes_that_do_not_broadcast() -> None:
    def step(x: flow.Tensor, y: flow.Tensor) -> flow.Tensor:
        return x + flow.zeros(4)  # here

    raises(flow.ShapeError, "add", graph_of(step))


def test_the_wrong_number_of_features_in_a_module() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: flow.Tensor) -> flow.Tensor:
            return self.layer(x)  # here

    model = Model()
    raises(flow.ShapeError, "linear", graph_of(lambda x, y: model(x), model))


def test_integer_logits() -> None:
    raises(flow.DTypeError, "mean of", lambda: flow.tensor([1, 2]).mean())  # here
    assert flow.tensor([1, 2]).float().mean().item() == 1.5


def test_floating_labels() -> None:
    raises(
        flow.DTypeError,
        "integer class indices",
        lambda: F.cross_entropy(flow.ones(2, 3), flow.ones(2)),  # here
    )


def test_a_reshape_that_loses_elements() -> None:
    raises(flow.ShapeError, "12 elements", lambda: flow.zeros(3, 4).reshape(5, -1))  # here


def test_an_index_out_of_range() -> None:
    raises(flow.ShapeError, "out of range", lambda: flow.zeros(3)[3])  # here


def test_a_mask_as_index() -> None:
    x = flow.tensor([1.0, -1.0])
    raises(flow.Error, r"flow\.where", lambda: x[x > 0])  # here


def test_a_rule_that_matches_nothing() -> None:
    model = nn.Linear(3, 5)
    mesh = flow.mesh("cpu", tp=2)

    def make(rules: dict[str, dict[str, str]]) -> flow.steps.EvalStep:
        return flow.eval_step(model, model=model, mesh=mesh, parallel=rules)  # here

    raises(flow.ShardingError, "matches no parameter", lambda: make({"wieght": {"tp": "S(0)"}}))
    raises(flow.ShardingError, "no axis 'tq'", lambda: make({"weight": {"tq": "S(0)"}}))
    raises(flow.ShardingError, "lacks", lambda: make({"weight": {"tp": "S(2)"}}))
    raises(flow.ShardingError, "no layout", lambda: make({"weight": {"tp": "split"}}))
    raises(
        flow.ShardingError,
        "never the first",
        lambda: make({"*": {"tp": "B"}, "weight": {"tp": "S(0)"}}),
    )
    make({"weight": {"tp": "S(0)"}})


def test_an_axis_of_size_one_may_be_named() -> None:
    model = nn.Linear(3, 5)
    rules = {"weight": {"tp": "S(0)"}}
    flow.eval_step(model, model=model, mesh=flow.mesh("cpu", dp=2, tp=1), parallel=rules)


def test_accumulate_must_divide_the_batch() -> None:
    step = flow.eval_step(
        lambda x: x * 2, model=nn.Linear(1, 1), mesh=flow.mesh("cpu", dp=1), accumulate=3
    )
    raises(flow.ShardingError, "must divide dim 0", lambda: step.graph(X))  # here
    step.graph(X[:3])


def test_a_loss_that_is_no_scalar() -> None:
    model = nn.Linear(3, 5)
    optimizer = flow.optim.SGD(model.parameters(), lr=0.1)
    mesh = flow.mesh("cpu", dp=1)
    step = flow.train_step(lambda x: model(x), model=model, optimizer=optimizer, mesh=mesh)
    raises(flow.Error, "the loss must be", lambda: step.graph(X))  # here
    step = flow.train_step(lambda x: {"acc": model(x)}, model=model, optimizer=optimizer, mesh=mesh)
    raises(flow.Error, "dict with 'loss'", lambda: step.graph(X))  # here
    step = flow.train_step(lambda x: x.sum(), model=model, optimizer=optimizer, mesh=mesh)
    raises(flow.Error, "no parameter", lambda: step.graph(X))  # here


def test_a_batch_of_objects() -> None:
    step = flow.eval_step(lambda x: x, model=nn.Linear(1, 1), mesh=flow.mesh("cpu", dp=1))
    raises(flow.DataError, "object", lambda: step.graph(object()))  # here
    raises(flow.Error, "missing a required argument", lambda: step.graph())  # here


def test_a_step_inside_a_step() -> None:
    inner = flow.eval_step(lambda x: x * 2, model=nn.Linear(1, 1), mesh=flow.mesh("cpu", dp=1))

    def step(x: flow.Tensor, y: flow.Tensor) -> flow.Tensor:
        return inner.graph(X)  # here

    raises(flow.Error, "while another one is traced", graph_of(step))


def test_torch_habits_get_advice() -> None:
    model = nn.Linear(3, 5)
    optimizer = flow.optim.SGD(model.parameters(), lr=0.1)
    raises(flow.Error, "nothing to zero", lambda: optimizer.zero_grad())  # here
    raises(flow.Error, "train_step", lambda: optimizer.step())  # here
    raises(flow.Error, "no parameters", lambda: flow.optim.SGD([], lr=0.1))  # here


def test_meshes_that_are_not_possible() -> None:
    raises(flow.ShardingError, "sizes are integers", lambda: flow.mesh("cpu", dp=0))  # here
    raises(flow.ShardingError, "micro", lambda: flow.mesh("cpu", micro=2))  # here
    raises(flow.ShardingError, "devices here", lambda: flow.mesh("tpu", dp=2))  # here


def test_an_axis_may_have_any_name() -> None:
    mesh = flow.mesh("cpu", x=2)
    step = flow.eval_step(
        lambda a: flow.shard(a * 2, x="S(0)"), model=nn.Linear(1, 1), mesh=mesh, parallel="auto"
    )
    assert step(X).numpy().tolist() == (X * 2).tolist()


def test_a_stage_that_does_not_exist() -> None:
    def fn(x: flow.Tensor) -> flow.Tensor:
        with flow.stage(2):  # here
            return x * 2

    step = flow.eval_step(fn, model=nn.Linear(1, 1), mesh=flow.mesh("cpu", pp=2))
    raises(flow.ShardingError, "stage 2 does not exist", lambda: step.graph(X))


def test_a_large_constant_gets_a_warning() -> None:
    table = flow.zeros(1 << 19)

    def step(x: flow.Tensor, y: flow.Tensor) -> flow.Tensor:
        return x.sum() + table.sum()

    model = nn.Linear(1, 1)
    wrapped = flow.eval_step(
        lambda x, y: x.sum() + table * x.sum(), model=model, mesh=flow.mesh("cpu")
    )
    with pytest.warns(UserWarning, match=r"2\.0 MiB"):
        wrapped.graph(X, Y)


def compiled(fn: Callable[..., Any], x: Any = X, **options: Any) -> Callable[[], Any]:
    """Compiles `fn(x)` as an eval step on dp=2."""
    model = options.pop("model", None) or nn.Linear(3, 5)
    step = flow.eval_step(fn, model=model, mesh=flow.mesh("cpu", dp=2), **options)
    return lambda: step.compile(x)


def test_samples_of_different_micro_batches() -> None:
    def step(x: flow.Tensor) -> flow.Tensor:
        return (x @ x.T).sum()  # here

    raises(flow.ShardingError, "different micro-batches", compiled(step, accumulate=2))
    compiled(step)()


def test_a_value_over_the_whole_batch_is_needed_too_early() -> None:
    model = nn.Linear(3, 5)

    def step(x: flow.Tensor) -> flow.Tensor:
        y = model(x)
        return y - y.mean(0)  # here

    raises(
        flow.ShardingError, "before the last micro-batch", compiled(step, model=model, accumulate=2)
    )
    compiled(step, model=model)()
    # What depends on the batch alone is computed before the first micro-batch.
    compiled(lambda x: x - x.mean(0), accumulate=2)()
    compiled(lambda x: x - x.mean(1, keepdim=True), accumulate=2)()


def test_more_memory_than_there_is() -> None:
    model = nn.Linear(10**6, 10**6)

    def step(x: flow.Tensor) -> flow.Tensor:
        return model(x)

    x = flow.spec((4, 10**6))
    with pytest.raises(MemoryError, match="parameters and optimizer") as caught:
        compiled(step, x, model=model)()
    assert isinstance(caught.value, flow.OutOfMemoryError) and caught.value.location is not None
    assert "accumulate=" in str(caught.value)


HUGE = {
    "zeros": lambda: flow.zeros(1 << 20, 1 << 20),
    "full": lambda: flow.full((1 << 40,), 2.0),
    "rand": lambda: flow.rand(1 << 20, 1 << 20),
    "randn": lambda: flow.randn(1 << 40),
    "randint": lambda: flow.randint(0, 2, (1 << 40,)),
    "arange": lambda: flow.arange(1 << 45),
    "eye": lambda: flow.eye(1 << 22),
    "expand": lambda: flow.ones(1).expand(1 << 20, 1 << 20),
    "a parameter": lambda: nn.Linear(1 << 20, 1 << 20).weight.numpy(),
    "beyond 64 bits": lambda: flow.zeros(1 << 40, 1 << 40),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_tensor_larger_than_the_memory_is_refused_with_its_size(name: str) -> None:
    with pytest.raises(MemoryError, match="this host has") as caught:
        HUGE[name]()
    assert isinstance(caught.value, flow.OutOfMemoryError)
    assert caught.value.location is not None and caught.value.location.file == __file__


# One call each that NumPy, C or a kernel might choke on: all are errors of ours with a line, none ends the process.
ODD_CALLS: dict[str, Callable[[], Any]] = {
    "window larger than the image": lambda: F.max_pool2d(flow.zeros(1, 1, 2, 2), 3),
    "stride 0": lambda: F.conv2d(flow.zeros(1, 1, 5, 5), flow.zeros(1, 1, 3, 3), stride=0),
    "groups 0": lambda: flow.ops.conv2d(flow.zeros(1, 5, 5, 1), flow.zeros(1, 1, 3, 3), groups=0),
    "one stride for two dims": lambda: flow.ops.conv2d(
        flow.zeros(1, 5, 5, 1), flow.zeros(1, 1, 3, 3), stride=(1,)
    ),
    "a dim that does not exist": lambda: flow.ops.sum(flow.zeros(2), dims=[5]),
    "a dim twice": lambda: flow.ops.sum(flow.zeros(2), dims=[0, 0]),
    "no permutation": lambda: flow.zeros(2, 3).permute(0, 0),
    "step 0": lambda: flow.ops.slice(flow.zeros(2), dim=0, start=0, stop=2, step=0),
    "ranks that differ": lambda: flow.cat([flow.zeros(2), flow.zeros(2, 2)]),
    "a probability of 2": lambda: F.dropout(flow.zeros(2), 2.0),
    "a shape beyond 64 bits": lambda: flow.ops.reshape(flow.zeros(2), shape=[2**33, 2**33]),
    "two unknown extents": lambda: flow.zeros(4).reshape(-1, -1),
    "an unknown extent beside 0": lambda: flow.zeros(3).reshape(-1, 0),
    "no element to find": lambda: flow.zeros(0, 3).argmax(0),
    "groups that do not divide": lambda: flow.ops.bn_sum(flow.zeros(4, 3), groups=3),
    "a missing slot": lambda: flow.ops.sgd_update(
        flow.zeros(2), flow.zeros(2), flow.tensor(0.1), flow.tensor(0), momentum=0.9
    ),
    "a negative extent": lambda: flow.zeros(-1, 2),
    "half an extent": lambda: flow.ones(2.5),
    "a dim that is a bool": lambda: flow.ones(2).sum(True),
    "an integer that a double lacks": lambda: flow.tensor([1]) + (2**53 + 1),
    "and of floats": lambda: flow.tensor([6.0]) & flow.tensor([3.0]),
    "an unknown dtype": lambda: flow.ops.cast(flow.zeros(2), dtype="zzz"),
    "a huge batch": compiled(lambda x: x * 2, flow.spec((2**62, 4))),
    "a negative batch": compiled(lambda x: x * 2, flow.spec((-1, 4))),
}


@pytest.mark.parametrize("name", ODD_CALLS)
def test_odd_calls_are_errors(name: str) -> None:
    with pytest.raises(flow.Error) as caught:
        ODD_CALLS[name]()
    assert caught.value.location is not None and caught.value.location.file == __file__
