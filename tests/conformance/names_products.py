"""Products of matrices and vectors."""

from __future__ import annotations

from tests.conformance.entry import D, Entry, Several, T, call, entry
from tests.conformance.names_elementwise import both

X = T("n k")
Y = T("k m")
VECTOR = T("k")
BATCH_X, BATCH_Y = T("b n k"), T("b k m")
WIDE = ((2, 1, 3, 4), (5, 4, 2))

NAMES: list[Entry] = []
NAMES += both(
    "matmul",
    call(X, Y, broadcast=WIDE),
    call(BATCH_X, BATCH_Y),
    call(X, VECTOR),
    call(VECTOR, Y),
    call(VECTOR, VECTOR),
)
NAMES += both("mm", call(X, mat2=Y)) + both("bmm", call(BATCH_X, mat2=BATCH_Y))
NAMES += both("mv", call(X, vec=VECTOR)) + both("dot", call(VECTOR, tensor=VECTOR))
NAMES += both("vdot", call(VECTOR, VECTOR)) + both("inner", call(X, T("m k")), call(VECTOR, VECTOR))
NAMES += both("outer", call(VECTOR, vec2=T("n"))) + both("ger", call(VECTOR, vec2=T("n")))
NAMES += both(
    "addmm",
    call(T("n m"), mat1=X, mat2=Y),
    call(T("m"), mat1=X, mat2=Y, only={"beta": 0.5, "alpha": 2}),
)
NAMES += both(
    "addmv",
    call(T("n"), mat=X, vec=VECTOR),
    call(T("n"), mat=X, vec=VECTOR, only={"beta": 0.5, "alpha": 2}),
)
NAMES += both(
    "addr",
    call(X, vec1=T("n"), vec2=VECTOR),
    call(X, vec1=T("n"), vec2=VECTOR, only={"beta": 0.5, "alpha": 2}),
)
NAMES += both(
    "baddbmm",
    call(T("b n m"), batch1=BATCH_X, batch2=BATCH_Y),
    call(T("1 m"), batch1=BATCH_X, batch2=BATCH_Y, only={"beta": 0.5, "alpha": 2}),
)
NAMES += both("addbmm", call(T("n m"), batch1=BATCH_X, batch2=BATCH_Y))
NAMES += both("kron", call(X, T("m b")), call(VECTOR, T("n")))
NAMES += [
    entry(
        "flow.tensordot",
        call(a=X, b=Y, dims=1),
        call(a=T("b n k"), b=T("k n m"), dims=((1, 2), (1, 0))),
    )
]
NAMES += [
    entry(
        "flow.einsum",
        call(equation="ij,jk->ik", operands=X, other=Y, named=False),
        call(equation="ij,ij->i", operands=X, other=X, named=False),
        call(equation="ii->i", operands=T("n n"), named=False),
        call(equation="ii", operands=T("n n"), named=False),
    )
]
NAMES += both("cross", call(T("n 3"), T("n 3"), dim=D(1)), call(T("3 n"), T("3 n"), dim=D(0)))
NAMES += [
    entry(
        "flow.cdist",
        call(x1=T("n k"), x2=T("m k"), broadcast=((2, 1, 3, 4), (5, 2, 4))),
        call(x1=T("b n k"), x2=T("b m k"), p=1.0),
        call(x1=T("n k"), x2=T("m k"), p=3.0),
    )
]
NAMES += [entry("flow.chain_matmul", call(matrices=X, other=Y, named=False))]
NAMES += both("matrix_power", call(T("n n"), n=3), call(T("b n n"), n=0))
NAMES += [entry("flow.vander", call(x=VECTOR), call(x=VECTOR, N=3, increasing=True))]
NAMES += [
    entry("F.linear", call(X, weight=T("m k")), call(T("b n k"), weight=T("m k"), bias=T("m")))
]
NAMES += [
    entry("F.bilinear", call(input1=T("b n"), input2=T("b k"), weight=T("m n k"), bias=T("m")))
]
NAMES += [entry("flow.cosine_similarity", call(x1=X, x2=X), call(x1=X, x2=X, dim=D(0)))]
NAMES += [
    entry(
        "flow.pairwise_distance",
        call(x1=X, x2=X, judged="torch"),
        call(x1=X, x2=X, p=1.0, judged="torch"),
    )
]
NAMES += [
    entry("flow.linalg.norm", call(X), call(X, ord=2, dim=D(1)), call(X, ord="fro")),
    entry(
        "flow.linalg.vector_norm",
        call(x=X),
        call(x=X, ord=1, dim=D(1)),
        call(x=X, ord=3.0, dim=D((0, 1)), keepdim=True),
    ),
    entry(
        "flow.linalg.matrix_norm",
        call(T("b n k")),
        call(T("n k", "distinct"), ord=1),
        call(T("b n k", "distinct"), ord=float("inf"), dim=(-2, -1), keepdim=True),
        call(T("n b k", "distinct"), ord=-1, dim=(2, 0)),
    ),
    entry("flow.linalg.cross", call(T("n 3"), T("n 3")), call(T("3 n"), T("3 n"), only={"dim": 0})),
    entry("flow.linalg.diagonal", call(A=T("b n k")), call(A=T("n k"), only={"offset": 1})),
    entry("flow.linalg.vecdot", call(x=X, y=X), call(x=X, y=X, only={"dim": 0})),
    entry("flow.linalg.multi_dot", call(tensors=Several((T("2 n"), T("n 5"), T("5 3"))))),
    entry("flow.linalg.matrix_power", call(T("n n"), n=3)),
]
