"""PyTorch's second names of functions."""

from __future__ import annotations

from . import elementwise as ew

absolute = ew.abs
arccos = ew.acos
arccosh = ew.acosh
arcsin = ew.asin
arcsinh = ew.asinh
arctan = ew.atan
arctan2 = ew.atan2
arctanh = ew.atanh
clip = ew.clamp
divide = ew.div
fix = ew.trunc
greater = ew.gt
greater_equal = ew.ge
less = ew.lt
less_equal = ew.le
multiply = ew.mul
negative = ew.neg
not_equal = ew.ne
sgn = ew.sign
subtract = ew.sub
true_divide = ew.div

__all__ = [
    "absolute",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "clip",
    "divide",
    "fix",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "multiply",
    "negative",
    "not_equal",
    "sgn",
    "subtract",
    "true_divide",
]
