"""F.scaled_dot_product_attention against PyTorch in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest

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
    with pytest.raises(flow.ShapeError, match="heads"):
        F.scaled_dot_product_attention(x, flow.ones(3, 3, 4), flow.ones(3, 3, 4), enable_gqa=True)
