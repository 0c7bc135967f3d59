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


def test_every_type_keeps_its_bits(tmp_path: Path) -> None:
    bits = np.arange(48, dtype=np.uint8)
    for dtype in flow.dtypes.ALL:
        raw = bits if dtype is not flow.bool else bits % 2
        array = raw.view(dtype.numpy)
        flow.save({"x": flow.Tensor(array)}, tmp_path / "x.safetensors")
        loaded = flow.load(tmp_path / "x.safetensors")["x"]
        assert loaded.dtype is dtype
        assert loaded.numpy().tobytes() == raw.tobytes()


def test_flags_are_0_or_1_whatever_the_file_says(tmp_path: Path) -> None:
    entry = {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}
    (tmp_path / "x.safetensors").write_bytes(broken({"x": entry}, bytes([0, 1, 7])))
    loaded = flow.load(tmp_path / "x.safetensors")["x"].numpy()
    assert loaded.tobytes() == bytes([0, 1, 1])


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


ONE = '{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'


def entry(shape: str, offsets: str, extra: str = "", data: bytes = bytes(4)) -> bytes:
    """A file whose header is written by hand."""
    text = f'{{"x": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}{extra}}}'
    return broken(text.encode(), data)


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
        (entry("[1.0]", "[0, 4]"), "integers in a list"),
        (entry("[true]", "[0, 4]"), "integers in a list"),
        (entry('["1"]', "[0, 4]"), "integers in a list"),
        (entry("[1]", "[0, 4e0]"), "integers in a list"),
        (entry("[1]", "[0, 4, 8]"), "malformed"),
        (entry("[NaN]", "[0, 4]"), "NaN is no number"),
        (entry("[1]", "[0, Infinity]"), "Infinity is no number"),
        (entry("[1]", "[0, 4]", extra=', "x": 1'), "stands twice"),
        (entry("[" + "1," * 80 + "1]", "[0, 4]"), "malformed"),
        (entry("[0, 99999999999999999999999]", "[0, 0]", data=b""), "malformed"),
        (entry("[1]", "[4, 8]", data=bytes(8)), "do not cover"),
        (entry("[1]", "[0, 4]", data=bytes(5)), "damaged"),
        (entry("[1]", "[0, 4]", extra=', "y": ' + ONE), "do not cover"),
        (entry("[1]", "[0, 4]", extra=', "__metadata__": [1]'), "metadata"),
        (entry("[1]", "[0, 4]", extra=', "__metadata__": {"alias:y": ["x"]}'), "metadata"),
        (broken(b'{"x":' * 50_000), "not JSON"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(flow.CheckpointError, match=message):
        flow.load(tmp_path / "x.safetensors")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(flow.CheckpointError, match="cannot be read"):
        flow.load(tmp_path / "nothing")
