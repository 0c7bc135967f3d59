"""Operators, with tensors and with numbers on either side."""

from __future__ import annotations

from tests.conformance.entry import Entry, T, call, entry

X = T()
POSITIVE = T(domain="positive")
OPERATORS = {
    **{f"__{name}__": (X, X) for name in ("add", "radd", "sub", "rsub", "mul", "rmul")},
    **{f"__{name}__": (X, POSITIVE) for name in ("truediv", "floordiv", "mod")},
    **{f"__{name}__": (POSITIVE, X) for name in ("rtruediv", "rfloordiv", "rmod")},
    **{f"__{name}__": (X, X) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}
NAMES: list[Entry] = [
    entry(
        f"Tensor.{name}",
        call(left, right, named=False, number=True, special=name != "__rfloordiv__"),
    )
    for name, (left, right) in OPERATORS.items()
]
NAMES += [
    entry(f"Tensor.__{name}__", call(X, X, named=False, number=True))
    for name in ("and", "rand", "or", "ror", "xor", "rxor")
]
NAMES += [
    entry(f"Tensor.__{name}__", call(X, special=name != "invert"))
    for name in ("neg", "abs", "invert")
]
NAMES += [
    entry("Tensor.__pow__", call(POSITIVE, 2, named=False), call(POSITIVE, X, named=False)),
    entry("Tensor.__rpow__", call(POSITIVE, 2, named=False), call(X, 2.5, named=False)),
    entry("Tensor.__matmul__", call(T("n k"), T("k m"), named=False)),
    entry("Tensor.__len__", call(X)),
    entry("Tensor.__bool__", call(T("1 1")), call(T("2", "positive"))),
    entry("Tensor.__int__", call(T("1"))),
    entry("Tensor.__float__", call(T("1"))),
]
