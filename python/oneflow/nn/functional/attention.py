"""Scaled dot product attention (Vaswani et al. 2017)."""

from __future__ import annotations

import math

from ...dispatch import apply
from ...dtypes import bool_, int64
from ...errors import Error, ShapeError
from ...functions import (
    add,
    expand,
    ge,
    gt,
    matmul,
    maximum,
    permute,
    reshape,
    softmax,
    transpose,
    unsqueeze,
    where,
)
from ...functions.creation import zeros
from ...functions.elementwise import cast, promote
from ...location import user_location
from ...tensor import Tensor
from .classes import class_numbers
from .dropouts import dropout_source

# The lowest float32: exp of it less any other score is 0.
LOWEST = -3.4028234663852886e38


def causal_mask(rows: int, columns: int) -> Tensor:
    """bool [rows, columns], True where the column is not behind the row."""
    return ge(unsqueeze(class_numbers(rows), 1), class_numbers(columns))


def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Tensor | None, is_causal: bool, scale: float
) -> Tensor:
    """softmax(scale * query @ key.T, masked) over the last dim; a row without any column is all zeros."""
    scores = matmul(query * scale, transpose(key, -2, -1))
    if is_causal:
        scores = where(causal_mask(query.shape[-2], key.shape[-2]), scores, LOWEST)
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
    """softmax(scale * query @ key.T + mask) @ value, by one op that keeps no [l, s] in memory.

    Args:
        query: [..., heads, l, e]; key: [..., heads, s, e]; value: [..., heads, s, ev]. The result is [..., l, ev].
            Operands that were transposed from [b, tokens, heads, e] are read as they lie.
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
    if not 0 <= dropout_p <= 1:
        raise ShapeError(f"dropout probability {dropout_p} does not lie in [0, 1]", user_location())
    rank = max(query.ndim, key.ndim, value.ndim)
    has_heads = rank > 3 or enable_gqa
    if has_heads:
        rank = max(rank, 3)
    operands = _broadcast(
        [_of_rank(x, rank) for x in (query, key, value)], 3 if enable_gqa else 2, enable_gqa
    )
    lead = operands[0].shape[: -3 if has_heads else -2]
    q, k, v = (_by_tokens(x, has_heads) for x in operands)
    mask = (
        None if attn_mask is None else _by_heads(attn_mask, operands[0], key.shape[-2], has_heads)
    )
    out = attention(q, k, v, mask, dropout_p, is_causal, scale)
    _, length, heads, width = out.shape
    if not has_heads:
        return reshape(out, *lead, length, width)
    return reshape(permute(out, 0, 2, 1, 3), *lead, heads, length, width)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout_p: float = 0.0,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """The op `attention` on [b, tokens, heads, width], as a linear layer's reshape gives them.

    The heads of key and value divide those of query. `mask` broadcasts to [b, heads, l, s] and has 4 dims.
    """
    dtype = promote(promote(query.dtype, key.dtype), value.dtype)
    width = query.shape[-1]
    attrs = {"causal": causal, "scale": 1 / math.sqrt(max(width, 1)) if scale is None else scale}
    inputs = [cast(x, dtype) for x in (query, key, value)]
    if dropout_p > 0:
        step, drop = dropout_source(dropout_p)
        inputs.append(step)
        attrs |= drop
    elif mask is not None:
        inputs.append(zeros((), dtype=int64))
    if mask is not None:
        inputs.append(mask)
    return apply("attention", *inputs, **attrs)


def _of_rank(x: Tensor, rank: int) -> Tensor:
    return x if x.ndim == rank else reshape(x, *(1,) * (rank - x.ndim), *x.shape)


def _broadcast(xs: list[Tensor], kept: int, grouped: bool) -> list[Tensor]:
    """Leading dims, all but `kept`, broadcast together; if `grouped` key's and value's heads as well."""
    if grouped:
        heads = [x.shape[-3] for x in xs]
        if 0 in heads or heads[0] % heads[1] or heads[0] % heads[2]:
            names = ", ".join(str(list(x.shape)) for x in xs)
            raise ShapeError(
                f"enable_gqa: the heads of key and value must divide those of the query: {names}",
                user_location(),
            )
        most = max(heads[1:])
        xs = [xs[0], *(_repeat_heads(x, most) for x in xs[1:])]
    lead = [1] * (xs[0].ndim - kept)
    for x in xs:
        for i, extent in enumerate(x.shape[:-kept]):
            if extent != 1 and lead[i] not in (1, extent):
                raise ShapeError(
                    "scaled_dot_product_attention: the leading dims of "
                    f"{', '.join(str(list(x.shape)) for x in xs)} do not broadcast",
                    user_location(),
                )
            lead[i] = lead[i] if extent == 1 else extent
    return [x if list(x.shape[:-kept]) == lead else expand(x, *lead, *x.shape[-kept:]) for x in xs]


def _repeat_heads(x: Tensor, heads: int) -> Tensor:
    """x [..., h, s, e] with each head repeated until there are `heads`."""
    *leading, own, length, width = x.shape
    if own == heads:
        return x
    if heads % own:
        raise ShapeError(
            f"enable_gqa: {own} heads and {heads} heads of key and value do not divide each other",
            user_location(),
        )
    repeated = expand(unsqueeze(x, -3), *leading, own, heads // own, length, width)
    return reshape(repeated, *leading, heads, length, width)


def _by_tokens(x: Tensor, has_heads: bool) -> Tensor:
    """[..., h, s, e], or [..., s, e] of one head, as [b, s, h, e]."""
    length, width = x.shape[-2:]
    if not has_heads:
        return reshape(x, math.prod(x.shape[:-2]), length, 1, width)
    batch, heads = math.prod(x.shape[:-3]), x.shape[-3]
    return permute(x if x.ndim == 4 else reshape(x, batch, heads, length, width), 0, 2, 1, 3)


def _by_heads(mask: Tensor, query: Tensor, keys: int, has_heads: bool) -> Tensor:
    """A mask that broadcasts to the scores as one of [b, h, l, s], extents of 1 kept where all of b is 1."""
    scores = (*query.shape[:-1], keys)
    if mask.ndim > len(scores) or any(
        extent not in (1, full)
        for extent, full in zip(reversed(mask.shape), reversed(scores), strict=False)
    ):
        raise ShapeError(
            f"attn_mask {list(mask.shape)} does not broadcast to the scores {list(scores)}",
            user_location(),
        )
    mask = _of_rank(mask, max(len(scores), 2))
    cut = -3 if has_heads else -2
    lead, rest = mask.shape[:cut], mask.shape[cut:]
    if len(lead) > 1 and any(extent != 1 for extent in lead):
        lead = scores[:cut]
        mask = expand(mask, *lead, *rest)
    return reshape(mask, math.prod(lead), *(() if has_heads else (1,)), *rest)
