"""More functions against PyTorch: elementary ones, activations, by index, einsum; values, gradients, dtypes.

Kinks are where PyTorch's gradient may be chosen freely; the inputs, drawn from a normal distribution, miss them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest

from tests.ops import test_functions as base
from tests.ops.test_functions import Case, same

torch = pytest.importorskip("torch")
TF = torch.nn.functional

X = (3, 4)
INDEX = [[2, 0, 1], [1, 1, 3]]
UNARY = "sin cos tan atan sinh cosh asinh erf exp2 expm1 reciprocal sigmoid"
STEPS = "floor ceil round trunc sign"
ABOVE_0 = "log2 log10 log1p reciprocal"
INSIDE_1 = "asin acos atanh"
ACTIVATIONS = (
    "gelu silu softplus elu celu selu leaky_relu mish hardsigmoid hardswish hardtanh relu6 logsigmoid "
    "softsign tanhshrink hardshrink softshrink"
)


def method(name: str, x: Any) -> Any:
    return getattr(x, name)()


def of_index(lib: Any) -> Any:
    return lib.tensor(INDEX)


CASES = [
    *(same(name, lambda a, name=name: method(name, a), X) for name in UNARY.split()),
    *(
        same(name, lambda a, name=name: method(name, a), X, positive=True)
        for name in ABOVE_0.split()
    ),
    *(
        same(name, lambda a, name=name: method(name, a.tanh() * 0.9), X)
        for name in INSIDE_1.split()
    ),
    *(same(name, lambda a, name=name: a * method(name, a), X) for name in STEPS.split()),
    same("acosh", lambda a: (a + 1).acosh(), X, positive=True),
    *(Case(name, getattr(F, name), getattr(TF, name), (X,)) for name in ACTIVATIONS.split()),
    Case(
        "gelu_tanh",
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: TF.gelu(x, approximate="tanh"),
        (X,),
    ),
    Case("softplus_beta", lambda x: F.softplus(x, 2, 1), lambda x: TF.softplus(x, 2, 1), (X,)),
    Case("threshold", lambda x: F.threshold(x, 0.1, 20), lambda x: TF.threshold(x, 0.1, 20), (X,)),
    same("pow_of_tensors", lambda a, b: a**b, X, (4,), positive=True),
    same("remainder", lambda a, b: a % b, X, X, positive=True),
    same("fmod", lambda a, b: a.fmod(b), X, (3, 1), positive=True),
    Case("atan2", flow.atan2, torch.atan2, (X, X)),
    Case("lerp", flow.lerp, torch.lerp, (X, (3, 1), (4,))),
    Case("addcmul", flow.addcmul, torch.addcmul, (X, X, (4,))),
    Case(
        "layer_norm",
        lambda x, w, b: F.layer_norm(x, 4, w, b),
        lambda x, w, b: TF.layer_norm(x, (4,), w, b),
        (X, (4,), (4,)),
    ),
    Case(
        "layer_norm_plain",
        lambda x: F.layer_norm(x, (3, 4)),
        lambda x: TF.layer_norm(x, (3, 4)),
        ((2, 3, 4),),
    ),
    Case(
        "rms_norm",
        lambda x, w: F.rms_norm(x, 4, w, 1e-3),
        lambda x, w: TF.rms_norm(x, (4,), w, 1e-3),
        (X, (4,)),
    ),
    same("cumsum", lambda a: a.cumsum(0), X),
    same("cumsum_last", lambda a: a.cumsum(-1), (2, 3, 4)),
    Case(
        "gather",
        lambda x: x.gather(1, of_index(flow)),
        lambda x: x.gather(1, of_index(torch)),
        (X,),
    ),
    Case(
        "scatter_add",
        lambda x, s: x.scatter_add(0, of_index(flow) % 3, s),
        lambda x, s: x.scatter_add(0, of_index(torch) % 3, s),
        (X, (2, 3)),
    ),
    Case(
        "index_select",
        lambda x: x.index_select(0, flow.tensor([2, 0, 2])),
        lambda x: x.index_select(0, torch.tensor([2, 0, 2])),
        (X,),
    ),
    Case(
        "index_select_last",
        lambda x: x.index_select(-1, flow.tensor([3, 1])),
        lambda x: x.index_select(-1, torch.tensor([3, 1])),
        ((2, 3, 4),),
    ),
    Case(
        "index_add",
        lambda x, s: x.index_add(0, flow.tensor([1, 1]), s, alpha=2),
        lambda x, s: x.index_add(0, torch.tensor([1, 1]), s, alpha=2),
        (X, (2, 4)),
    ),
    Case("rows_by_tensor", lambda x: x[of_index(flow) % 3], lambda x: x[of_index(torch) % 3], (X,)),
    Case(
        "columns_by_tensor",
        lambda x: x[:, 1:, flow.tensor([-1, 0])],
        lambda x: x[:, 1:, torch.tensor([-1, 0])],
        ((2, 3, 4),),
    ),
    Case(
        "last_by_tensor",
        lambda x: x[..., flow.tensor([[1], [0]])],
        lambda x: x[..., torch.tensor([[1], [0]])],
        ((2, 3, 4),),
    ),
    same("sort", lambda a: a.sort(0).values, (5, 3)),
    same("sort_descending", lambda a: a.sort(descending=True)[0], (2, 40)),
    same("topk", lambda a: a.topk(3, 1)[0], (4, 7, 2)),
    same("topk_least", lambda a: a.topk(2, largest=False).values, X),
    same("flip", lambda a: a.flip(0, 2), (2, 3, 4)),
    same("roll", lambda a: a.roll(2, 1), (2, 3, 4)),
    same("roll_all", lambda a: a.roll(-5), X),
    same("roll_two", lambda a: a.roll((1, -1), (0, 1)), X),
    same("tril", lambda a: a.tril(), (2, 4, 3)),
    same("triu", lambda a: a.triu(-1), (4, 4)),
    same("repeat", lambda a: a.repeat(2, 1, 3), X),
    same("tile", lambda a: a.tile((2,)), X),
    same("repeat_interleave", lambda a: a.repeat_interleave(3, 1), X),
    same("unbind", lambda a: a.unbind(1)[2], (2, 3, 4)),
    same("movedim", lambda a: a.movedim(0, -1), (2, 3, 4)),
    same("logsumexp", lambda a: a.logsumexp(1), (2, 3, 4)),
    same("logsumexp_keepdim", lambda a: a.logsumexp((0, 2), keepdim=True), (2, 3, 4)),
    same("norm", lambda a: a.norm(), X),
    same("norm_1", lambda a: a.norm(1, 0), X),
    same("norm_3", lambda a: a.norm(3, 1, True), X),
    same("norm_inf", lambda a: a.norm(float("inf"), 1), X),
    same("dot", lambda a, b: a.dot(b), (5,), (5,)),
    same("outer", lambda a, b: a.outer(b), (5,), (3,)),
    same("mv", lambda a, b: a.mv(b), X, (4,)),
    same("addmm", lambda a, b, c: a.addmm(b, c, beta=0.5, alpha=2), (4,), (2, 3), (3, 4)),
    *(
        Case(
            f"einsum {equation}",
            lambda *xs, equation=equation: flow.einsum(equation, *xs),
            lambda *xs, equation=equation: torch.einsum(equation, *xs),
            shapes,
        )
        for equation, shapes in {
            "ij,jk->ik": ((2, 3), (3, 4)),
            "bhid,bhjd->bhij": ((2, 3, 4, 5), (2, 3, 6, 5)),
            "bhij,bhjd->bihd": ((2, 3, 4, 6), (2, 3, 6, 5)),
            "...ij,...jk": ((2, 3, 4), (2, 4, 5)),
            "...i,ij->...j": ((2, 3, 4), (4, 5)),
            "ij->ji": ((2, 3),),
            "ij->": ((2, 3),),
            "i,j->ij": ((2,), (3,)),
            "ij,ij->i": ((2, 3), (2, 3)),
            "i,i": ((4,), (4,)),
            "ab,bc,cd->ad": ((2, 3), (3, 4), (4, 2)),
            "ijk,ij->k": ((2, 3, 4), (2, 3)),
            "ij,k->j": ((2, 3), (4,)),
        }.items()
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_value_and_gradient(case: Case) -> None:
    base.test_value_and_gradient_in_a_step(case)


INTEGERS = {
    "floor_divide": lambda lib: lib.tensor([7, -7, 5]) // lib.tensor([2, 2, -3]),
    "remainder": lambda lib: lib.tensor([7, -7, 5]) % 3,
    "fmod": lambda lib: lib.fmod(lib.tensor([7, -7, 5]), 3),
    "and": lambda lib: lib.tensor([12, 7]) & lib.tensor([10, 3]),
    "or": lambda lib: lib.tensor([12, 7]) | 1,
    "xor": lambda lib: lib.tensor([12, 7]) ^ lib.tensor([10, 3]),
    "not": lambda lib: ~lib.tensor([12, 7]),
    "not of bools": lambda lib: ~(lib.tensor([1, 0]) > 0),
    "or of bools": lambda lib: (lib.tensor([1, 0]) > 0) | (lib.tensor([0, 0]) > 0),
    "logical_xor": lambda lib: lib.logical_xor(lib.tensor([1.0, 0.0]), lib.tensor([2, 0])),
    "logical_not": lambda lib: lib.logical_not(lib.tensor([1.5, 0.0])),
    "any": lambda lib: lib.tensor([[0, 1], [0, 0]]).any(1),
    "all": lambda lib: lib.tensor([[2, 1], [0, 3]]).all(1),
    "all of nothing": lambda lib: lib.zeros(0).all(),
    "any of nothing": lambda lib: lib.zeros(0).any(),
    "count_nonzero": lambda lib: lib.tensor([[0.5, 0], [0, -1]]).count_nonzero(0),
    "isnan": lambda lib: lib.tensor([1.0, float("nan"), float("inf")]).isnan(),
    "isinf": lambda lib: lib.tensor([1.0, float("nan"), -float("inf")]).isinf(),
    "isfinite": lambda lib: lib.tensor([1.0, float("nan"), float("inf")]).isfinite(),
    "nan_to_num": lambda lib: lib.tensor([1.0, float("nan"), -float("inf")]).nan_to_num(),
    "cumsum of bools": lambda lib: (lib.tensor([1, 0, 1]) > 0).cumsum(0),
    "sign": lambda lib: lib.tensor([-3, 0, 2]).sign(),
    "floor of integers": lambda lib: lib.tensor([-3, 0, 2]).floor(),
    "sin of integers": lambda lib: lib.tensor([0, 1]).sin(),
    "isclose": lambda lib: lib.isclose(lib.tensor([1.0, 2.0]), lib.tensor([1.000001, 2.1])),
    "argsort": lambda lib: lib.argsort(lib.tensor([3, 1, 2, 1, 3]), stable=True),
    "argsort descending": lambda lib: lib.tensor([3, 1, 2, 1, 3]).argsort(
        descending=True, stable=True
    ),
    "sort with nan": lambda lib: lib.tensor([2.0, float("nan"), -1.0]).sort().values,
    "sort with nan descending": lambda lib: lib.tensor([2.0, float("nan"), -1.0]).sort(
        descending=True
    )[1],
    "topk of integers": lambda lib: lib.tensor([[3, 1, 2], [4, 6, 5]]).topk(2).indices,
    "sort of nothing": lambda lib: lib.zeros(0, 3).sort(0).values,
    "flip of integers": lambda lib: lib.arange(5).flip(0),
    "tril of integers": lambda lib: lib.ones(2, 3, dtype=lib.int32).tril(),
    "linspace": lambda lib: lib.linspace(0, 1, 5),
    "repeat in front": lambda lib: lib.arange(3).repeat(2, 2),
    "take by negative": lambda lib: lib.arange(5)[lib.tensor([-1, 0])],
}


@pytest.mark.parametrize("name", INTEGERS)
def test_value_and_dtype(name: str) -> None:
    ours, theirs = INTEGERS[name](flow), INTEGERS[name](torch)
    assert ours.dtype.title == str(theirs.dtype).removeprefix("torch.")
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def test_bools_of_tensors() -> None:
    x = flow.tensor([1.0, float("nan")])
    assert flow.allclose(x, x, equal_nan=True) and not flow.allclose(x, x)
    assert flow.equal(flow.ones(2), flow.ones(2)) and not flow.equal(flow.ones(2), flow.ones(3))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize(
    "name", ["exp", "tanh", "sum", "mean", "softmax", "matmul", "add", "gelu", "layer_norm"]
)
def test_other_floats(name: str, dtype: str) -> None:
    """The result is PyTorch's, to the last place of the type or two."""
    array = np.random.default_rng(2).standard_normal((6, 6)).astype(np.float32)

    def run(lib: Any, functional: Any) -> Any:
        x = lib.tensor(array).to(getattr(lib, dtype))
        if name in ("softmax", "gelu"):
            return functional.softmax(x, 0) if name == "softmax" else functional.gelu(x)
        if name == "layer_norm":
            return functional.layer_norm(x, (6,))
        return getattr(lib, name)(x, x) if name in ("matmul", "add") else getattr(lib, name)(x)

    ours, theirs = run(flow, F), run(torch, TF)
    assert ours.dtype.title == dtype
    ulp = {"bfloat16": 2**-7, "float16": 2**-10, "float64": 2**-50}[dtype]
    wanted = theirs.double().numpy()
    np.testing.assert_allclose(
        ours.numpy().astype(np.float64), wanted, rtol=2 * ulp, atol=2 * ulp * np.abs(wanted).max()
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_gradients_of_softmax_in_other_floats(name: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    array, slope = (rng.standard_normal((4, 6)).astype(np.float32) for _ in range(2))
    model = flow.nn.Module()
    model.x = flow.nn.Parameter(flow.tensor(array))

    def of(lib: Any, functional: Any, x: Any) -> Any:
        y = getattr(functional, name)(x.to(getattr(lib, dtype)), 1)
        return (y * lib.tensor(slope).to(getattr(lib, dtype))).to(lib.float32).sum()

    _, gradients = flow.value_and_grad(lambda: of(flow, F, model.x), model=model)()
    x = torch.tensor(array, requires_grad=True)
    of(torch, TF, x).backward()
    ulp = {"bfloat16": 2**-7, "float16": 2**-10, "float64": 2**-23}[dtype]
    np.testing.assert_allclose(gradients["x"].numpy(), x.grad.numpy(), rtol=2 * ulp, atol=2 * ulp)


MISTAKES = {
    "a diagonal of no square": (
        flow.ShapeError,
        "'i' is 2 and 3",
        lambda: flow.einsum("ii->i", flow.ones(2, 3)),
    ),
    "a letter of two lengths": (
        flow.ShapeError,
        "'j' is 3 and 4",
        lambda: flow.einsum("ij,jk->ik", flow.ones(2, 3), flow.ones(4, 2)),
    ),
    "an operand too few": (
        flow.Error,
        "2 operands, 1",
        lambda: flow.einsum("ij,jk->ik", flow.ones(2, 3)),
    ),
    "an index beyond the end": (
        flow.DataError,
        "4",
        lambda: flow.arange(4.0).index_select(0, flow.tensor([4])),
    ),
    "floats as index": (
        flow.DTypeError,
        "integer",
        lambda: flow.ones(2, 2).gather(0, flow.ones(2, 2)),
    ),
    "bools as index": (flow.Error, "flow.where", lambda: flow.ones(2)[flow.ones(2) > 0]),
    "an index of another rank": (
        flow.ShapeError,
        "rank",
        lambda: flow.ones(2, 2).gather(0, flow.tensor([0])),
    ),
    "repeats that are a tensor": (
        flow.Error,
        "depend on values",
        lambda: flow.ones(2).repeat_interleave(flow.tensor([1, 2])),
    ),
    "more than there is": (flow.ShapeError, "k=3 of 2", lambda: flow.ones(2).topk(3)),
    "too few sizes": (flow.ShapeError, "sizes", lambda: flow.ones(2, 2).repeat(2)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    kind, words, run = MISTAKES[name]
    with pytest.raises(kind, match=words):
        run()
