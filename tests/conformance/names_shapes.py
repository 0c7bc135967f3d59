"""Functions that move elements: shapes, dims, pieces, copies."""

from __future__ import annotations

from tests.conformance.entry import D, Entry, Several, T, call, entry
from tests.conformance.names_elementwise import both

X = T()
CUBE = T("b n k")
ONES = T("n 1 k")
COLUMN = T("k 1")
POSITIVE = T(domain="positive")
SQUARE = T("n n")
VECTOR = T("k")

NAMES: list[Entry] = []
NAMES += both(
    "reshape", call(X, shape=(-1,)), call(X, shape=(1, -1)), call(T("n 4"), shape=(2, -1, 2))
)
NAMES += [
    entry(
        "Tensor.view",
        call(X, shape=(-1,), named=False),
        call(T("n 4"), shape=(-1, 2, 2), named=False),
    )
]
NAMES += [entry("Tensor.reshape_as", call(T("n 4"), other=T("4 n")))]
NAMES += [entry("Tensor.view_as", call(T("n 4"), other=T("4 n")))]
NAMES += [entry("Tensor.expand_as", call(COLUMN, other=T("k n")))]
NAMES += [entry("Tensor.type_as", call(X, other=T(dtype="float64")))]
NAMES += both(
    "flatten", call(CUBE), call(CUBE, start_dim=D(1)), call(CUBE, start_dim=D(0), end_dim=1)
)
NAMES += both("ravel", call(CUBE))
NAMES += both(
    "unflatten", call(T("n 6"), dim=D(1), sizes=(2, -1)), call(T("n 6"), dim=D(1), sizes=(3, 2))
)
NAMES += both("permute", call(CUBE, dims=D((2, 0, 1))), call(X, dims=D((1, 0))))
for _name, _names in {
    "transpose": ("dim0", "dim1"),
    "swapaxes": ("axis0", "axis1"),
    "swapdims": ("dim0", "dim1"),
}.items():
    NAMES += both(_name, call(CUBE, **{_names[0]: D(0), _names[1]: D(2)}))  # type: ignore[arg-type]
NAMES += both("t", call(X), call(VECTOR))
NAMES += both("adjoint", call(CUBE))
NAMES += [entry(f"Tensor.{name}", call(X)) for name in ("T", "mT")]
for _name in ("movedim", "moveaxis"):
    NAMES += both(
        _name,
        call(CUBE, source=D(0), destination=D(2)),
        call(CUBE, source=D((0, 1)), destination=D((2, 0))),
    )
NAMES += both("unsqueeze", call(X, dim=D(1, new=True)), call(CUBE, dim=D(0, new=True)))
NAMES += both("squeeze", call(ONES), call(ONES, dim=D(1)), call(ONES, dim=D((0, 1))))
NAMES += [
    entry(
        "Tensor.expand",
        call(COLUMN, size=(-1, 3), named=False),
        call(T("1"), size=(2, 3), named=False),
    )
]
NAMES += both("broadcast_to", call(COLUMN, size=(4, 3)), call(T("1"), size=(2, 3)))
for _name in ("cat", "concat", "concatenate"):
    NAMES += [
        entry(
            f"flow.{_name}",
            call(tensors=Several((X, X))),
            call(tensors=Several((X, T("n 2"), T("n 3"))), dim=D(1)),
        )
    ]
NAMES += [
    entry("flow.stack", call(tensors=Several((X, X))), call(tensors=Several((X, X)), dim=D(1)))
]
for _name in ("hstack", "vstack", "dstack", "column_stack", "row_stack"):
    NAMES += [
        entry(
            f"flow.{_name}", call(tensors=Several((X, X))), call(tensors=Several((VECTOR, VECTOR)))
        )
    ]
NAMES += both(
    "narrow", call(X, dim=D(1), start=0, length=1), call(CUBE, dim=D(0), start=-1, length=1)
)
NAMES += both("select", call(X, dim=D(1), index=0), call(CUBE, dim=D(1), index=-1))
NAMES += [
    entry(
        "flow.split",
        call(tensor=X, split_size_or_sections=1),
        call(tensor=X, split_size_or_sections=3, dim=D(1)),
    ),
    entry(
        "Tensor.split",
        call(X, split_size=1),
        call(X, split_size=3, dim=D(1)),
        call(T("n 4"), split_size=(1, 3), dim=D(1)),
    ),
]
NAMES += both("chunk", call(X, chunks=2), call(X, chunks=3, dim=D(1)))
NAMES += both(
    "tensor_split",
    call(X, indices_or_sections=2, named=False),
    call(X, indices_or_sections=3, dim=D(1), named=False),
)
NAMES += both("hsplit", call(T("n 4"), indices_or_sections=2, named=False))
NAMES += both("vsplit", call(T("4 n"), indices_or_sections=2, named=False))
NAMES += both("unbind", call(X), call(CUBE, dim=D(1)))
NAMES += both("flip", call(X, dims=D((0,))), call(CUBE, dims=D((0, 2))))
NAMES += both("fliplr", call(X)) + both("flipud", call(X))
NAMES += both("rot90", call(X, k=1, dims=D((0, 1))), call(X, k=3, dims=D((0, 1))))
NAMES += both(
    "roll",
    call(X, shifts=1, dims=D(1)),
    call(X, shifts=-2),
    call(X, shifts=(1, -1), dims=D((0, 1))),
)
NAMES += both("tril", call(X), call(CUBE, diagonal=1), call(X, diagonal=-1))
NAMES += both("triu", call(X), call(CUBE, diagonal=1), call(X, diagonal=-1))
NAMES += both("diag", call(SQUARE), call(VECTOR), call(X, diagonal=1), call(VECTOR, diagonal=-1))
NAMES += both("diagonal", call(X), call(X, offset=1), call(CUBE, offset=-1, dim1=D(1), dim2=2))
NAMES += both("diag_embed", call(VECTOR), call(X, offset=1), call(X, offset=-1, dim1=0, dim2=2))
NAMES += both("diagflat", call(X), call(VECTOR, offset=1))
NAMES += both("trace", call(X))
NAMES += [
    entry(
        "Tensor.repeat",
        call(X, repeats=(2, 1), named=False),
        call(X, repeats=(2, 1, 3), named=False),
    )
]
NAMES += both("tile", call(X, dims=(2,)), call(X, dims=(2, 1, 3)))
NAMES += both(
    "repeat_interleave",
    call(X, repeats=2),
    call(X, repeats=3, dim=D(1)),
    call(CUBE, repeats=2, dim=D(0)),
)
NAMES += [
    entry(
        "flow.meshgrid",
        call(tensors=Several((VECTOR, T("n"))), named=False, only={"indexing": "ij"}),
        call(tensors=Several((VECTOR, T("n"))), named=False, only={"indexing": "xy"}),
    )
]
NAMES += [entry("flow.cartesian_prod", call(tensors=VECTOR, named=False))]
NAMES += [entry("flow.block_diag", call(tensors=X, named=False))]
NAMES += [entry("flow.broadcast_tensors", call(tensors=X, named=False))]
for _name in ("atleast_1d", "atleast_2d", "atleast_3d"):
    NAMES += [
        entry(f"flow.{_name}", call(tensors=X, named=False), call(tensors=T("k"), named=False))
    ]
NAMES += both("clone", call(X)) + both("detach", call(X))
NAMES += [
    entry("Tensor.contiguous", call(X)),
    entry("Tensor.numel", call(X)),
    entry("flow.numel", call(X)),
]
NAMES += [
    entry("Tensor.dim", call(X)),
    entry("Tensor.ndim", call(X)),
    entry("Tensor.size", call(X), call(X, dim=D(1))),
]
NAMES += [
    entry("Tensor.ndimension", call(X)),
    entry("Tensor.nelement", call(X)),
    entry("Tensor.element_size", call(X)),
]
NAMES += [entry("Tensor.is_floating_point", call(X)), entry("flow.is_floating_point", call(X))]
NAMES += [entry("Tensor.is_contiguous", call(X)), entry("flow.is_tensor", call(obj=X, named=False))]
NAMES += [entry("Tensor.tolist", call(X)), entry("Tensor.item", call(T("1 1")), call(X))]
NAMES += [
    entry("Tensor.shape", call(X)),
    entry("Tensor.dtype", call(X)),
    entry("Tensor.requires_grad", call(X)),
]
NAMES += [
    entry(f"Tensor.{name}", call(POSITIVE if name == "byte" else X))
    for name in (
        "float",
        "double",
        "half",
        "bfloat16",
        "long",
        "int",
        "short",
        "char",
        "byte",
        "bool",
    )
]
NAMES += [
    entry(
        "Tensor.to",
        *(call(X, dtype=f"dtype.{one}") for one in ("float16", "int64", "bool", "float64")),
    )
]
NAMES += [entry("Tensor.type", call(X, dtype="dtype.int32"))]
NAMES += [
    entry(
        "Tensor.unfold",
        call(T("n 6"), dimension=D(1), size=2, step=2),
        call(T("n 6"), dimension=D(1), size=3, step=1),
    )
]
NAMES += [
    entry("Tensor.new_zeros", call(X, size=(2, 3))),
    entry("Tensor.new_ones", call(X, size=(2, 3))),
]
NAMES += [
    entry("Tensor.new_full", call(X, size=(2, 3), fill_value=3)),
    entry("Tensor.new_tensor", call(X, data=[1.5, 2.0])),
]
NAMES += [entry("Tensor.new_empty", call(X, size=(2, 3), judged="type"))]
for _name in ("zeros_like", "ones_like"):
    NAMES += [entry(f"flow.{_name}", call(X), call(X, only={"dtype": "dtype.int64"}))]
for _name in ("empty_like", "rand_like", "randn_like"):
    NAMES += [entry(f"flow.{_name}", call(X, judged="type"))]
NAMES += [
    entry(
        "flow.full_like",
        call(X, fill_value=3),
        call(X, fill_value=1.5, only={"dtype": "dtype.float64"}),
    )
]
NAMES += [entry("flow.randint_like", call(X, high=5, judged="type"))]
