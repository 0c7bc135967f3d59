"""Randomness that is a function of a seed and logical positions, never of the layout or of time."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from . import _core
from .dtypes import DType, float32, int64
from .errors import DTypeError, Error, ShapeError
from .host_memory import check_allocation, to_shape
from .location import user_location
from .tensor import Tensor


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


def rand(
    *size: Any, generator: Generator | None = None, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """Uniform on [0, 1), drawn in float32."""
    del device
    return Tensor(_uniform("rand", to_shape(size), generator), _floating("rand", dtype))


def randn(
    *size: Any, generator: Generator | None = None, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """Normal with mean 0 and standard deviation 1, drawn in float32."""
    del device
    dtype = _floating("randn", dtype)
    source, shape = generator or default_generator, to_shape(size)
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
    check_allocation("normal", shape, float32)
    return Tensor(_core.philox_normal(source.seed, source.next_key(), shape, mean, std))


def randperm(
    n: int, *, dtype: DType = int64, generator: Generator | None = None, device: Any = None
) -> Tensor:
    """0, 1, .., n - 1 in a random order."""
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


def _drawn_from(what: str, input: Tensor) -> np.ndarray:
    """The probabilities in float64; an Error inside a step, where they are not known."""
    if not input.dtype.is_floating_point:
        raise DTypeError(f"{what} of {input.dtype!r}; convert with .float()", user_location())
    shares = np.asarray(input.numpy(), np.float64)
    if not np.isfinite(shares).all() or (shares < 0).any():
        raise Error(f"{what} takes probabilities: some are negative or not finite", user_location())
    return shares


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that the element is, else 0, in its dtype."""
    shares = _drawn_from("bernoulli", input)
    if (shares > 1).any():
        raise Error("bernoulli takes probabilities: some are above 1", user_location())
    drawn = _uniform("bernoulli", input.shape, generator) < shares
    return Tensor(drawn.astype(input.dtype.numpy))


def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """int64 [n, num_samples] or [num_samples]: classes drawn with the weights of each row of [n, c] or [c], without
    `replacement` each at most once."""
    if input.ndim not in (1, 2) or num_samples < 1:
        raise ShapeError(
            f"multinomial takes [n, c] or [c] and one sample or more, not {list(input.shape)} and {num_samples}",
            user_location(),
        )
    weights = np.atleast_2d(_drawn_from("multinomial", input))
    rows, classes = weights.shape
    possible = (weights > 0).sum(1)
    if (possible < (1 if replacement else num_samples)).any():
        raise Error(
            f"multinomial: a row has {int(possible.min(initial=classes))} classes of a positive weight, "
            f"{1 if replacement else num_samples} are needed",
            user_location(),
        )
    if replacement:
        drawn = _uniform("multinomial", (rows, num_samples), generator).astype(np.float64)
        ends = np.cumsum(weights, 1)
        found = np.stack(
            [np.searchsorted(end, u * end[-1], "right") for end, u in zip(ends, drawn, strict=True)]
        )
    else:
        # The first arrivals of independent processes with these rates (Efraimidis and Spirakis 2006).
        drawn = 1 - _uniform("multinomial", (rows, classes), generator).astype(np.float64)
        with np.errstate(divide="ignore"):
            arrivals = np.where(weights > 0, -np.log(drawn) / weights, np.inf)
        found = np.argsort(arrivals, axis=1, kind="stable")[:, :num_samples]
    return Tensor(found.reshape((*input.shape[:-1], num_samples)).astype(np.int64))


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
