"""safetensors: our files are read by the reference library and the other way round; broken files are refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from tests.api.test_module import Tied

VALUES = {
    "f": np.arange(6, dtype=np.float32).reshape(2, 3),
    "i": np.array([1, -2], dtype=np.int64),
    "b": np.array([True, False, True]),
    "scalar": np.asarray(7, dtype=np.int64),
    "empty": np.zeros((0, 4), np.float32),
    "bytes": np.array([1, 2, 3], dtype=np.uint8),
}


def test_round_trip(tmp_path: Path) -> None:
    flow.save(VALUES, tmp_path / "x.safetensors", metadata={"note": "hello"})
    loaded = flow.load(tmp_path / "x.safetensors")
    assert sorted(loaded) == sorted(VALUES)
    for name, value in VALUES.items():
        assert loaded[name].shape == value.shape
        assert loaded[name].numpy().dtype == value.dtype
        assert np.array_equal(loaded[name].numpy(), value)


def test_the_reference_library_reads_our_file(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    flow.save(VALUES, tmp_path / "x.safetensors")
    loaded = safetensors.load_file(tmp_path / "x.safetensors")
    for name, value in VALUES.items():
        assert np.array_equal(loaded[name], value) and loaded[name].dtype == value.dtype


def test_we_read_the_reference_librarys_file(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    values = {**VALUES, "half": np.ones(3, np.float16)}
    safetensors.save_file(values, tmp_path / "x.safetensors")
    loaded = flow.load(tmp_path / "x.safetensors")
    for name, value in values.items():
        assert np.array_equal(loaded[name].numpy(), value)


def test_data_starts_at_64_bytes(tmp_path: Path) -> None:
    flow.save(VALUES, tmp_path / "x.safetensors")
    length = struct.unpack("<Q", (tmp_path / "x.safetensors").read_bytes()[:8])[0]
    assert (8 + length) % 64 == 0


def test_a_state_under_two_names_is_written_once(tmp_path: Path) -> None:
    model = Tied()
    flow.save(model.state_dict(), tmp_path / "x.safetensors")
    raw = (tmp_path / "x.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    assert [name for name in header if name != "__metadata__"] == ["a.weight"]
    other = Tied()
    other.load_state_dict(flow.load(tmp_path / "x.safetensors"))
    assert np.array_equal(other.b.weight.numpy(), model.a.weight.numpy())


def test_a_model_round_trips(tmp_path: Path) -> None:
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    flow.save(model.state_dict(), tmp_path / "x.safetensors")
    other.load_state_dict(flow.load(tmp_path / "x.safetensors"))
    assert np.array_equal(model.weight.numpy(), other.weight.numpy())


def broken(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be"),
        (b"\x01\x02", "cannot be"),
        (struct.pack("<Q", 1 << 60) + b"{}", "cannot be"),
        (broken(b"{nonsense"), "not JSON"),
        (broken([1, 2]), "no object"),
        (broken({"x": 3}), "malformed"),
        (broken({"x": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}), "malformed"),
        (
            broken({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
            "do not fit",
        ),
        (broken({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}), "do not fit"),
        (
            broken({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}, bytes(4)),
            "do not fit",
        ),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(flow.CheckpointError, match=message):
        flow.load(tmp_path / "x.safetensors")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(flow.CheckpointError, match="cannot be read"):
        flow.load(tmp_path / "nothing")
