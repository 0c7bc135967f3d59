"""F.scaled_dot_product_attention against PyTorch in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn
from oneflow.nn.functional.attention import attention_weights

from tests.ops import test_functions as functions
from tests.ops.test_functions import Case, close

torch = pytest.importorskip("torch")
Q, K, V = (2, 4, 3, 8), (2, 4, 5, 8), (2, 4, 5, 6)
BOOL = np.random.default_rng(0).random((3, 5)) < 0.6
BOOL[:, 0] = True
FLOAT = np.random.default_rng(1).standard_normal((4, 3, 5)).astype(np.float32)
FLOAT[0, 1, 2:] = -np.inf
OF_SAMPLES = np.random.default_rng(2).random((2, 1, 3, 5)) < 0.6
OF_SAMPLES[..., 0] = True
PADDING = (np.arange(100) < np.array([[100], [7]]))[:, None, None]


def case(name: str, *shapes: tuple[int, ...], mask: Any = None, **options: Any) -> Case:
    def theirs(q: Any, k: Any, v: Any) -> Any:
        attn_mask = None if mask is None else torch.tensor(mask)
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.to(q.dtype)
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=attn_mask, **options
        )

    def ours(q: Any, k: Any, v: Any) -> Any:
        attn_mask = None if mask is None else flow.tensor(mask)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, **options)

    return Case(name, ours, theirs, shapes)


CASES = [
    case("plain", Q, K, V),
    case("matrices", Q[2:], K[2:], V[2:]),
    case("causal", (2, 5, 8), (2, 5, 8), (2, 5, 8), is_causal=True),
    case("causal_wide", Q, K, V, is_causal=True),
    case("bool", Q, K, V, mask=BOOL),
    case("float", Q, K, V, mask=FLOAT),
    case("scale", Q, K, V, scale=0.3),
    case("gqa", Q, (2, 2, 5, 8), (2, 2, 5, 6), enable_gqa=True),
    case("gqa_causal", Q, (2, 2, 5, 8), (2, 2, 5, 6), enable_gqa=True, is_causal=True),
    case("gqa_bool", Q, (2, 2, 5, 8), (2, 2, 5, 6), enable_gqa=True, mask=BOOL),
    case("gqa_rows", Q, (2, 2, 5, 8), (2, 2, 5, 6), enable_gqa=True, mask=OF_SAMPLES),
    case("gqa_float", Q, (2, 2, 5, 8), (2, 2, 5, 6), enable_gqa=True, mask=FLOAT),
    case("gqa_of_one_sample", Q[1:], (2, 5, 8), (2, 5, 6), mask=BOOL, enable_gqa=True),
    case("gqa_of_two_kinds", (6, 3, 4), (1, 5, 4), (2, 5, 4), enable_gqa=True),
    case("odd_blocks", (1, 2, 131, 17), (1, 2, 203, 17), (1, 2, 203, 9)),
    case("odd_blocks_causal", (1, 3, 201, 64), (1, 1, 201, 64), (1, 1, 201, 40), is_causal=True),
    case("padding", (2, 2, 70, 4), (2, 2, 100, 4), (2, 2, 100, 4), mask=PADDING),
    case("many_batches", (3, 2, 4, 3, 8), (3, 2, 4, 5, 8), (3, 2, 4, 5, 6), mask=FLOAT),
    case("batches_broadcast", (2, 1, 3, 8), (1, 4, 5, 8), (2, 4, 5, 6)),
    case("one_mask_a_batch", (2, 3, 4), (2, 5, 4), (2, 5, 4), mask=FLOAT[:2]),
    case("no_keys", (2, 3, 4), (2, 0, 4), (2, 0, 5)),
    case("no_queries", (2, 2, 0, 4), (2, 2, 5, 4), (2, 2, 5, 5)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_value_and_gradient(case: Case) -> None:
    functions.test_value_and_gradient_in_a_step(case)
    functions.test_value_at_once(case)


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_row_that_sees_nothing_is_zeros(kind: str) -> None:
    x = np.random.default_rng(2).standard_normal((3, 4)).astype(np.float32)
    seen = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1]], bool)
    mask = seen if kind == "bool" else np.where(seen, 0, -np.inf).astype(np.float32)
    ours, theirs = (
        np.asarray(
            lib.nn.functional.scaled_dot_product_attention(
                lib.tensor(x), lib.tensor(x), lib.tensor(x), attn_mask=lib.tensor(mask)
            )
        )
        for lib in (flow, torch)
    )
    close(ours, theirs)
    assert (ours[1] == 0).all()


def test_a_float_mask_may_be_trained() -> None:
    random = np.random.default_rng(3)
    arrays = [
        random.standard_normal(shape).astype(np.float32)
        for shape in (Q, (2, 2, 5, 8), (2, 2, 5, 6), (4, 1, 5))
    ]

    def of(lib: Any) -> Any:
        def result(q: Any, k: Any, v: Any, mask: Any) -> Any:
            attend = lib.nn.functional.scaled_dot_product_attention
            return attend(q, k, v, attn_mask=mask, enable_gqa=True)

        return result

    case = Case("trained_mask", of(flow), of(torch), tuple(a.shape for a in arrays))
    functions.test_value_and_gradient_in_a_step(case)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_dtypes(dtype: str) -> None:
    x = np.random.default_rng(4).standard_normal((3, 2, 130, 16)).astype(np.float32)
    ours, theirs = (
        lib.nn.functional.scaled_dot_product_attention(
            *[lib.tensor(a).to(getattr(lib, dtype)) for a in x], is_causal=True
        )
        for lib in (flow, torch)
    )
    assert str(ours.dtype).endswith(str(theirs.dtype).removeprefix("torch."))
    right = torch.nn.functional.scaled_dot_product_attention(
        *torch.tensor(x, dtype=torch.float64), is_causal=True
    ).numpy()
    error = np.abs(ours.to(flow.float32).numpy() - right).max()
    # float64 is seen as float32 here; the others err as PyTorch's do.
    assert error <= max(1e-6, 2 * np.abs(theirs.double().numpy() - right).max())


class Block(nn.Module):
    """Self-attention of 4 heads, 2 of keys and values, over [n, length, 16]."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 8), nn.Linear(16, 8)
        self.out = nn.Linear(16, 16)
        self.dropout = dropout

    def forward(self, x: Any) -> Any:
        n, length, _ = x.shape
        parts = (y.reshape(n, length, -1, 4) for y in (self.q(x), self.k(x), self.v(x)))
        y = F.scaled_dot_product_attention(
            *(part.transpose(1, 2) for part in parts),
            dropout_p=self.dropout,
            is_causal=True,
            enable_gqa=True,
        )
        return self.out(y.transpose(1, 2).reshape(n, length, 16))


LAYOUTS: dict[str, tuple[dict[str, int], int]] = {
    "dp2": ({"dp": 2}, 1),
    "tp2": ({"tp": 2}, 1),
    "accumulate2": ({"dp": 1}, 2),
    "dp2_tp2_accumulate2": ({"dp": 2, "tp": 2}, 2),
}


def block_gradients(axes: dict[str, int], accumulate: int) -> tuple[float, dict[str, Any], str]:
    """Loss, gradients, and how the plan lays out attention."""
    flow.manual_seed(1)
    model = Block(0.3)
    split = {f"{name}.weight": {"tp": "S(0)"} for name in "qkv"} | {"out.weight": {"tp": "S(1)"}}
    step = flow.value_and_grad(
        lambda x: model(x).square().mean(),
        model=model,
        mesh=flow.mesh("cpu", threads=1, **axes),
        accumulate=accumulate,
        parallel=split if "tp" in axes else "auto",
    )
    x = np.random.default_rng(5).standard_normal((8, 70, 16)).astype(np.float32)
    loss, gradients = step(x)
    ours = {name: g.numpy() for name, g in gradients.items()}
    return float(loss), ours, step.compile(x).explain("attention")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_draw_one_mask_and_give_one_gradient(layout: str) -> None:
    right_loss, right, _ = block_gradients({"dp": 1}, 1)
    axes, accumulate = LAYOUTS[layout]
    loss, gradients, explained = block_gradients(axes, accumulate)
    (forward,) = (line for line in explained.splitlines() if " attention " in line)
    assert ("micro:S(0)" in forward) == (accumulate > 1)
    # Each device has its samples and its heads.
    shares = [share for axis, share in (("dp", "S(0)"), ("tp", "S(2)")) if axes.get(axis, 1) > 1]
    assert f"({','.join(shares or ['B'])})" in forward
    assert loss == pytest.approx(right_loss, rel=2e-6)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, right[name], rtol=0, atol=3e-6, err_msg=name)


def test_heads_are_read_where_they_lie() -> None:
    model = Block(0.3)
    step = flow.value_and_grad(
        lambda x: model(x).square().mean(), model=model, mesh=flow.mesh("cpu", dp=1)
    )
    plan = step.compile(np.zeros((2, 6, 16), np.float32))
    assert "permute" in plan.graph and "attention" in plan.text
    assert "permute" not in plan.text


def test_dropout_is_that_of_the_weights() -> None:
    def result(attend: Any) -> Any:
        flow.manual_seed(2)
        model = nn.Linear(8, 8)

        @flow.eval_step(model=model, mesh=flow.mesh("cpu", dp=1))
        def step(x: Any) -> Any:
            return attend(model(x), x, x)

        return step(
            np.random.default_rng(6).standard_normal((2, 3, 9, 8)).astype(np.float32)
        ).numpy()

    def composed(q: Any, k: Any, v: Any) -> Any:
        weights = attention_weights(q, k, None, True, 8**-0.5)
        return F.dropout(weights, 0.4) @ v

    def fused(q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=0.4, is_causal=True)

    np.testing.assert_allclose(result(fused), result(composed), atol=1e-6)


def test_a_trained_mask_and_dropout_keep_the_weights_gradient() -> None:
    def gradients(attend: Any) -> dict[str, np.ndarray]:
        flow.manual_seed(3)
        model = functions.Inputs(
            [
                np.random.default_rng(7).standard_normal(shape).astype(np.float32)
                for shape in ((2, 3, 9, 8), (1, 3, 9, 9))
            ]
        )
        step = flow.value_and_grad(
            lambda x: (attend(model.x0, x, model.x1) * x).sum(),
            model=model,
            mesh=flow.mesh("cpu", dp=1),
        )
        x = np.random.default_rng(8).standard_normal((2, 3, 9, 8)).astype(np.float32)
        return {name: gradient.numpy() for name, gradient in step(x)[1].items()}

    def composed(q: Any, x: Any, mask: Any) -> Any:
        return F.dropout(attention_weights(q, x, mask, False, 8**-0.5), 0.4) @ x

    def fused(q: Any, x: Any, mask: Any) -> Any:
        return F.scaled_dot_product_attention(q, x, x, mask, dropout_p=0.4)

    ours, right = gradients(fused), gradients(composed)
    for name, gradient in right.items():
        np.testing.assert_allclose(ours[name], gradient, atol=1e-5, err_msg=name)


def test_the_logarithm_of_the_sums_has_a_gradient() -> None:
    q, k, v = (
        np.random.default_rng(9).standard_normal((3, 2, 5, 2, 4)).astype(np.float32)[i]
        for i in range(3)
    )
    model = functions.Inputs([q, k])
    step = flow.value_and_grad(
        lambda v: flow.ops.attention(model.x0, model.x1, v, scale=0.5)[1].square().sum(),
        model=model,
        mesh=flow.mesh("cpu", dp=1),
    )
    _, ours = step(v)
    tq, tk = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (q, k))
    scores = 0.5 * torch.einsum("bshd,bthd->bhst", tq, tk)
    scores.logsumexp(-1).square().sum().backward()
    close(ours["x0"].numpy(), tq.grad.numpy())
    close(ours["x1"].numpy(), tk.grad.numpy())


def test_memory_grows_with_the_tokens_alone() -> None:
    def arena(tokens: int) -> int:
        model = nn.Linear(4, 4)
        step = flow.value_and_grad(
            lambda x: F.scaled_dot_product_attention(model(x), x, x, is_causal=True).sum(),
            model=model,
            mesh=flow.mesh("cpu", threads=1, dp=1),
        )
        return step.compile(np.zeros((1, 8, tokens, 4), np.float32)).memory()[0]["arena_bytes"]

    assert arena(4096) < 8 * arena(512)  # the scores of 512 tokens are 8 MiB, of 4096 they are 512
    assert arena(512) < 2**20


def test_dropout_of_the_weights() -> None:
    flow.manual_seed(0)
    x = flow.ones(1, 200, 4)
    y = F.scaled_dot_product_attention(x, x, x, dropout_p=0.5).numpy()
    assert abs(y.mean() - 1) < 0.05 and y.std() > 0


def test_refused() -> None:
    x = flow.ones(2, 3, 4)
    with pytest.raises(flow.Error, match="exclude each other"):
        F.scaled_dot_product_attention(x, x, x, flow.ones(3, 3), is_causal=True)
    with pytest.raises(flow.ShapeError, match="takes"):
        F.scaled_dot_product_attention(x, flow.ones(2, 3, 5), x)
    with pytest.raises(flow.ShapeError, match="attn_mask .* does not broadcast"):
        F.scaled_dot_product_attention(x, x, x, flow.ones(3, 2))
    with pytest.raises(flow.ShapeError, match="do not broadcast"):
        F.scaled_dot_product_attention(x, flow.ones(3, 3, 4), x)
    mask = nn.Parameter(flow.zeros(1, 1, 3, 3))
    y = x[:, :, None]
    with pytest.raises(flow.Error, match="cannot stand beside causal"):
        flow.value_and_grad(
            lambda: flow.ops.attention(y, y, y, flow.tensor(0), mask, causal=True)[0].sum(),
            model=nn.ParameterList([mask]),
        )()
    with pytest.raises(flow.Error, match="pass the number of the step"):
        flow.ops.attention(y, y, y, p=0.5)
    with pytest.raises(flow.ShapeError, match="heads"):
        F.scaled_dot_product_attention(x, flow.ones(3, 3, 4), flow.ones(3, 3, 4), enable_gqa=True)
