"""Reading and writing safetensors files.

Format: u64 header size, a JSON header padded with spaces so that the data starts at a multiple of 64, then the data,
which the tensors cover exactly; wide dtypes come first.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import dtypes
from .errors import CheckpointError
from .location import user_location
from .state import StateCell
from .tensor import Tensor

_TO_FORMAT = {
    "f32": "F32",
    "f16": "F16",
    "bf16": "BF16",
    "i64": "I64",
    "i32": "I32",
    "i8": "I8",
    "u8": "U8",
    "bool": "BOOL",
}
_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "|b1",
}
_MAX_HEADER = 100_000_000


def save(
    state_dict: Mapping[str, Any],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes tensors or arrays by name, whole or not at all. One state under two names is written once."""
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
    temporary = f"{os.fspath(path)}.partial"
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name in order:
            file.write(arrays[name][1].tobytes())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Tensors by name, backed by the file: bytes are read when they are used."""
    location = user_location()
    name = os.fspath(path)
    try:
        size = os.path.getsize(name)
        with open(name, "rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
            if not 0 < length <= min(_MAX_HEADER, size - 8):
                raise CheckpointError(
                    f"{name} is no safetensors file: its header cannot be {length} bytes", location
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read: {error.strerror}", location) from error
    except ValueError as error:
        raise CheckpointError(
            f"{name} is no safetensors file: its header is not JSON ({error})", location
        ) from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{name} is no safetensors file: its header is no object", location)
    notes = header.pop("__metadata__", {})
    data = np.memmap(name, dtype=np.uint8, mode="r", offset=0)
    result = {
        key: _entry(name, key, entry, data, 8 + length, location) for key, entry in header.items()
    }
    for key, target in notes.items():
        if key.startswith("alias:") and target in result:
            result[key[len("alias:") :]] = result[target]
    return result


def _entry(path: str, name: str, entry: Any, data: np.ndarray, base: int, location: Any) -> Tensor:
    """One tensor of the file; a header may say anything, so all of it is checked."""
    try:
        kind, shape = entry["dtype"], [int(extent) for extent in entry["shape"]]
        begin, end = (int(offset) for offset in entry["data_offsets"])
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
        or not 0 <= begin <= end <= data.size - base
        or (end - begin != count * dtype.itemsize)
    ):
        raise CheckpointError(f"{path}: the bytes of {name} do not fit its shape {shape}", location)
    raw = data[base + begin : base + end]
    if kind == "BF16":  # the upper half of an f32
        array = (np.frombuffer(raw.tobytes(), "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    else:
        array = np.frombuffer(raw, dtype).reshape(shape)
    return Tensor(dtypes.to_array(array))
