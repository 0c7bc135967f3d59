"""Functions of single elements: by position and as methods."""

from __future__ import annotations

from tests.conformance.entry import Call, D, Entry, T, call, entry

X = T()
POSITIVE = T(domain="positive")
UNIT = T(domain="unit")
SHARE = T(domain="share")
ABOVE = T(domain="above")
MASK = T(domain="mask", dtype="bool")
WHOLE = T(dtype="int64")


def both(name: str, *calls: Call) -> list[Entry]:
    """As a function of the package and as a method."""
    return [entry(f"{place}.{name}", *calls) for place in ("flow", "Tensor")]


UNARY = {
    "abs": X,
    "absolute": X,
    "acos": UNIT,
    "arccos": UNIT,
    "acosh": ABOVE,
    "arccosh": ABOVE,
    "asin": UNIT,
    "arcsin": UNIT,
    "asinh": X,
    "arcsinh": X,
    "atan": X,
    "arctan": X,
    "atanh": UNIT,
    "arctanh": UNIT,
    "ceil": X,
    "cos": X,
    "cosh": X,
    "deg2rad": X,
    "digamma": POSITIVE,
    "erf": X,
    "erfc": X,
    "erfinv": UNIT,
    "exp": X,
    "exp2": X,
    "expm1": X,
    "fix": X,
    "floor": X,
    "frac": X,
    "isfinite": X,
    "isinf": X,
    "isnan": X,
    "isneginf": X,
    "isposinf": X,
    "isreal": X,
    "lgamma": POSITIVE,
    "log": POSITIVE,
    "log10": POSITIVE,
    "log1p": POSITIVE,
    "log2": POSITIVE,
    "logical_not": X,
    "logit": SHARE,
    "neg": X,
    "negative": X,
    "positive": X,
    "rad2deg": X,
    "reciprocal": POSITIVE,
    "relu": X,
    "round": X,
    "rsqrt": POSITIVE,
    "sgn": X,
    "sigmoid": X,
    "sign": X,
    "signbit": X,
    "sin": X,
    "sinc": X,
    "sinh": X,
    "sqrt": POSITIVE,
    "square": X,
    "tan": UNIT,
    "tanh": X,
    "trunc": X,
}
BINARY = {
    "add": (X, X),
    "subtract": (X, X),
    "sub": (X, X),
    "mul": (X, X),
    "multiply": (X, X),
    "div": (X, POSITIVE),
    "divide": (X, POSITIVE),
    "true_divide": (X, POSITIVE),
    "floor_divide": (X, POSITIVE),
    "remainder": (X, POSITIVE),
    "fmod": (X, POSITIVE),
    "eq": (X, X),
    "ne": (X, X),
    "not_equal": (X, X),
    "lt": (X, X),
    "less": (X, X),
    "le": (X, X),
    "less_equal": (X, X),
    "gt": (X, X),
    "greater": (X, X),
    "ge": (X, X),
    "greater_equal": (X, X),
    "xlogy": (X, POSITIVE),
}
NO_NUMBER = {
    "atan2": (POSITIVE, X),
    "arctan2": (POSITIVE, X),
    "maximum": (X, X),
    "minimum": (X, X),
    "fmax": (X, X),
    "fmin": (X, X),
    "hypot": (X, X),
    "logaddexp": (X, X),
    "logaddexp2": (X, X),
    "logical_and": (X, X),
    "logical_or": (X, X),
    "logical_xor": (X, X),
    "copysign": (X, X),
}

NAMES: list[Entry] = []
for _name, _operand in UNARY.items():
    NAMES += both(_name, call(_operand, special=True, least=1.0 if _name == "sinc" else 0.0))
for _name, (_left, _right) in BINARY.items():
    NAMES += both(_name, call(_left, _right, number=True, special=True))
for _name, (_left, _right) in NO_NUMBER.items():
    NAMES += both(_name, call(_left, _right, special=True))
NAMES += both(
    "pow",
    call(POSITIVE, exponent=T(domain="count"), number=True, special=True),
    call(POSITIVE, exponent=2),
    call(POSITIVE, exponent=3),
    call(POSITIVE, exponent=0.5),
    call(POSITIVE, exponent=-1.5),
    call(X, exponent=0),
)
NAMES += both("float_power", call(POSITIVE, exponent=X, number=True), call(POSITIVE, exponent=3))
NAMES += both("heaviside", call(X, values=X, special=True))
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    NAMES += both(_name, call(X, X, number=True))
NAMES += both("bitwise_not", call(X))
for _name in ("clamp", "clip"):
    NAMES += both(
        _name,
        call(X, min=-0.5, max=0.5, special=True),
        call(X, min=-1),
        call(X, min=None, max=1),
        call(X, min=T("k"), max=T("k", "positive")),
    )
NAMES += both("clamp_min", call(X, min=-0.5, special=True))
NAMES += both("clamp_max", call(X, max=0.5, special=True))
NAMES += [
    entry("flow.where", call(condition=MASK, input=X, other=X)),
    entry("Tensor.where", call(X, condition=MASK, other=X)),
]
NAMES += both("masked_fill", call(X, mask=MASK, value=2), call(X, mask=MASK, value=2.5))
NAMES += both("lerp", call(X, end=X, weight=X, least=1.0), call(X, end=X, weight=0.25, least=1.0))
NAMES += both(
    "addcmul", call(X, tensor1=X, tensor2=X), call(X, tensor1=X, tensor2=X, only={"value": 2})
)
NAMES += both(
    "addcdiv",
    call(X, tensor1=X, tensor2=POSITIVE),
    call(X, tensor1=X, tensor2=POSITIVE, only={"value": 0.5}),
)
NAMES += both(
    "nan_to_num",
    call(X, special=True, judged="torch"),
    call(X, nan=1.0, posinf=2.0, neginf=-2.0, special=True),
)
NAMES += both(
    "isclose",
    call(X, X),
    call(X, X, rtol=1.0, atol=0.5, equal_nan=True, special=True),
)
NAMES += both("allclose", call(X, X), call(X, X, rtol=1.0, atol=10.0))
NAMES += both("equal", call(X, X))
NAMES += both("ldexp", call(X, T(domain="count")))
NAMES += [entry("flow.rsub", call(X, X, number=True))]
NAMES += both("mvlgamma", call(ABOVE, p=2), call(ABOVE, p=1))
SPECIAL = {
    "digamma": POSITIVE,
    "entr": POSITIVE,
    "erf": X,
    "erfc": X,
    "erfinv": UNIT,
    "exp2": X,
    "expit": X,
    "expm1": X,
    "gammaln": POSITIVE,
    "log1p": POSITIVE,
    "logit": SHARE,
    "ndtr": X,
    "ndtri": SHARE,
    "psi": POSITIVE,
    "round": X,
    "sinc": X,
}
for _name, _operand in SPECIAL.items():
    NAMES.append(
        entry(
            f"flow.special.{_name}",
            call(
                _operand,
                special=_name != "ndtri",  # 1e-30 is beyond float32's digits of 2 p - 1
                least=1.0 if _name in ("sinc", "ndtri") else 0.0,
            ),
        )
    )
for _name in ("xlogy", "xlog1py"):
    NAMES.append(entry(f"flow.special.{_name}", call(X, POSITIVE, number=True, special=True)))
NAMES += [
    entry("flow.special.multigammaln", call(ABOVE, p=2)),
    entry("flow.special.softmax", call(X, dim=D(1))),
    entry("flow.special.log_softmax", call(X, dim=D(1))),
    entry("flow.special.logsumexp", call(X, dim=D(1))),
]
