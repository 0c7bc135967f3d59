"""Randomness that is a function of a seed and logical positions, never of the layout or of time.

Outside a step numbers come from a generator. Inside they are ops of its graph: functions of the step's seed, the place in
the program, the number of the step and the logical index, as the masks of dropout are.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from . import _core
from .dtypes import DType, float32, int64
from .errors import DTypeError, Error, ShapeError
from .host_memory import check_allocation, to_shape
from .location import user_location
from .tensor import Tensor
from .traced import active_trace


class Generator:
    """A seed and a count of the random tensors that were made from it."""

    def __init__(self, seed: int = 0) -> None:
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Starts again from a seed, of which 63 bits count; returns itself."""
        self.seed = int(seed) & 0x7FFFFFFFFFFFFFFF
        self._made = 0
        return self

    @property
    def made(self) -> int:
        """How many random tensors were made from it."""
        return self._made

    def go_on(self, seed: int, made: int) -> None:
        """The next tensor is the one that comes behind so many of this seed."""
        self.manual_seed(seed)
        self._made = made

    def next_key(self) -> int:
        """A key that no earlier tensor of this generator has."""
        self._made += 1
        return self._made


# The generator of calls that name none, as in PyTorch.
default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seeds initialisation and the masks of steps without a `seed` of their own."""
    return default_generator.manual_seed(seed)


def stable_key(text: str) -> int:
    """A key for a place in the program, the same in every process."""
    return (
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        & 0x7FFFFFFFFFFFFFFF
    )


def _uniform(
    what: str, shape: tuple[int, ...], generator: Generator | None, dtype: DType = float32
) -> Any:
    source = generator or default_generator
    check_allocation(what, shape, dtype)
    return _core.philox_uniform(source.seed, source.next_key(), shape, 0.0, 1.0)


def _floating(what: str, dtype: DType | None) -> DType:
    """float32 by default; DTypeError for integers and bools."""
    if dtype is not None and not dtype.is_floating_point:
        raise DTypeError(f"{what} in {dtype!r}; use randint for integers", user_location())
    return dtype or float32


def _draw(
    what: str,
    kind: str,
    shape: tuple[int, ...],
    generator: Generator | None,
    dtype: DType = float32,
) -> Tensor | None:
    """Numbers of the step that is traced, of the op `kind`; None outside one, and of a generator."""
    trace = active_trace()
    if trace is None or generator is not None:
        return None
    check_allocation(what, shape, dtype)
    found: Tensor = trace.draw(kind, shape, dtype.name)
    return found


def rand(
    *size: Any, generator: Generator | None = None, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """Uniform on [0, 1), of 24 random bits; inside a step other numbers each time it runs."""
    del device
    dtype, shape = _floating("rand", dtype), to_shape(size)
    drawn = _draw("rand", "uniform", shape, generator, dtype)
    return Tensor(_uniform("rand", shape, generator), dtype) if drawn is None else drawn


def randn(
    *size: Any, generator: Generator | None = None, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """Normal with mean 0 and standard deviation 1, drawn in float32; inside a step other numbers each time it runs."""
    del device
    dtype, shape = _floating("randn", dtype), to_shape(size)
    drawn = _draw("randn", "normal", shape, generator, dtype)
    if drawn is not None:
        return drawn
    source = generator or default_generator
    check_allocation("randn", shape, dtype)
    return Tensor(_core.philox_normal(source.seed, source.next_key(), shape, 0.0, 1.0), dtype)


def rand_like(input: Tensor, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """rand of the tensor's shape and dtype."""
    return rand(input.shape, dtype=dtype or input.dtype)


def randn_like(input: Tensor, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """randn of the tensor's shape and dtype."""
    return randn(input.shape, dtype=dtype or input.dtype)


def normal(
    mean: float,
    std: float,
    size: tuple[int, ...],
    *,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Normal with the given mean and standard deviation, numbers both."""
    if std < 0:
        raise Error(f"normal: std={std} is negative", user_location())
    source, shape = generator or default_generator, to_shape((size,))
    drawn = _draw("normal", "normal", shape, generator)
    if drawn is not None:
        return drawn * std + mean
    check_allocation("normal", shape, float32)
    return Tensor(_core.philox_normal(source.seed, source.next_key(), shape, mean, std))


def randperm(
    n: int, *, dtype: DType = int64, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """0, 1, .., n - 1 in a random order."""
    drawn = _draw("randperm", "uniform", to_shape((n,)), generator)
    if drawn is not None:
        return drawn.argsort().to(dtype)
    keys = _uniform("randperm", to_shape((n,)), generator, dtype)
    return Tensor(np.argsort(keys, kind="stable").astype(dtype.numpy))


def _limits(dtype: DType) -> tuple[int, int]:
    """The least and the greatest number of an integer type."""
    found = np.iinfo(dtype.numpy)
    return int(found.min), int(found.max)


def randint(
    low: int,
    high: int | tuple[int, ...] | None = None,
    size: tuple[int, ...] = (),
    *,
    dtype: DType = int64,
    generator: Generator | None = None,
    device: Any = None,
) -> Tensor:
    """Integers in [low, high); with one bound in [0, low), also as randint(high, size)."""
    if isinstance(high, (tuple, list)):
        size, high = tuple(high), None
    if high is None:
        low, high = 0, low
    if low >= high:
        raise Error(f"randint from {low} to {high}: there is no integer", user_location())
    if dtype.is_floating_point is False and dtype is not int64:
        least, most = (0, 1) if dtype.name == "bool" else _limits(dtype)
        if low < least or high - 1 > most:
            raise DTypeError(
                f"randint from {low} to {high} does not fit into {dtype!r}", user_location()
            )
    drawn = _draw("randint", "uniform", to_shape((size,)), generator)
    if drawn is not None:
        if high - low > 1 << 24:
            raise Error(
                f"randint from {low} to {high} inside a step: numbers are drawn from 24 bits; pass them in the batch",
                user_location(),
            )
        # In float64: a product may be rounded up to `high` in float32.
        return (drawn.double() * float(high - low)).floor().to(dtype) + low
    values = _uniform("randint", to_shape((size,)), generator, dtype)
    return Tensor(
        (low + (values.astype("float64") * (high - low)).astype("int64")).astype(dtype.numpy)
    )


def randint_like(
    input: Tensor,
    low: int = 0,
    high: int | None = None,
    *,
    dtype: DType | None = None,
    device: Any = None,
) -> Tensor:
    """randint of the tensor's shape and dtype, also as randint_like(input, high)."""
    if high is None:
        low, high = 0, low
    return randint(low, high, tuple(input.shape), dtype=dtype or input.dtype)


def _probabilities(what: str, input: Tensor, most: float) -> None:
    """DTypeError for integers; outside a step an Error for what is no probability, or weight if `most` is inf."""
    if not input.dtype.is_floating_point:
        raise DTypeError(f"{what} of {input.dtype!r}; convert with .float()", user_location())
    if active_trace() is not None:
        return
    shares = np.asarray(input.numpy(), np.float64)
    if not np.isfinite(shares).all() or (shares < 0).any() or (shares > most).any():
        raise Error(
            f"{what} takes {'weights' if most > 1 else 'probabilities'}: some are negative, "
            f"{'' if most > 1 else 'above 1, '}or not finite",
            user_location(),
        )


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that the element is, else 0, in its dtype; inside a step drawn each time it runs."""
    _probabilities("bernoulli", input, 1)
    drawn = rand(input.shape, generator=generator)
    return (drawn < input.float()).to(input.dtype)


def _write_bernoulli(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Each element becomes 1 with probability `p`, a number or a tensor, else 0."""
    if isinstance(p, (int, float)) and not 0 <= p <= 1:
        raise Error(f"bernoulli_: p={p} is no probability", user_location())
    drawn: Any = rand(self.shape, generator=generator)
    return self.copy_((drawn < p).to(self.dtype))


def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """int64 [n, num_samples] or [num_samples]: classes drawn with the weights of each row of [n, c] or [c], without
    `replacement` each at most once; inside a step drawn each time it runs."""
    if input.ndim not in (1, 2) or num_samples < 1:
        raise ShapeError(
            f"multinomial takes [n, c] or [c] and one sample or more, not {list(input.shape)} and {num_samples}",
            user_location(),
        )
    _probabilities("multinomial", input, math.inf)
    weights = input.float() if input.ndim == 2 else input.float().unsqueeze(0)
    rows, classes = weights.shape
    least = 1 if replacement else num_samples
    if classes < least:
        raise Error(f"multinomial: {least} classes are needed, not {classes}", user_location())
    if active_trace() is None and ((weights.numpy() > 0).sum(1) < least).any():
        raise Error(
            f"multinomial: a row has fewer than {least} classes of a positive weight",
            user_location(),
        )
    if replacement:
        ends = weights.cumsum(1)
        drawn = rand(rows, num_samples, generator=generator) * ends[:, -1:]
        # How many ends lie at or before the number; rounding may bring it to the last one.
        before = (ends.unsqueeze(1) <= drawn.unsqueeze(2)).long().sum(2)
        last = (ends < ends[:, -1:]).long().sum(1, keepdim=True)
        found = before.minimum(last)
    else:
        # The first arrivals of independent processes with these rates (Efraimidis and Spirakis 2006).
        drawn = 1 - rand(rows, classes, generator=generator)
        arrivals = (drawn.log() / -weights).masked_fill(weights <= 0, math.inf)
        found = arrivals.argsort(1)[:, :num_samples]
    return found if input.ndim == 2 else found.squeeze(0)


Tensor.bernoulli = bernoulli  # type: ignore[attr-defined]
Tensor.bernoulli_ = _write_bernoulli  # type: ignore[attr-defined]
Tensor.multinomial = multinomial  # type: ignore[attr-defined]

__all__ = [
    "Generator",
    "bernoulli",
    "float32",
    "manual_seed",
    "multinomial",
    "normal",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
]
