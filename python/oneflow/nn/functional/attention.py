"""Scaled dot product attention (Vaswani et al. 2017)."""

from __future__ import annotations

import math

from ...dispatch import apply
from ...dtypes import bool_, promote
from ...errors import Error, ShapeError
from ...functions import (
    add,
    cast,
    expand,
    ge,
    gt,
    matmul,
    maximum,
    reshape,
    softmax,
    unsqueeze,
    where,
)
from ...location import user_location
from ...tensor import Tensor
from .classes import class_numbers
from .dropouts import dropout

# The lowest float32: exp of it less any other score is 0.
LOWEST = -3.4028234663852886e38


def causal_mask(rows: int, columns: int) -> Tensor:
    """bool [rows, columns], True where the column is not behind the row."""
    return ge(unsqueeze(class_numbers(rows), 1), class_numbers(columns))


def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Tensor | None, is_causal: bool, scale: float
) -> Tensor:
    """softmax(scale * query @ key.T, masked) over the last dim; a row without any column is all zeros."""
    return _masked_softmax(_scores(query, key, scale), attn_mask, is_causal)


def _scores(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """scale * query @ key.T. The product reads the key as it lies: no copy of it is turned."""
    both = promote(query.dtype, key.dtype)
    return apply("matmul", cast(query, both) * scale, cast(key, both), transpose_b=True)


def _masked_softmax(scores: Tensor, attn_mask: Tensor | None, is_causal: bool) -> Tensor:
    if is_causal:
        scores = where(causal_mask(*scores.shape[-2:]), scores, LOWEST)
    if attn_mask is None:
        return softmax(scores, -1)
    if attn_mask.dtype is bool_:
        taken = attn_mask
        scores = where(taken, scores, LOWEST)
    else:
        # -inf in the mask, and on it another -inf, as one low number: their difference would be nan.
        taken = gt(attn_mask, LOWEST)
        scores = maximum(add(scores, attn_mask), LOWEST)
    return where(taken, softmax(scores, -1), 0.0)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale * query @ key.T + mask) @ value.

    Args:
        query: [..., heads, l, e]; key: [..., heads, s, e]; value: [..., heads, s, ev]. The result is [..., l, ev].
        attn_mask: broadcasts to [..., l, s]; bool: True takes part; float: is added. A row in which nothing takes
            part gives zeros.
        dropout_p: of the weights; applies always, so pass 0 outside training.
        is_causal: row i sees columns 0..i; not together with attn_mask.
        scale: 1 / sqrt(e) by default.
        enable_gqa: key and value have fewer heads (dim -3), each of which serves a group of query's heads.
    """
    if is_causal and attn_mask is not None:
        raise Error(
            "scaled_dot_product_attention: is_causal and attn_mask exclude each other; put the causal mask into "
            "attn_mask",
            user_location(),
        )
    if min(query.ndim, key.ndim, value.ndim) < 2 or (
        query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]
    ):
        raise ShapeError(
            "scaled_dot_product_attention takes [..., l, e], [..., s, e] and [..., s, ev], not "
            f"{list(query.shape)}, {list(key.shape)} and {list(value.shape)}",
            user_location(),
        )
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    if enable_gqa:
        _check_groups("key", query, key)
        _check_groups("value", query, value)
        if (
            query.shape[:-3] == key.shape[:-3] == value.shape[:-3]
            and key.shape[-3] == value.shape[-3]
        ):
            return _of_groups(query, key, value, attn_mask, dropout_p, is_causal, scale)
        key, value = _for_each_head(query, key), _for_each_head(query, value)
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    return matmul(dropout(weights, dropout_p), value)


def _check_groups(name: str, query: Tensor, x: Tensor) -> None:
    if query.ndim < 3 or x.ndim < 3 or query.shape[-3] % x.shape[-3]:
        raise ShapeError(
            f"enable_gqa: the heads of {name} {list(x.shape)} must divide those of the query {list(query.shape)}",
            user_location(),
        )


def _of_groups(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float,
) -> Tensor:
    """A group's heads are rows of one product with its key, and with its value: neither is repeated."""
    *leading, heads, length, width = query.shape
    groups, columns = key.shape[-3:-1]
    each = heads // groups
    scores = _scores(reshape(query, *leading, groups, each * length, width), key, scale)
    scores = reshape(scores, *leading, groups, each, length, columns)
    if attn_mask is not None and attn_mask.ndim > 2:
        *before, own, rows, last = attn_mask.shape
        by_group = (1, 1) if own == 1 else (groups, each)
        attn_mask = reshape(attn_mask, *before, *by_group, rows, last)
    weights = dropout(_masked_softmax(scores, attn_mask, is_causal), dropout_p)
    result = matmul(reshape(weights, *leading, groups, each * length, columns), value)
    return reshape(result, *leading, heads, length, value.shape[-1])


def _for_each_head(query: Tensor, x: Tensor) -> Tensor:
    """x [..., h, s, e] with each head repeated for its group of query's heads."""
    *leading, heads, length, width = x.shape
    group = query.shape[-3] // heads
    if group == 1:
        return x
    repeated = expand(unsqueeze(x, -3), *leading, heads, group, length, width)
    return reshape(repeated, *leading, heads * group, length, width)
