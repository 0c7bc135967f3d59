"""Writing in place, through views: the same elements and gradients as in PyTorch, or an error."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

torch = pytest.importorskip("torch")

Program = Callable[[Any, Any], Any]  # of the framework and x [4, 6] to a tensor


def shifted(lib: Any, x: Any) -> Any:
    y = x * 2
    y[:, :-1] = x[:, 1:]
    y[:, -1] = 0
    return y


def through_a_transpose(lib: Any, x: Any) -> Any:
    y = x + 1
    view = y.transpose(0, 1)
    view[2:4] *= 3
    return y


def seen_in_older_views(lib: Any, x: Any) -> Any:
    y = x * 1
    rows, flat = y[1], y.view(-1)
    y += 1
    flat[::5] *= 2
    return rows.sum() + (y * y.detach()).sum()


def chain(lib: Any, x: Any) -> Any:
    return x.clone().mul_(2).add_(x, alpha=0.5).sub_(1).div_(3).clamp_(min=-1, max=1)


def views_of_views(lib: Any, x: Any) -> Any:
    y = x.clone()
    y.view(2, 2, 6).permute(2, 0, 1)[1:5, 0].unsqueeze(0).squeeze(0).mul_(-1)
    return y


def parts(lib: Any, x: Any) -> Any:
    y = x * 1
    a, b, c = (y.narrow(1, at, 2) for at in (0, 2, 4))
    b.copy_(a + c)
    a.zero_()
    return y


def masks(lib: Any, x: Any) -> Any:
    y = x * 1
    y[x > 0.5] = -1.0
    y[:, lib.tensor([True, False, False, True, False, False])] = 0.25
    y.masked_fill_(x < -0.5, 2.0)
    return y


def rows_by_integers(lib: Any, x: Any) -> Any:
    y = x * 1
    y[lib.tensor([3, 0])] = x[lib.tensor([1, 2])] * 5
    y[lib.arange(4), lib.tensor([0, 5, 2, -1])] += 10
    y[1, lib.tensor([0, 1])] = 7
    return y + y[:, lib.tensor([[0, 1], [2, 3]])].sum((1, 2), keepdim=True)[:, :, 0]


def strided(lib: Any, x: Any) -> Any:
    y = x * 1
    y[1::2, ::3] = x[:2, 2:4]
    y[..., 1:6:2] *= 2
    return y


def into_zeros(lib: Any, x: Any) -> Any:
    out = lib.zeros(4, 8)
    out[:, 1:7] = x
    out[2] += 1
    return out


def scattered(lib: Any, x: Any) -> Any:
    index = lib.tensor([[0, 2], [1, 1], [5, 3], [4, 0]])
    one_hot = lib.zeros(4, 6).scatter_(1, index, 1.0)
    y = (x * 1).scatter_(1, index[:, :1], x[:, 3:4])
    y.scatter_add_(1, index, x[:, :2])
    return y * one_hot + y.scatter(1, index[:, 1:], 0.5)


def slices_by_integers(lib: Any, x: Any) -> Any:
    index = lib.tensor([2, 0])
    y = (x * 1).index_fill_(0, index, 3.0).index_add_(0, index, x[:2])
    y.index_copy_(1, index, x[:, 4:])
    return y.index_put((lib.tensor([1, 1]), lib.tensor([0, 4])), lib.tensor([8.0, 9.0]))


def accumulated(lib: Any, x: Any) -> Any:
    y = x * 1
    y.index_put_((lib.tensor([1, 1, 3]), lib.tensor([0, 0, 4])), x[0, :3], accumulate=True)
    return y


def under_no_grad(lib: Any, x: Any) -> Any:
    y = x * 2
    with lib.no_grad():
        y.mul_(5)
        y[0] = 1
    return y * 3


def views_under_no_grad(lib: Any, x: Any) -> Any:
    y = x * 2
    first, last = y[0], y[-1]
    with lib.no_grad():
        first.mul_(5)
    y += 1
    with lib.no_grad():
        seen = y[1:].sum() + last.sum()  # read here for the first time since it was written
    return y * 3 + first + last + seen


def activations(lib: Any, x: Any) -> Any:
    functional = lib.nn.functional
    y = x * 1
    z = functional.relu(y, inplace=True)
    w = functional.leaky_relu(x - 0.1, 0.1, True)
    v = lib.nn.Hardtanh(-0.3, 0.3, inplace=True)(x * 1)
    return y + z + w + v


def products(lib: Any, x: Any) -> Any:
    y = x.clone()
    y[0, 0] = 0
    return lib.cumprod(y, 1) + lib.prod(y, 0) + y.prod(dim=1, keepdim=True) + lib.prod(y)


def dims(lib: Any, x: Any) -> Any:
    square = x[:, :4]
    a, b = lib.meshgrid(x[0], x[:, 1], indexing="xy")
    return (
        x.unfold(1, 3, 1).sum(-1)
        + x.unfold(1, 2, 2)[:, [0, 1, 2, 0]].mean(-1)
        + lib.diag(square.diagonal()) * lib.trace(square)
        + lib.tensordot(x, x, dims=([0], [0]))[:4, 2:]
        + (a * b)[:, :4]
        + x.unflatten(1, (2, -1)).flatten(1)[:, 1:5]
        + lib.hstack([x[:, :1], lib.vstack([x[:2, 1:4], x[2:, 3:]])])
        + x.diff(dim=1)[:, :4]
        + (2.0**x)[:, :4]
        + square.select(0, 1)
    )


PROGRAMS: list[Program] = [
    *(shifted, through_a_transpose, seen_in_older_views, chain, views_of_views, parts, masks),
    *(rows_by_integers, strided, into_zeros, scattered, slices_by_integers, accumulated),
    *(under_no_grad, views_under_no_grad, activations, products, dims),
]
X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)


def of_torch(program: Program) -> tuple[np.ndarray, np.ndarray]:
    x = torch.tensor(X, requires_grad=True)
    y = program(torch, x * 1)
    (y * y.cos().detach()).sum().backward()
    return y.detach().numpy(), x.grad.numpy()


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(X)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_outside_steps(program: Program) -> None:
    wanted, _ = of_torch(program)
    assert np.allclose(program(flow, flow.tensor(X)).numpy(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.parametrize("axes", [{"dp": 1}, {"tp": 2}], ids=["one", "tp2"])
def test_gradients(program: Program, axes: dict[str, int]) -> None:
    wanted, gradient = of_torch(program)
    holder = Holder()

    def loss(scale: Any) -> Any:
        y = program(flow, holder.x * scale)
        return (y * y.cos().detach()).sum()

    rules = {"x": {"tp": "S(1)"}} if "tp" in axes else "auto"
    step = flow.value_and_grad(loss, model=holder, mesh=flow.mesh("cpu", **axes), parallel=rules)
    value, gradients = step(np.float32(1))
    assert np.allclose(value.numpy(), (wanted * np.cos(wanted)).sum(), rtol=1e-4, atol=1e-4)
    assert np.allclose(gradients["x"].numpy(), gradient, rtol=1e-4, atol=1e-4)


IMAGE = np.random.default_rng(1).standard_normal((2, 4, 2, 2)).astype(np.float32)

# Functions of an image: of some PyTorch's result shares the elements of its argument, of others it is a copy.
SHARING: dict[str, Callable[[Any, Any], Any]] = {
    "pad by nothing": lambda lib, x: lib.nn.functional.pad(x, (0, 0)),
    "pad that cuts": lambda lib, x: lib.nn.functional.pad(x, (-1, 0)),
    "interpolate": lambda lib, x: lib.nn.functional.interpolate(x, size=(2, 2)),
    "interpolate wider": lambda lib, x: lib.nn.functional.interpolate(x, scale_factor=2),
    "pixel_shuffle": lambda lib, x: lib.nn.functional.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda lib, x: lib.nn.functional.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda lib, x: lib.nn.ChannelShuffle(2)(x),
    "repeat once": lambda lib, x: x.repeat(1, 1, 1, 1),
    "repeat": lambda lib, x: x.repeat(2, 1, 1, 1),
    "repeat_interleave once": lambda lib, x: x.repeat_interleave(1, dim=0),
    "repeat_interleave": lambda lib, x: x.repeat_interleave(2, dim=1),
    "roll by nothing": lambda lib, x: lib.roll(x, 0, 1),
    "dropout in evaluation": lambda lib, x: lib.nn.functional.dropout(x, 0.5, training=False),
    "dropout of nothing": lambda lib, x: lib.nn.Dropout(0.0)(x),
    "identity": lambda lib, x: lib.nn.Sequential(lib.nn.Identity())(x),
    "flatten": lambda lib, x: lib.flatten(x, 1),
    "nn.Flatten": lambda lib, x: lib.nn.Flatten()(x),
    "float": lambda lib, x: x.float(),
    "to": lambda lib, x: x.to(x.dtype),
    "contiguous": lambda lib, x: x.contiguous(),
    "power of one": lambda lib, x: x**1,
    "sum of one": lambda lib, x: x[:, :1].sum(1, keepdim=True),
    "maximum of one": lambda lib, x: x[:, :1].amax(1),
    "cat of one": lambda lib, x: lib.cat([x]),
    "stack of one": lambda lib, x: lib.stack([x]),
    "split": lambda lib, x: x.split(2, dim=1)[1],
    "unbind": lambda lib, x: x.unbind(0)[1],
    "chunk": lambda lib, x: lib.chunk(x, 2, 1)[0],
    "select": lambda lib, x: lib.select(x, 1, 3),
    "movedim": lambda lib, x: x.movedim(1, 3),
    "swapaxes": lambda lib, x: x.swapaxes(0, 1),
    "mT": lambda lib, x: x.mT,
    "view_as": lambda lib, x: x.view_as(x.flatten()),
    "unflatten": lambda lib, x: x.unflatten(1, (2, 2)),
    "windows that meet": lambda lib, x: x.unfold(1, 2, 2),
    "rows by integers": lambda lib, x: x[lib.tensor([0, 1])],
    "index_select": lambda lib, x: x.index_select(0, lib.tensor([0, 1])),
    "flip": lambda lib, x: x.flip(0),
    "einsum": lambda lib, x: lib.einsum("nchw->cnhw", x),
    "tril": lambda lib, x: x.tril(),
    "clamp": lambda lib, x: x.clamp(min=-100),
    "where": lambda lib, x: lib.where(x > -100, x, 0.0),
    "expand of the same shape": lambda lib, x: x.expand(2, 4, 2, 2),
    "adaptive_avg_pool2d": lambda lib, x: lib.nn.functional.adaptive_avg_pool2d(x, 2),
    "max_pool2d": lambda lib, x: lib.nn.functional.max_pool2d(x, 1),
    "narrow": lambda lib, x: x.narrow(2, 0, 2),
    "diff of nothing": lambda lib, x: x.diff(n=0),
    "reshape": lambda lib, x: x.reshape(2, 16),
    "squeeze": lambda lib, x: x[:, :1].squeeze(1),
    "ravel": lambda lib, x: x.ravel(),
    "T": lambda lib, x: x.flatten(1).T,
    "detach": lambda lib, x: x.detach(),
}


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_what_shares_its_elements(name: str, inside: bool) -> None:
    function = SHARING[name]

    def written(lib: Any, x: Any) -> Any:
        x = x * 1
        y = function(lib, x)
        y.add_(1)
        return lib.cat([x.flatten(), y.flatten()])

    wanted = written(torch, torch.tensor(IMAGE)).numpy()
    try:
        if inside:
            step = flow.eval_step(lambda x: written(flow, x), model=nn.Linear(1, 1))
            found = step(IMAGE).numpy()
        else:
            found = written(flow, flow.tensor(IMAGE)).numpy()
    except flow.Error as error:
        assert inside and name == "detach" and "without their gradient" in str(error)
        return
    assert np.allclose(found, wanted)


def random_program(seed: int, length: int, lib: Any, x: Any) -> tuple[list[Any], Any]:
    """Views, writes and sums over tensors that share elements; all of them, and a loss.

    Nothing that backward needs is overwritten: PyTorch would refuse.
    """
    draw = random.Random(seed)
    tensors = [x * 1]

    def a_view(t: Any) -> Any:
        kind = draw.randrange(7)
        dim = draw.randrange(t.dim()) if t.dim() else 0
        if not t.dim():
            return t.unsqueeze(0)
        if kind == 0:
            return t.transpose(dim, -1)
        if kind == 1:
            return t.unsqueeze(dim)
        if kind == 2:
            return t.reshape(-1)
        if kind == 3:
            return t[(slice(None),) * dim + (draw.randrange(t.shape[dim]),)]
        if kind == 4:
            begin = draw.randrange(t.shape[dim])
            step = draw.choice([1, 1, 2])
            return t[(slice(None),) * dim + (slice(begin, None, step),)]
        if kind == 5:
            return t.contiguous()
        return t.flatten(0, -1) if t.dim() > 2 else t[..., None].squeeze(-1)

    for _ in range(length):
        t, other = draw.choice(tensors), draw.choice(tensors)
        kind = draw.randrange(8)
        number = draw.choice([0.5, -1.0, 2.0])
        if kind < 3:
            tensors.append(a_view(t))
        elif kind == 3:
            t += number
        elif kind == 4:
            t *= number
        elif kind == 5:
            if t.dim():
                at = draw.randrange(t.shape[0])
                t[at] = other.sum() * 0.1
        elif kind == 6:
            if t.dim():
                begin = draw.randrange(t.shape[-1])
                t[..., begin:] += number
        else:
            tensors.append(t.clone() if draw.random() < 0.5 else t + number)
    loss = x.sum() * 0
    for i, t in enumerate(tensors):
        loss = loss + t.sum() * (1 + 0.1 * i)
    return tensors, loss


def differs_or_refused(seed: int, length: int) -> bool:
    """Runs a program on both sides; True if ours refused it."""
    theirs = torch.tensor(X, requires_grad=True)
    wanted, loss = random_program(seed, length, torch, theirs)
    loss.backward()
    holder = Holder()
    try:
        found, _ = random_program(seed, length, flow, flow.tensor(X))
        step = flow.value_and_grad(
            lambda: random_program(seed, length, flow, holder.x)[1], model=holder
        )
        value, gradients = step()
    except flow.Error as error:
        assert "may share its elements" in str(error), error
        return True
    for a, b in zip(found, wanted, strict=True):
        assert np.allclose(a.numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-4), seed
    assert np.allclose(value.numpy(), loss.detach().numpy(), rtol=1e-4, atol=1e-3), seed
    assert np.allclose(gradients["x"].numpy(), theirs.grad.numpy(), rtol=1e-4, atol=1e-4), seed
    return False


@pytest.mark.parametrize("first", range(0, 150, 30))
def test_random_programs(first: int) -> None:
    refused = sum(differs_or_refused(seed, 14) for seed in range(first, first + 30))
    assert refused <= 12


# Errors.


def traced(function: Callable[[Any], Any]) -> Any:
    """The function's result for X inside a step."""
    return flow.eval_step(function, model=nn.Linear(1, 1))(X).numpy()


def test_a_copy_or_a_view() -> None:
    def unclear(x: Any) -> Any:
        y = x * 1
        z = y.transpose(0, 1).reshape(4, 6)
        z += 1
        return y

    with pytest.raises(flow.Error, match=r"\.clone\(\)"):
        traced(unclear)
    with pytest.raises(flow.Error, match=r"\.clone\(\)"):
        unclear(flow.tensor(X)).numpy()

    def clear(x: Any) -> Any:
        y = x * 1
        z = y.transpose(0, 1).reshape(4, 6).clone()
        z += 1
        return y

    assert np.array_equal(traced(clear), X)


COPIES: dict[str, Callable[[Any, Any], Any]] = {
    "diff": lambda lib, x: lib.diff(x, n=0),
    "flip": lambda lib, x: lib.flip(x, ()),
    "flip_0d": lambda lib, x: lib.flip(x[0, 0], (0,)),
    "logcumsumexp": lambda lib, x: lib.logcumsumexp(x[0, 0], 0),
    "matrix_power": lambda lib, x: lib.matrix_power(x, 1),
    "quantile": lambda lib, x: lib.quantile(x[0, 0], 0.5),
    "rot90": lambda lib, x: lib.rot90(x, 0),
}


@pytest.mark.parametrize("name", COPIES)
def test_what_changes_nothing_is_a_copy(name: str) -> None:
    for lib in (torch, flow):
        x = lib.tensor([[1.0, 2.0], [3.0, 4.0]])
        y = COPIES[name](lib, x)
        y[...] = 0
        assert x.tolist() == [[1.0, 2.0], [3.0, 4.0]], lib.__name__


def test_writing_through_detach() -> None:
    def unclear(x: Any) -> Any:
        y = x * 1
        y.detach().mul_(2)
        return y

    with pytest.raises(flow.Error, match="without their gradient"):
        traced(unclear)


def test_expanded_tensors_are_not_written() -> None:
    with pytest.raises(flow.Error, match=r"use \.clone\(\)"):
        flow.zeros(1, 3).expand(2, 3).add_(1)
    assert flow.zeros(1, 3).expand(2, 3).clone().add_(1).tolist() == [[1.0] * 3] * 2


def test_shapes_and_types_stay() -> None:
    counts = flow.tensor([1, 2])
    with pytest.raises(flow.DTypeError, match="cannot be written"):
        counts += 0.5
    with pytest.raises(flow.ShapeError, match="cannot be written"):
        counts += flow.zeros(3, 2).long()
    with pytest.raises(flow.ShapeError, match="written into"):
        counts[:1] = flow.tensor([1, 2, 3])
    x = flow.zeros(2)
    x += flow.tensor([1, 2])
    assert x.dtype is flow.float32 and x.tolist() == [1.0, 2.0]


def test_parameters_of_a_step_are_not_written() -> None:
    layer = nn.Linear(6, 2)

    def forward(x: Any) -> Any:
        layer.weight += 1
        return layer(x)

    with pytest.raises(flow.Error, match="no_grad"):
        flow.eval_step(forward, model=layer)(X)


def test_tensors_from_outside_are_not_written_inside() -> None:
    seen = flow.zeros(4, 6)

    def forward(x: Any) -> Any:
        nonlocal seen
        seen += 1
        return x + seen

    with pytest.raises(flow.Error, match="register_buffer"):
        traced(forward)
    assert seen.numpy().max() == 0


def test_buffers_are_written_through_views() -> None:
    class Queue(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(np.ones(6, np.float32))
            self.register_buffer("rows", flow.zeros(8, 6))
            self.register_buffer("place", flow.zeros((), dtype=flow.int64))

        def forward(self, x: Any) -> Any:
            before = self.rows.sum()
            self.rows[2:6] = x.detach()
            self.rows.t()[0] *= 0
            self.rows[self.place] = 5.0
            self.place += 1
            return (x * self.weight).mean() + 0 * before

    queue = Queue()
    optimizer = flow.optim.SGD(queue.parameters(), lr=0.1)
    step = flow.train_step(lambda x: queue(x), model=queue, optimizer=optimizer)
    for _ in range(2):
        step(X)
    wanted = np.zeros((8, 6), np.float32)
    wanted[2:6] = X
    wanted[:, 0] = 0
    wanted[0, 1:] = wanted[1] = 5
    assert np.array_equal(queue.rows.numpy(), wanted)
    assert queue.place.item() == 2


class Keeping:
    """A module for both libraries whose forward assigns a buffer and writes on."""

    @staticmethod
    def of(library: Any, forward: Any) -> Any:
        class Keeper(library.nn.Module):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("kept", library.zeros(4, 6))

            def forward(self, x: Any) -> Any:
                return forward(self, x)

        return Keeper()


def _value_then_buffer(self: Any, x: Any) -> Any:
    y = x * 2
    self.kept = y
    y += 100
    return self.kept * 3 + y


def _buffer_then_value(self: Any, x: Any) -> Any:
    y = x * 2
    self.kept = y
    self.kept += 1
    self.kept.mul_(2)
    return y - x


def _through_views(self: Any, x: Any) -> Any:
    y = x.reshape(6, 4) * 2
    self.kept = y.t()
    self.kept[1] = 5
    y[0] += 7
    return y * self.kept.t()


def _assigned_again(self: Any, x: Any) -> Any:
    y, z = x * 2, x * 3
    self.kept = y
    self.kept += 1
    self.kept = z
    self.kept += 10
    y += 100
    return y + 2 * z


def _copied_into(self: Any, x: Any) -> Any:
    y = x * 2
    self.kept = y
    self.kept.copy_(x * 5)
    return y + x


def _a_copy(self: Any, x: Any) -> Any:
    y = x * 2
    self.kept = y.clone()
    y += 100
    return y + self.kept


@pytest.mark.parametrize(
    "forward",
    [
        _value_then_buffer,
        _buffer_then_value,
        _through_views,
        _assigned_again,
        _copied_into,
        _a_copy,
    ],
    ids=lambda f: f.__name__.strip("_"),
)
def test_a_buffer_and_what_it_was_assigned_are_one_tensor(forward: Any) -> None:
    theirs = Keeping.of(torch, forward)
    leaf = torch.tensor(X, requires_grad=True)
    right = forward(theirs, leaf)
    right.sum().backward()
    ours = Keeping.of(flow, forward)

    def outcome(x: Any) -> Any:
        y = ours(x)
        (gradient,) = flow.autograd.grad(y.sum(), [x])
        return y, gradient

    y, gradient = flow.eval_step(outcome, model=ours, mutable=("kept",))(X)
    assert np.array_equal(y.numpy(), right.detach().numpy())
    assert np.array_equal(gradient.numpy(), leaf.grad.numpy())
    assert np.array_equal(ours.kept.numpy(), theirs.kept.detach().numpy())


def test_initialisation_through_views_of_parameters() -> None:
    linear, embedding = nn.Linear(4, 6), nn.Embedding(5, 3)
    linear.weight.data[:2].fill_(3)
    linear.weight.data[2:].normal_(0, 1e-3)
    embedding.weight.data[1].zero_()
    nn.init.constant_(linear.bias[3:], 2.0)
    with flow.no_grad():
        linear.bias[0] = 9
    assert (linear.weight.numpy()[:2] == 3).all() and abs(linear.weight.numpy()[2:]).max() < 0.1
    assert not embedding.weight.numpy()[1].any() and embedding.weight.numpy()[0].any()
    assert linear.bias.numpy()[0] == 9 and (linear.bias.numpy()[3:] == 2).all()


def test_a_view_of_a_parameter_made_outside_has_its_gradient() -> None:
    layer = nn.Linear(6, 3, bias=False)
    transposed = layer.weight.t()
    step = flow.value_and_grad(lambda x: (x @ transposed).sum(), model=layer)
    _, gradients = step(X)
    assert np.allclose(gradients["weight"].numpy(), np.tile(X.sum(0), (3, 1)), atol=1e-5)


def test_memory_of_numpy_is_shared() -> None:
    array = np.zeros((2, 3), np.float32)
    tensor = flow.from_numpy(array)
    tensor[1] += 4
    assert array[1].tolist() == [4, 4, 4]
    frozen = np.ones(2, np.float32)
    frozen.flags.writeable = False
    other = flow.from_numpy(frozen)
    other += 1
    assert other.tolist() == [2, 2] and frozen.tolist() == [1, 1]


def test_a_pickled_row_leaves_the_others_behind() -> None:
    rows = flow.zeros(1000, 10)
    row = pickle.loads(pickle.dumps(rows[3]))
    assert len(pickle.dumps(rows[3])) < 2000
    row += 1
    assert row.tolist() == [1] * 10 and not rows.numpy().any()


def test_dropout_in_place() -> None:
    x = flow.ones(100)
    y = F.dropout(x, 0.5, training=True, inplace=True)
    assert y is x and set(x.tolist()) == {0.0, 2.0}
    assert F.dropout(x, 0.5, training=False, inplace=True) is x


def test_values_written_into_a_buffer_are_its_own() -> None:
    class Keeper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kept", flow.zeros(4, 6))

        def forward(self, x: Any) -> Any:
            y = x * 2
            self.kept.copy_(y)
            y += 100
            return y.sum()

    keeper = Keeper()
    flow.eval_step(lambda x: keeper(x), model=keeper, mutable=("kept",))(X)
    assert np.array_equal(keeper.kept.numpy(), X * 2)
