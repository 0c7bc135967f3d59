"""MultiheadAttention (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import bool_
from ..errors import Error, ShapeError
from ..functions import add, cat, eq, logical_and, matmul, mean, reshape, transpose, where, zeros
from ..location import user_location
from ..tensor import Tensor
from . import functional as F
from . import init
from .functional.attention import attention, attention_weights
from .layers import Linear
from .module import Module
from .parameter import Parameter


class NonDynamicallyQuantizableLinear(Linear):
    """A Linear under the name that PyTorch prints for out_proj."""


class MultiheadAttention(Module):
    """Attention of `num_heads` heads over [l, n, e], or [n, l, e] with batch_first, or [l, e] of one sample.

    Parameters: in_proj_weight [3 e, e] (q_proj_weight, k_proj_weight, v_proj_weight with kdim or vdim), in_proj_bias,
    out_proj; bias_k and bias_v with add_bias_kv.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ShapeError(
                f"num_heads={num_heads} must divide embed_dim={embed_dim}", user_location()
            )
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.head_dim, self.batch_first = embed_dim // num_heads, batch_first
        self.add_zero_attn = add_zero_attn
        self._same = self.kdim == embed_dim and self.vdim == embed_dim
        e = embed_dim
        shapes = {
            "q_proj_weight": None if self._same else (e, e),
            "k_proj_weight": None if self._same else (e, self.kdim),
            "v_proj_weight": None if self._same else (e, self.vdim),
            "in_proj_weight": (3 * e, e) if self._same else None,
        }
        for name, shape in shapes.items():
            self.register_parameter(name, None if shape is None else Parameter(shape=shape))
        self.register_parameter("in_proj_bias", Parameter(shape=(3 * e,)) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(e, e, bias)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, Parameter(shape=(1, 1, e)) if add_bias_kv else None)
        self._reset_parameters()
        self.to(dtype=dtype)

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v of [n, l, e]."""
        e, bias = self.embed_dim, self.in_proj_bias
        if self._same and query is key and key is value:
            projected = F.linear(query, self.in_proj_weight, bias)
            return projected[..., :e], projected[..., e : 2 * e], projected[..., 2 * e :]
        if self._same:
            weights = [self.in_proj_weight[i * e : (i + 1) * e] for i in range(3)]
        else:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        biases = [None if bias is None else bias[i * e : (i + 1) * e] for i in range(3)]
        q, k, v = (
            F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        return q, k, v

    def _heads(self, x: Tensor) -> Tensor:
        """[n, l, e] -> [n, l, heads, head_dim]."""
        return reshape(x, *x.shape[:2], self.num_heads, self.head_dim)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(output, weights): the output has the query's shape, the weights are [n, l, s], or None.

        Args:
            key_padding_mask: [n, s] ([s] of one sample); bool: True is left out; float: is added to the scores.
            attn_mask: [l, s] or [n * heads, l, s], likewise.
            need_weights: returns the weights, averaged over the heads unless average_attn_weights=False ([n, heads,
                l, s]).
            is_causal: says that attn_mask is the causal mask; it needs attn_mask, as in PyTorch.
        """
        if is_causal and attn_mask is None:
            raise Error(
                "MultiheadAttention: is_causal=True is a hint about attn_mask, which is missing",
                user_location(),
            )
        if {query.ndim, key.ndim, value.ndim} not in ({2}, {3}):
            raise ShapeError(
                "MultiheadAttention takes three inputs of 3 dims, or of 2 of one sample, not "
                f"{list(query.shape)}, {list(key.shape)} and {list(value.shape)}",
                user_location(),
            )
        single, batch_first = query.ndim == 2, self.batch_first

        def batched(x: Tensor) -> Tensor:
            if single:
                return x[None]
            return x if batch_first else transpose(x, 0, 1)

        q_in = batched(query)
        k_in = q_in if key is query else batched(key)
        v_in = q_in if value is query else k_in if value is key else batched(value)
        self._check(q_in, k_in, v_in)
        q, k, v = self._project(q_in, k_in, v_in)
        masks = _merged_mask(
            q_in, k_in, self.num_heads, key_padding_mask, attn_mask, self._extra_columns()
        )
        n = q.shape[0]
        for extra in self._extra_rows(n):
            k, v = cat([k, extra[0]], 1), cat([v, extra[1]], 1)
        q, k, v = self._heads(q), self._heads(k), self._heads(v)
        if need_weights:
            q, k, v = (transpose(x, 1, 2) for x in (q, k, v))
            weights = attention_weights(q, k, masks, False, 1 / math.sqrt(self.head_dim))
            weights = F.dropout(weights, self.dropout, self.training)
            output = transpose(matmul(weights, v), 1, 2)
        else:
            output = attention(q, k, v, masks, self.dropout if self.training else 0.0)
        output = self.out_proj(reshape(output, *output.shape[:2], self.embed_dim))
        if single:
            output = output[0]
        elif not batch_first:
            output = transpose(output, 0, 1)
        if not need_weights:
            return output, None
        if average_attn_weights:
            weights = mean(weights, 1)
        return output, weights[0] if single else weights

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        widths = (query.shape[-1], key.shape[-1], value.shape[-1])
        if widths != (self.embed_dim, self.kdim, self.vdim) or key.shape[:2] != value.shape[:2]:
            raise ShapeError(
                f"MultiheadAttention: features {widths} of query, key and value, "
                f"{(self.embed_dim, self.kdim, self.vdim)} are needed, and keys as many as values",
                user_location(),
            )

    def _extra_columns(self) -> int:
        return (self.bias_k is not None) + self.add_zero_attn

    def _extra_rows(self, n: int) -> list[tuple[Tensor, Tensor]]:
        """Keys and values that every sample has behind its own."""
        rows = []
        if self.bias_k is not None:
            rows.append(
                (
                    self.bias_k.expand(n, 1, self.embed_dim),
                    self.bias_v.expand(n, 1, self.embed_dim),
                )
            )
        if self.add_zero_attn:
            nothing = zeros(n, 1, self.embed_dim)
            rows.append((nothing, nothing))
        return rows


def _merged_mask(
    query: Tensor,
    key: Tensor,
    heads: int,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    extra: int,
) -> Tensor | None:
    """Both masks as one that broadcasts to [n, heads, l, s + extra]; bool: True takes part."""
    n, rows, columns = query.shape[0], query.shape[1], key.shape[1]
    parts = []
    if key_padding_mask is not None:
        if key_padding_mask.shape not in ((n, columns), (columns,)):
            raise ShapeError(
                f"key_padding_mask has the shape {list(key_padding_mask.shape)}, {[n, columns]} is needed",
                user_location(),
            )
        parts.append(reshape(key_padding_mask, -1, 1, 1, columns))
    if attn_mask is not None:
        if attn_mask.shape == (rows, columns):
            parts.append(reshape(attn_mask, 1, 1, rows, columns))
        elif attn_mask.shape == (n * heads, rows, columns):
            parts.append(reshape(attn_mask, n, heads, rows, columns))
        else:
            raise ShapeError(
                f"attn_mask has the shape {list(attn_mask.shape)}, {[rows, columns]} or "
                f"{[n * heads, rows, columns]} is needed",
                user_location(),
            )
    if not parts:
        return None
    if all(part.dtype is bool_ for part in parts):
        taken = [eq(part, False) for part in parts]
        merged = taken[0] if len(taken) == 1 else logical_and(*_broadcast(taken))
        fill: float = True
    else:
        added = [where(part, -math.inf, 0.0) if part.dtype is bool_ else part for part in parts]
        merged = added[0] if len(added) == 1 else add(*added)
        fill = 0.0
    return F.pad(merged, (0, extra), value=fill) if extra else merged


def _broadcast(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    first, second = parts
    shape = [max(a, b) for a, b in zip(first.shape, second.shape, strict=True)]
    return first.expand(*shape), second.expand(*shape)
