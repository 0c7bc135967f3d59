"""Tensors made from numbers."""

from __future__ import annotations

from tests.conformance.entry import Call, Entry, T, entry


def made(*positional: object, **only: object) -> Call:
    return Call(
        {f"argument{i}": value for i, value in enumerate(positional)}, only=only, named=False
    )


def random(*positional: object, **only: object) -> Call:
    return Call(
        {f"argument{i}": value for i, value in enumerate(positional)},
        only=only,
        named=False,
        judged="type",
    )


F64, I64, BOOL = "dtype.float64", "dtype.int64", "dtype.bool"
NAMES: list[Entry] = [
    *(
        entry(
            f"flow.{name}",
            made(2, 3),
            made((2, 3)),
            made(()),
            made(0, 2),
            made(2, dtype=I64),
            made((2,), dtype=None),
        )
        for name in ("zeros", "ones")
    ),
    entry("flow.empty", random(2, 3), random((2, 3), dtype=I64)),
    entry(
        "flow.full",
        made((2, 3), 1.5),
        made((2,), 3),
        made((), True),
        made((2,), 1, dtype=F64),
        made((2,), -1, dtype="dtype.uint8"),
    ),
    entry(
        "flow.arange",
        made(5),
        made(2, 7),
        made(2, 9, 3),
        made(5, 1, -2),
        made(1.0),
        made(0, 1, 0.25),
        made(3, dtype=F64),
        made(0),
        made(2.5),
        made(1, 2.0),
        made(5, 2),
        made(1, 2, 0),
    ),
    entry(
        "flow.linspace",
        made(0, 1, 5),
        made(3.0, -10.0, 4),
        made(0, 1, 1),
        made(0, 1, 0),
        made(0, 7, 3, dtype=I64),
        made(0, 1, 5, dtype=F64),
        made(0, 1, -1),
    ),
    entry("flow.logspace", made(0, 2, 5), made(-1, 1, 4, 2.0), made(0, 1, 1)),
    entry(
        "flow.eye",
        made(3),
        made(2, 4),
        made(0),
        made(3, dtype=I64),
        made(2, 3, dtype=BOOL),
        made(-1),
    ),
    entry(
        "flow.tensor",
        made(1),
        made(1.5),
        made(True),
        made([1, 2]),
        made([1, 2.5]),
        made([]),
        made([[1.0], [2.0]]),
        made([1, 0], dtype=BOOL),
        made([True, 2]),
        made([1.7, -1.7], dtype=I64),
        made([[1], [1, 2]]),
    ),
    entry("flow.as_tensor", made([1.5]), made(2), made([1, 2], dtype=F64)),
    entry("flow.scalar_tensor", made(2), made(1.5, dtype=F64)),
    entry("flow.tril_indices", made(3, 4), made(3, 4, 1), made(4, 3, -1)),
    entry("flow.triu_indices", made(3, 4), made(3, 4, 1), made(4, 3, -1)),
    entry("flow.rand", random(2, 3), random((2,)), random(2, dtype=F64)),
    entry("flow.randn", random(2, 3), random((2,)), random(2, dtype=F64)),
    entry(
        "flow.randint",
        random(5, (2, 3)),
        random(2, 5, (3,)),
        random(2, 5, (3,), dtype="dtype.int32"),
    ),
    entry("flow.randperm", random(5), random(0), random(4, dtype="dtype.int32")),
    entry("flow.normal", random(0.0, 1.0, (2, 3))),
    entry("flow.result_type", made(1, 2.5)),
    entry(
        "flow.promote_types",
        made("dtype.float16", "dtype.bfloat16"),
        made("dtype.uint8", "dtype.int8"),
        made(I64, "dtype.float16"),
        made(BOOL, "dtype.int16"),
    ),
    entry(
        "flow.can_cast",
        made(F64, I64),
        made("dtype.int32", "dtype.float16"),
        made(BOOL, "dtype.int8"),
    ),
    entry("flow.broadcast_shapes", made((2, 1), (3,)), made((2,), (3,))),
]
NAMES += [
    *(
        entry(f"flow.{name}_window", made(7), made(6, False), made(1), made(0), made(3, dtype=F64))
        for name in ("hann", "hamming", "blackman", "bartlett")
    ),
    entry("Tensor.bernoulli", Call({"input": T("n k", "share")}, judged="type")),
    entry("Tensor.bernoulli_", Call({"input": T("n k"), "p": 0.25}, judged="type")),
    entry(
        "Tensor.multinomial",
        Call({"input": T("n 5", "share"), "num_samples": 3}, judged="type"),
    ),
    entry("flow.bernoulli", Call({"input": T("n k", "share")}, judged="type")),
    entry(
        "flow.multinomial",
        Call({"input": T("n 5", "share"), "num_samples": 3}, judged="type"),
        Call({"input": T("5", "share"), "num_samples": 7, "replacement": True}, judged="type"),
    ),
]
