"""Sums of products and tests of all elements, composed of products and reductions."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes
from ..errors import DTypeError, Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .grids import diagonal
from .products import bmm, check_ranks, matmul, mm
from .reductions import Dims, amax, amin
from .reductions import sum as _sum
from .shapes import broadcast_to, permute, reshape, unsqueeze


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """True where an element over `dim` is not 0; 1 and 0 of uint8, as in PyTorch."""
    found = ew.ne(
        _sum(ew.ne(input, 0) if input.dtype is not dtypes.bool_ else input, dim, keepdim), 0
    )
    return ew.cast(found, dtypes.uint8) if input.dtype is dtypes.uint8 else found


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """True where no element over `dim` is 0; 1 and 0 of uint8, as in PyTorch."""
    zero = False if input.dtype is dtypes.bool_ else 0
    found = ew.eq(_sum(ew.eq(input, zero), dim, keepdim), 0)
    return ew.cast(found, dtypes.uint8) if input.dtype is dtypes.uint8 else found


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements over `dim` are not 0, in int64."""
    return _sum(ew.ne(input, False if input.dtype is dtypes.bool_ else 0), dim)


def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """ln of the sum of e^input over `dim`, without overflow; -inf of no elements."""
    input = ew.cast_to_float(input)
    if input.numel() == 0:
        return ew.log(_sum(ew.exp(input), dim, keepdim))
    most = amax(input, dim, keepdim=True).detach()
    # An infinite maximum is itself the result; its difference to itself would be nan.
    most = ew.where(ew.isfinite(most), most, 0.0)
    total = ew.add(ew.log(_sum(ew.exp(ew.sub(input, most)), dim, keepdim=True)), most)
    return total if keepdim else reshape(total, _sum(input, dim).shape)


def norm(input: Tensor, p: float | str = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The p-norm over `dim` (all dims by default); "fro" is 2; inf and -inf the largest and least size."""
    if p == "fro":
        p = 2
    if not isinstance(p, (int, float)):
        raise Error(f"norm: p={p!r}: a number or 'fro'", user_location())
    if not input.dtype.is_floating_point:
        raise DTypeError(f"norm of {input.dtype!r}; convert with .float()", user_location())
    size = ew.abs(input)
    if p == 2:
        return ew.sqrt(_sum(ew.square(input), dim, keepdim))
    if p == 1:
        return _sum(size, dim, keepdim)
    if math.isinf(p):
        return amax(size, dim, keepdim) if p > 0 else amin(size, dim, keepdim)
    if p == 0:
        return ew.cast(_sum(ew.ne(input, 0), dim, keepdim), input.dtype)
    return ew.pow(_sum(ew.pow(size, float(p)), dim, keepdim), 1 / p)


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """|input - other| <= atol + rtol * |other|, element by element; of one dtype, integers as float32."""
    if input.dtype is not other.dtype:
        raise DTypeError(
            f"isclose takes two tensors of one dtype, not {input.dtype!r} and {other.dtype!r}",
            user_location(),
        )
    input, other = ew.cast_to_float(input), ew.cast_to_float(other)
    near = ew.le(ew.abs(ew.sub(input, other)), ew.add(ew.mul(ew.abs(other), rtol), atol))
    near = ew.logical_or(ew.logical_and(near, ew.isfinite(other)), ew.eq(input, other))
    if equal_nan:
        near = ew.logical_or(near, ew.logical_and(ew.isnan(input), ew.isnan(other)))
    return near


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """isclose for all elements, as a bool; outside steps."""
    return bool(all(isclose(input, other, rtol, atol, equal_nan)))


def equal(input: Tensor, other: Tensor) -> bool:
    """Same shape and elements, as a bool; outside steps."""
    return input.shape == other.shape and bool(all(ew.eq(input, other)))


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of products of two 1-d tensors."""
    if input.ndim != 1 or input.shape != tensor.shape:
        raise ShapeError(
            f"dot takes two 1-d tensors of one length, not {list(input.shape)} and {list(tensor.shape)}",
            user_location(),
        )
    return matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """[n] and [m] to all products [n, m]."""
    if input.ndim != 1 or vec2.ndim != 1:
        raise ShapeError(
            f"outer takes two vectors, not {input.ndim} and {vec2.ndim} dims", user_location()
        )
    return ew.mul(unsqueeze(input, 1), vec2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector, [n, m] @ [m] -> [n]."""
    check_ranks("mv", (input, 2), (vec, 1))
    return matmul(input, vec)


def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    return scaled_sum("addmm", input, mm(mat1, mat2), beta, alpha)


def scaled_sum(name: str, input: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    """beta * input + alpha * product; input broadcasts to the product, not the other way."""
    if input.ndim > product.ndim:
        raise ShapeError(
            f"{name}: input {list(input.shape)} does not broadcast to {list(product.shape)}",
            user_location(),
        )
    scaled = broadcast_to(input if beta == 1 else ew.mul(input, beta), product.shape)
    return ew.add(scaled, product, alpha=alpha)


def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2), of batches [b, n, k] and [b, k, m]."""
    return scaled_sum("baddbmm", input, bmm(batch1, batch2), beta, alpha)


def _parse(equation: str, operands: tuple[Tensor, ...]) -> tuple[list[str], str]:
    """Letters of each operand and of the result; `...` as capital letters that the equation does not use."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise Error(
            f"einsum: {equation!r} has {len(terms)} operands, {len(operands)} are given",
            user_location(),
        )
    spare = [chr(code) for code in range(ord("Z"), ord("A") - 1, -1) if chr(code) not in text]
    widths = [x.ndim - len(t.replace("...", "")) for t, x in zip(terms, operands, strict=True)]
    broad = max([w for t, w in zip(terms, widths, strict=True) if "..." in t], default=0)
    batch = "".join(spare[:broad])
    expanded = []
    for term, width, x in zip(terms, widths, operands, strict=True):
        letters = term.replace("...", batch[broad - width :] if width > 0 else "")
        if len(letters) != x.ndim:
            raise ShapeError(
                f"einsum: {term!r} does not name each dim of {list(x.shape)}",
                user_location(),
            )
        expanded.append(letters)
    if not arrow:
        joined = "".join(expanded)
        once = sorted(c for c in set(joined) if joined.count(c) == 1 and c not in batch)
        return expanded, batch + "".join(once)
    return expanded, right.replace("...", batch)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products named by letters: "bhid,bhjd->bhij". Operands are contracted from left to right.

    A letter twice in one operand is its diagonal.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    terms, result = _parse(equation, operands)
    terms, operands = _diagonals(terms, operands)
    letters, value = terms[0], operands[0]
    for i in range(1, len(terms)):
        later = set(result).union(*terms[i + 1 :])
        letters, value = _contract(letters, value, terms[i], operands[i], later)
    gone = [letters.index(c) for c in letters if c not in result]
    if gone:
        value = _sum(value, tuple(gone))
        letters = "".join(c for c in letters if c in result)
    return value if letters == result else permute(value, [letters.index(c) for c in result])


def _diagonals(
    terms: list[str], operands: tuple[Tensor, ...]
) -> tuple[list[str], tuple[Tensor, ...]]:
    """Letters that an operand has twice, as its diagonals: then each has a letter once."""
    letters_of, values = [], []
    for letters, x in zip(terms, operands, strict=True):
        for letter in sorted({c for c in letters if letters.count(c) > 1}):
            while letters.count(letter) > 1:
                first = letters.index(letter)
                second = letters.index(letter, first + 1)
                if x.shape[first] != x.shape[second]:
                    raise ShapeError(
                        f"einsum: {letter!r} is {x.shape[first]} and {x.shape[second]} long",
                        user_location(),
                    )
                x = diagonal(x, 0, first, second)
                letters = (
                    letters[:first] + letters[first + 1 : second] + letters[second + 1 :] + letter
                )
        letters_of.append(letters)
        values.append(x)
    return letters_of, tuple(values)


def _contract(left: str, a: Tensor, right: str, b: Tensor, later: set[str]) -> tuple[str, Tensor]:
    """One product of two operands: letters that are nowhere later are summed over."""
    extent = dict(zip(left, a.shape, strict=True))
    for letter, size in zip(right, b.shape, strict=True):
        if extent.setdefault(letter, size) != size:
            raise ShapeError(
                f"einsum: {letter!r} is {extent[letter]} and {size} long", user_location()
            )
    # What one operand alone has and nobody needs is summed at once.
    for mine, other in ((left, right), (right, left)):
        alone = [c for c in mine if c not in other and c not in later]
        if alone and mine == left:
            a = _sum(a, tuple(left.index(c) for c in alone))
            left = "".join(c for c in left if c not in alone)
        elif alone:
            b = _sum(b, tuple(right.index(c) for c in alone))
            right = "".join(c for c in right if c not in alone)
    batch = [c for c in left if c in right and c in later]
    summed = [c for c in left if c in right and c not in later]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]

    def count(names: list[str]) -> int:
        return math.prod(extent[c] for c in names)

    sizes = [extent[c] for c in batch]
    x = permute(a, [left.index(c) for c in batch + rows + summed]) if left else a
    y = permute(b, [right.index(c) for c in batch + summed + columns]) if right else b
    product = matmul(
        reshape(x, [*sizes, count(rows), count(summed)]),
        reshape(y, [*sizes, count(summed), count(columns)]),
    )
    names = batch + rows + columns
    return "".join(names), reshape(product, [extent[c] for c in names])


__all__ = [
    "addmm",
    "all",
    "allclose",
    "any",
    "baddbmm",
    "count_nonzero",
    "dot",
    "einsum",
    "equal",
    "isclose",
    "logsumexp",
    "mv",
    "norm",
    "outer",
]
