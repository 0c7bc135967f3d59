"""Elements by integer tensors and masks."""

from __future__ import annotations

from tests.conformance.entry import D, Entry, T, call, entry
from tests.conformance.names_elementwise import both

X = T()
CUBE = T("b n k")
ROWS = T("4", "index", "int64", "n")
COLUMNS = T("2", "index", "int64", "k")
MASK = T(domain="mask", dtype="bool")
ACROSS = T("n 2", "index", "int64", "k")
PLACES = T("2", "places", "int64", 3)
FIXED = T("3 k")

NAMES: list[Entry] = []
NAMES += [
    entry(
        "Tensor.gather",
        call(X, dim=D(1), index=ACROSS),
        call(X, dim=D(0), index=T("2 k", "index", "int64", "n")),
    )
]
NAMES += both("index_select", call(X, dim=D(0), index=ROWS), call(CUBE, dim=D(2), index=COLUMNS))
NAMES += both(
    "take_along_dim",
    call(X, indices=ACROSS, dim=D(1)),
    call(X, indices=T("1 2", "index", "int64", "k"), dim=D(1)),
    call(X, indices=T("3", "index", "int64", "k")),
)
NAMES += both("take", call(X, index=T("3", "index", "int64", "k")))
NAMES += both(
    "index_add",
    call(FIXED, dim=D(0), index=T("4", "index", "int64", 3), source=T("4 k")),
    call(FIXED, dim=D(0), index=PLACES, source=T("2 k"), only={"alpha": 2}),
)
NAMES += both("index_copy", call(FIXED, dim=D(0), index=PLACES, source=T("2 k")))
NAMES += both("index_fill", call(FIXED, dim=D(0), index=PLACES, value=2))
NAMES += both(
    "scatter_add",
    call(X, dim=D(1), index=ACROSS, src=T("n 2")),
    call(X, dim=D(0), index=T("2 k", "index", "int64", "n"), src=T("2 k")),
)
NAMES += both(
    "scatter",
    call(FIXED, dim=D(0), index=T("1 k", "index", "int64", 3), src=T("1 k")),
    call(FIXED, dim=D(0), index=T("1 k", "index", "int64", 3), value=2),
)
NAMES += both(
    "scatter_reduce",
    call(X, dim=D(1), index=ACROSS, src=T("n 2"), only={"reduce": "sum"}),
)
NAMES += both(
    "scatter_reduce:amax", call(X, dim=D(1), index=ACROSS, src=T("n 2"), only={"reduce": "amax"})
)
NAMES += both("select_scatter", call(FIXED, src=T("k"), dim=D(0), index=1))
NAMES += both(
    "slice_scatter",
    call(FIXED, src=T("2 k"), dim=D(0), start=1),
    call(T("6 k"), src=T("2 k"), dim=D(0), start=1, end=5, step=2),
)
NAMES += both("masked_scatter", call(X, mask=MASK, source=X))
NAMES += both("masked_select", call(X, mask=MASK))
NAMES += [entry("flow.searchsorted", call(sorted_sequence=T("k", "sorted"), input=T("n")))]
NAMES += [
    entry(
        "flow.bucketize",
        call(X, boundaries=T("m", "sorted")),
        call(X, boundaries=T("m", "sorted"), only={"right": True}),
    )
]
NAMES += [entry("flow.isin", call(elements=T(domain="count"), test_elements=T("2", "count")))]
NAMES += [
    entry(
        "F.one_hot",
        call(T("n", "index", "int64", 4), num_classes=5, named=False),
        call(T("n k", "index", "int64", 4), num_classes=4, named=False),
    )
]
NAMES += [
    entry(
        "F.embedding",
        call(T("n k", "index", "int64", 5), weight=T("5 3")),
        call(T("n", "index", "int64", 5), weight=T("5 3"), padding_idx=1),
    )
]
NAMES += [
    entry(
        "Tensor.__getitem__",
        call(X, index=0, named=False),
        call(CUBE, index=(slice(None), 0), named=False),
        call(X, index=(..., None), named=False),
        call(CUBE, index=(slice(None), slice(None), slice(0, None, 2)), named=False),
        call(X, index=ROWS, named=False),
    )
]
