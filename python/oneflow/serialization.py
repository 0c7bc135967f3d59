"""Reading and writing safetensors files.

Format: u64 header size, a JSON header padded with spaces so that the data starts at a multiple of 64, then the data,
which the tensors cover exactly; wide dtypes come first. What is read may come from anywhere: all of it is checked.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

from .errors import CheckpointError
from .location import user_location
from .state import StateCell
from .tensor import Tensor

_TO_FORMAT = {
    "f64": "F64",
    "f32": "F32",
    "f16": "F16",
    "bf16": "BF16",
    "i64": "I64",
    "i32": "I32",
    "i16": "I16",
    "i8": "I8",
    "u8": "U8",
    "bool": "BOOL",
}
_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": ml_dtypes.bfloat16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "|b1",
}
_MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class Packed:
    """A file that is to be written: its head, then the bytes of its tensors in this order. The arrays are those of
    the tensors, not copies."""

    head: bytes
    tensors: Mapping[str, np.ndarray]

    @property
    def num_bytes(self) -> int:
        return len(self.head) + sum(array.nbytes for array in self.tensors.values())


def pack(state_dict: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> Packed:
    """The file of tensors or arrays by name. One state under two names is in it once."""
    arrays: dict[str, tuple[str, np.ndarray]] = {}
    first_name: dict[int, str] = {}
    notes = dict(metadata or {})
    for name, value in state_dict.items():
        source = value._source if isinstance(value, Tensor) else None
        if isinstance(source, StateCell):
            if id(source) in first_name:
                notes[f"alias:{name}"] = first_name[id(source)]
                continue
            first_name[id(source)] = name
        tensor = value if isinstance(value, Tensor) else Tensor(value)
        arrays[name] = (
            _TO_FORMAT[tensor.dtype.name],
            np.ascontiguousarray(tensor.numpy()).reshape(tensor.shape),
        )
    order = sorted(arrays, key=lambda name: (-arrays[name][1].itemsize, name))
    header: dict[str, Any] = {"__metadata__": notes} if notes else {}
    offset = 0
    for name in order:
        kind, array = arrays[name]
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return Packed(
        struct.pack("<Q", len(text)) + text,
        {name: arrays[name][1].reshape(-1).view(np.uint8) for name in order},
    )


def save(
    state_dict: Mapping[str, Any],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes tensors or arrays by name, whole or not at all. One state under two names is written once."""
    packed = pack(state_dict, metadata)
    temporary = f"{os.fspath(path)}.partial"
    with open(temporary, "wb") as file:
        file.write(packed.head)
        for array in packed.tensors.values():
            file.write(memoryview(array))  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


@dataclass(frozen=True)
class Entry:
    """A tensor of a file: its elements as the format and as NumPy call them, where its bytes begin and end."""

    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Layout:
    """What the head of a file says, checked: its tensors cover all bytes behind the head."""

    head_bytes: int
    entries: Mapping[str, Entry]
    aliases: Mapping[str, str]  # further names of tensors


def read_layout(name: str, location: Any) -> Layout:
    """The head of a file, which may say anything."""
    try:
        size = os.path.getsize(name)
        with open(name, "rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
            if not 0 < length <= min(_MAX_HEADER, size - 8):
                raise CheckpointError(
                    f"{name} is no safetensors file: its header cannot be {length} bytes", location
                )
            header = read_json(file.read(length))
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read: {error.strerror}", location) from error
    except ValueError as error:
        raise CheckpointError(
            f"{name} is no safetensors file: its header is not JSON ({error})", location
        ) from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{name} is no safetensors file: its header is no object", location)
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        raise CheckpointError(
            f"{name} is no safetensors file: its metadata are no texts by name", location
        )
    base = 8 + length
    entries = {key: _entry(name, key, entry, base, size, location) for key, entry in header.items()}
    reached = base
    for begin, end in sorted((entry.begin, entry.end) for entry in entries.values()):
        if begin != reached:
            raise CheckpointError(
                f"{name} is no safetensors file: its tensors do not cover the data, byte {reached - base} for one",
                location,
            )
        reached = end
    if reached != size:
        raise CheckpointError(
            f"{name} has {size - base} bytes of data, and its tensors {reached - base}: it is damaged",
            location,
        )
    mark = "alias:"
    aliases = {
        key[len(mark) :]: target
        for key, target in notes.items()
        if key.startswith(mark) and target in entries
    }
    return Layout(base, entries, aliases)


def load(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Tensors by name, backed by the file: bytes are read when they are used."""
    location = user_location()
    name = os.fspath(path)
    layout = read_layout(name, location)
    data = np.memmap(name, dtype=np.uint8, mode="r", offset=0)
    result = {
        key: _tensor(name, key, entry, data, location) for key, entry in layout.entries.items()
    }
    result.update((alias, result[target]) for alias, target in layout.aliases.items())
    return result


def read_json(text: bytes, any_float: bool = False) -> Any:
    """The value of a JSON text that may say anything; ValueError where it is none, names something twice, holds
    a number that is none (unless `any_float`: NaN, Infinity), or is nested without end."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a name stands twice")
        return result

    def no_number(word: str) -> NoReturn:
        raise ValueError(f"{word} is no number")

    try:
        return json.loads(
            text, object_pairs_hook=once, parse_constant=None if any_float else no_number
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _integers(values: Any) -> list[int]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ValueError("integers in a list are needed")
    return values


def _entry(path: str, name: str, entry: Any, base: int, size: int, location: Any) -> Entry:
    """One tensor of a file of `size` bytes whose data begin at `base`."""
    try:
        kind, shape = entry["dtype"], _integers(entry["shape"])
        begin, end = _integers(entry["data_offsets"])
        if kind not in _NUMPY:
            raise ValueError(f"elements {kind!r} are none of {', '.join(_NUMPY)}")
        dtype = np.dtype(_NUMPY[kind])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: the entry of {name} is malformed ({error!r})", location
        ) from error
    count = 1
    for extent in shape:
        count *= extent
    if (
        any(extent < 0 for extent in shape)
        or not 0 <= begin <= end <= size - base
        or (end - begin != count * dtype.itemsize)
    ):
        raise CheckpointError(f"{path}: the bytes of {name} do not fit its shape {shape}", location)
    return Entry(kind, dtype, tuple(shape), base + begin, base + end)


def _tensor(path: str, name: str, entry: Entry, data: np.ndarray, location: Any) -> Tensor:
    try:
        raw = data[entry.begin : entry.end].view(np.ndarray)
        array = (raw != 0 if entry.kind == "BOOL" else raw.view(entry.dtype)).reshape(entry.shape)
    except ValueError as error:  # more dims than an array may have, or an extent beyond its range
        raise CheckpointError(
            f"{path}: the entry of {name} is malformed ({error})", location
        ) from error
    return Tensor(array if array.flags.aligned else array.copy())
