"""Collate: samples become one batch, a tree of tensors whose dim 0 counts the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DataError, DTypeError
from ..location import user_location
from ..tensor import Tensor

_NUMBERS = (bool, int, float, np.bool_, np.number)


def _is_array(value: Any) -> bool:
    return isinstance(value, _NUMBERS) or (
        hasattr(value, "__array__") and not isinstance(value, type)
    )


def _list_as_array(value: Any) -> np.ndarray | None:
    """A list of numbers, nested or not, as an array; None for any other list."""
    probe = value
    while isinstance(probe, list) and probe:
        probe = probe[0]
    if not isinstance(probe, _NUMBERS):
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array if array.dtype.kind in "biuf" else None


def _tensor(array: np.ndarray, path: str) -> Tensor:
    try:
        return Tensor(array)
    except DTypeError as error:
        raise DataError(f"batch entry {path or '.'!r}: {error.message}", user_location()) from None


def _stack(samples: list[Any], path: str) -> Tensor:
    arrays = [np.asarray(sample) for sample in samples]
    for i, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise DataError(
                f"batch entry {path or '.'!r}: sample {i} has shape {array.shape} and sample 0 has "
                f"{arrays[0].shape}; a batch needs equal shapes: cut or pad the samples, or use "
                "collate_fn=flow.data.pad_collate",
                user_location(),
            )
    return _tensor(np.stack(arrays), path)


def _collate(samples: list[Any], path: str, stack: Any) -> Any:
    first = samples[0]

    def under(name: Any) -> str:
        return f"{path}.{name}" if path else str(name)

    if _is_array(first):
        return stack(samples, path)
    if isinstance(first, (str, bytes)):
        return samples
    if isinstance(first, Mapping):
        for i, sample in enumerate(samples):
            if set(sample) != set(first):
                raise DataError(
                    f"sample {i} of a batch has the entries {sorted(map(str, sample))} and sample 0 has "
                    f"{sorted(map(str, first))}",
                    user_location(),
                )
        return {key: _collate([s[key] for s in samples], under(key), stack) for key in first}
    if isinstance(first, list) and _list_as_array(first) is not None:
        arrays = [_list_as_array(sample) for sample in samples]
        if all(array is not None for array in arrays):
            return stack(arrays, path)
    if isinstance(first, (tuple, list)):
        for i, sample in enumerate(samples):
            if len(sample) != len(first):
                raise DataError(
                    f"batch entry {path or '.'!r}: sample {i} has {len(sample)} parts and sample 0 has {len(first)}",
                    user_location(),
                )
        names = getattr(first, "_fields", range(len(first)))
        parts = [
            _collate([sample[i] for sample in samples], under(name), stack)
            for i, name in enumerate(names)
        ]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    raise DataError(
        f"batch entry {path or '.'!r} is a {type(first).__name__}; samples are made of arrays, tensors, numbers, "
        "strings, dicts, tuples and lists; give a collate_fn for others",
        user_location(),
    )


def default_collate(samples: list[Any]) -> Any:
    """Stacks the samples, entry by entry, along a new dim 0.

    Arrays, tensors (also PyTorch's) and numbers become `flow.Tensor`, float64 as float32; a list of numbers is an
    array; dicts, tuples and lists keep their form; strings become a list. Equal shapes only: DataError.
    """
    if not samples:
        raise DataError("a batch of no samples cannot be collated", user_location())
    return _collate(list(samples), "", _stack)


def default_convert(item: Any) -> Any:
    """What a loader with batch_size=None does to each item: arrays become tensors, the form stays."""
    if isinstance(item, Mapping):
        return {key: default_convert(value) for key, value in item.items()}
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return type(item)(*(default_convert(value) for value in item))
    if isinstance(item, list) and (array := _list_as_array(item)) is not None:
        return Tensor(array)
    if isinstance(item, (tuple, list)):
        return type(item)(default_convert(value) for value in item)
    if hasattr(item, "__array__") and not isinstance(item, Tensor):
        return Tensor(dtypes.to_array(item))
    return item


class PadCollate:
    """default_collate for samples of different lengths: every dim is padded at its end.

    `value` fills, `length` is the padded extent of dim 0 of each sample (default: the longest of the batch),
    `multiple_of` rounds extents up, so that fewer plans are compiled. Numbers stay numbers.
    """

    def __init__(self, value: float = 0, length: int | None = None, multiple_of: int = 1) -> None:
        self.value = value
        self.length = length
        self.multiple_of = multiple_of

    @property
    def whole_batch(self) -> bool:
        """True if the shapes depend on all samples of the global batch, so that every rank must read them."""
        return self.length is None

    def __call__(self, samples: list[Any]) -> Any:
        if not samples:
            raise DataError("a batch of no samples cannot be collated", user_location())
        return _collate(list(samples), "", self._pad)

    def _pad(self, samples: list[Any], path: str) -> Tensor:
        arrays = [np.asarray(sample) for sample in samples]
        ranks = {array.ndim for array in arrays}
        if len(ranks) != 1:
            raise DataError(
                f"batch entry {path or '.'!r}: samples with {sorted(ranks)} dims cannot be padded to one shape",
                user_location(),
            )
        if arrays[0].ndim == 0:
            return _stack(samples, path)
        shape = [
            -(-max(array.shape[d] for array in arrays) // self.multiple_of) * self.multiple_of
            for d in range(arrays[0].ndim)
        ]
        if self.length is not None:
            longest = max(array.shape[0] for array in arrays)
            if longest > self.length:
                raise DataError(
                    f"batch entry {path or '.'!r}: a sample of length {longest} is longer than length={self.length}; "
                    "cut it in the dataset",
                    user_location(),
                )
            shape[0] = self.length
        batch = np.full((len(arrays), *shape), self.value, dtype=np.result_type(*arrays))
        for row, array in zip(batch, arrays, strict=True):
            row[tuple(slice(extent) for extent in array.shape)] = array
        return _tensor(batch, path)


pad_collate = PadCollate()
