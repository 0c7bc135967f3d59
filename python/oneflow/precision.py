"""Mixed precision: in which element type the ops of a step compute.

Under "bf16" parameters, optimizer slots and gradients of parameters stay float32 (the masters); products,
convolutions and attention take their float32 operands as bfloat16 and add in float32; what would lose by it, and what
has a float32 kernel alone, computes in float32; everything else in the type its operands have, the wider of two.
"fp16" is the same with float16, whose small range makes a train step scale its loss (steps/loss_scale.py).
`.float()` and `with flow.precision("fp32"):` win.
"""

from __future__ import annotations

import functools
import threading
from types import TracebackType

from . import _core, dtypes
from .dtypes import DType
from .errors import Error
from .location import user_location

# Products, convolutions and attention among them: what is rounded is their operands, once.
NARROWED = frozenset({"matmul", "conv2d", "attention"})
# Sums, norms, losses, exponentials and powers.
FULL = frozenset(
    {
        *(
            "ctc_loss",
            "log_softmax",
            "softmax",
            "layer_norm",
            "rms_norm",
            "sum",
            "cumsum",
        ),
        *("exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "pow", "pow_scalar"),
        *("rsqrt", "reciprocal", "softplus", "logsigmoid", "erf", "scatter_add"),
        *("erfc", "erfinv", "lgamma", "digamma"),
        *("acos", "asin", "cosh", "sinh", "tan", "acosh", "asinh", "atanh"),
    }
)
_NAMES = {"fp32": None, "bf16": dtypes.bfloat16, "fp16": dtypes.float16}


class _Mode(threading.local):
    narrow: DType | None = None


_mode = _Mode()


def check_precision(name: object) -> None:
    """An error unless `name` is "fp32", "bf16" or "fp16"."""
    if name not in _NAMES:
        raise Error(f"precision={name!r}: 'fp32', 'bf16' or 'fp16'", user_location())


class precision:  # noqa: N801
    """`with flow.precision("fp32" | "bf16" | "fp16"):` for the ops inside. The loss is scaled by a train step of
    precision="fp16" alone."""

    def __init__(self, name: str) -> None:
        check_precision(name)
        self._narrow = _NAMES[name]
        self._outer: list[DType | None] = []

    def __enter__(self) -> None:
        self._outer.append(_mode.narrow)
        _mode.narrow = self._narrow

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _mode.narrow = self._outer.pop()


@functools.cache
def _takes(op: str, dtype: DType) -> bool:
    """True if every floating input of `op` may have this dtype, but for those that are wider by themselves (the
    statistics of a norm)."""
    schema = _core.describe_op(op)
    derived = {one["name"] for one in schema["types"] if one["source"]}
    inputs = [one for one in schema["inputs"] if one["type"] not in derived]
    return all(dtype.name in one["dtypes"] for one in inputs if "f32" in one["dtypes"])


def is_mixed() -> bool:
    """True where operands may get another dtype than they have."""
    return _mode.narrow is not None


def operand_dtype(op: str, dtype: DType) -> DType:
    """The dtype that an operand of `dtype` gets in the current precision."""
    narrow = _mode.narrow
    if narrow is None or op == "cast":
        return dtype
    if dtype is narrow and (op in FULL or not _takes(op, narrow)):
        return dtypes.float32
    if dtype is dtypes.float32 and op in NARROWED and _takes(op, narrow):
        return narrow
    return dtype


__all__ = ["precision"]
