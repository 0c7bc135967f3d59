"""Functions along dims: reductions, running ones, order, statistics."""

from __future__ import annotations

from tests.conformance.entry import D, Entry, T, call, entry
from tests.conformance.names_elementwise import both

X = T()
DISTINCT = T(domain="distinct")
POSITIVE = T(domain="positive")
CUBE = T("b n k")
CUBE_DISTINCT = T("b n k", "distinct")

NAMES: list[Entry] = []
for _name in ("sum", "mean", "nansum", "nanmean"):
    NAMES += both(
        _name,
        call(X),
        call(X, dim=D(1)),
        call(CUBE, dim=D((0, 2)), keepdim=True),
        call(X, dim=D(0), only={"dtype": "dtype.float64"}),
    )
for _name in ("amax", "amin"):
    NAMES += both(
        _name,
        call(DISTINCT, dim=D(1)),
        call(CUBE_DISTINCT, dim=D((0, 2)), keepdim=True),
        call(DISTINCT),
    )
NAMES += both("aminmax", call(DISTINCT), call(DISTINCT, only={"dim": 1}))
for _name in ("max", "min"):
    NAMES += both(
        _name,
        call(DISTINCT),
        call(DISTINCT, dim=D(1)),
        call(CUBE_DISTINCT, dim=D(0), keepdim=True),
        call(X, X),
    )
for _name in ("argmax", "argmin"):
    NAMES += both(
        _name, call(DISTINCT), call(DISTINCT, dim=D(1)), call(CUBE_DISTINCT, dim=D(0), keepdim=True)
    )
NAMES += both(
    "prod",
    call(POSITIVE, factor=16.0),
    call(POSITIVE, dim=D(1)),
    call(POSITIVE, dim=D(0), keepdim=True),
)
for _place, _name in (
    ("flow", "var"),
    ("Tensor", "var"),
    ("flow", "std"),
    ("Tensor", "std"),
    ("flow", "var_mean"),
    ("flow", "std_mean"),
):
    NAMES.append(
        entry(
            f"{_place}.{_name}",
            call(X),
            call(X, dim=D(1)),
            call(X, dim=D(0), unbiased=False, keepdim=True, named=False),
            call(CUBE, dim=D((0, 2)), only={"correction": 0}),
            call(X, unbiased=False),
        )
    )
NAMES += both("all", call(X), call(X, dim=D(1)), call(X, dim=D(0), keepdim=True))
NAMES += both("any", call(X), call(X, dim=D(1)), call(X, dim=D(0), keepdim=True))
NAMES += both("count_nonzero", call(X), call(X, dim=D(1)), call(CUBE, dim=D((0, 2))))
NAMES += both("logsumexp", call(X, dim=D(1)), call(CUBE, dim=D((0, 2)), keepdim=True))
NAMES += both(
    "norm",
    call(X),
    call(X, p=1, dim=D(1)),
    call(X, p=3, dim=D(0), keepdim=True),
    call(X, p=float("inf"), dim=D(1)),
    call(X, p=0, dim=D(1)),
)
NAMES += both("dist", call(X, X), call(X, X, p=1), call(X, X, p=3.0))
for _name in ("softmax", "log_softmax"):
    NAMES += both(
        _name,
        call(X, dim=D(1)),
        call(CUBE, dim=D(0)),
        call(X, dim=D(1), only={"dtype": "dtype.float64"}),
    )
for _name in ("cumsum", "cumprod"):
    NAMES += both(
        _name,
        call(X, dim=D(1), factor=8.0),
        call(CUBE, dim=D(0), factor=8.0),
        call(X, dim=D(1), only={"dtype": "dtype.float64"}),
    )
for _name in ("cummax", "cummin"):
    NAMES += both(_name, call(DISTINCT, dim=D(1)), call(CUBE_DISTINCT, dim=D(0)))
NAMES += both("logcumsumexp", call(X, dim=D(1)), call(CUBE, dim=D(0)))
NAMES += both(
    "sort",
    call(DISTINCT),
    call(DISTINCT, dim=D(0)),
    call(CUBE_DISTINCT, dim=D(1), descending=True),
    call(X, only={"stable": True, "dim": 0}),
)
NAMES += both(
    "argsort",
    call(DISTINCT),
    call(DISTINCT, dim=D(0)),
    call(CUBE_DISTINCT, dim=D(1), descending=True),
)
NAMES += both("msort", call(DISTINCT))
NAMES += both(
    "topk",
    call(DISTINCT, k=1),
    call(DISTINCT, k=1, dim=D(0)),
    call(DISTINCT, k=1, dim=D(1), largest=False),
)
NAMES += both(
    "kthvalue",
    call(DISTINCT, k=1),
    call(DISTINCT, k=1, dim=D(0)),
    call(DISTINCT, k=1, dim=D(0), keepdim=True),
)
NAMES += both(
    "median", call(DISTINCT), call(DISTINCT, dim=D(1)), call(DISTINCT, dim=D(0), keepdim=True)
)
NAMES += both(
    "quantile",
    call(DISTINCT, q=0.25),
    call(DISTINCT, q=0.5, dim=D(1)),
    call(DISTINCT, q=0.75, dim=D(0), keepdim=True),
)
NAMES += both("diff", call(X), call(X, n=1, dim=D(0)))
for _name in ("trapezoid", "trapz"):
    NAMES.append(entry(f"flow.{_name}", call(y=X), call(y=X, only={"dx": 0.5, "dim": 0})))
NAMES += [entry("flow.cumulative_trapezoid", call(y=X), call(y=X, only={"dx": 0.5, "dim": 0}))]
NAMES += both("renorm", call(X, p=2, dim=D(0), maxnorm=1.0))
NAMES += both("histc", call(X, bins=4, min=-1, max=1))
NAMES += both(
    "bincount", call(T("n", "count")), call(T("n", "index", "int64", 4), weights=None, minlength=6)
)
NAMES += both("cov", call(X)) + both("corrcoef", call(X))
NAMES += both("unique", call(X)) + both("nonzero", call(X)) + both("argwhere", call(X))
