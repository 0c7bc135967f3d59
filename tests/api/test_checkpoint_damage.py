"""Damaged checkpoints: every changed bit, every cut and every manifest that lies is refused and never loaded."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import checkpoint, manifest
from oneflow.serialization import pack

from tests.api import stored
from tests.api.test_checkpoint import Run

FILES = ("manifest.json", "model.safetensors", "optimizer.safetensors")


def head_bytes(path: Path) -> int:
    """Of a tensor file; of a manifest all of it."""
    if path.suffix == ".json":
        return path.stat().st_size
    return 8 + int(struct.unpack("<Q", path.read_bytes()[:8])[0])


def refusal(folder: Path) -> str:
    with pytest.raises(flow.CheckpointError) as raised:
        checkpoint.find(folder)
    return raised.value.message


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """One bit of every byte of the manifest and of the heads, every bit of the tensors."""
    folder = tmp_path / "c"
    stored.write(folder, 3)
    chosen = random.Random(1)
    for name in FILES:
        path = folder / name
        intact = path.read_bytes()
        head = head_bytes(path)
        bits = [8 * byte + chosen.randrange(8) for byte in range(head)]
        bits += range(8 * head, 8 * len(intact))
        for bit in bits:
            damaged = bytearray(intact)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            why = refusal(folder)
            assert f"{path}: " in why or f"{path} " in why, why
            if bit >= 8 * head:
                assert f"{path}: tensor a." in why and " of the file are not what" in why, why
        path.write_bytes(intact)
    assert stored.steps_found(folder) == 3


def test_every_cut_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    stored.write(folder, 3)
    for name in FILES:
        path = folder / name
        intact = path.read_bytes()
        for size in range(len(intact)):
            path.write_bytes(intact[:size])
            assert str(path) in refusal(folder)
        path.write_bytes(intact + b"\0")
        assert str(path) in refusal(folder)
        path.unlink()
        assert str(path) in refusal(folder) if name != "manifest.json" else not found(folder)
        path.write_bytes(intact)
    assert stored.steps_found(folder) == 3


def found(folder: Path) -> bool:
    return checkpoint.find(folder) is not None


def test_the_tensor_and_its_bytes_are_named(tmp_path: Path) -> None:
    piece = manifest.PIECE
    big = {"small": np.ones(3, np.float32), "big": np.zeros(3 * piece // 4 + 1, np.float32)}
    flow.save(big, tmp_path / "x.safetensors")
    written = manifest.StoredFile.of(pack(big))
    path = tmp_path / "x.safetensors"
    layout = manifest.check_file(path, written, None)
    begin = layout.entries["big"].begin
    assert len(written.tensors["big"]) == 4
    for at, first, last in [
        (0, 0, piece),
        (piece, piece, 2 * piece),
        (3 * piece + 1, 3 * piece, 3 * piece + 4),
    ]:
        with open(path, "r+b") as file:
            file.seek(begin + at)
            file.write(b"\x80")
        with pytest.raises(flow.CheckpointError) as raised:
            manifest.check_file(path, written, None)
        said = f"{path}: tensor big: bytes {begin + first} to {begin + last} of the file are not"
        assert raised.value.message.startswith(said)
        with open(path, "r+b") as file:
            file.seek(begin + at)
            file.write(b"\0")


def body_of(folder: Path) -> dict[str, Any]:
    body = json.loads((folder / "manifest.json").read_bytes())
    del body["crc32c"]
    return dict(body)


def seal(folder: Path, body: dict[str, Any]) -> None:
    (folder / "manifest.json").write_bytes(manifest.sealed(body))


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        body["files"][new] = body["files"].pop(old)

    return change


def put(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in path[:-1]:
            body = body[key]
        body[path[-1]] = value

    return change


def dropped(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in path[:-1]:
            body = body[key]
        del body[path[-1]]

    return change


MODEL = ("files", "model.safetensors")
LIES: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (renamed("model.safetensors", "../model.safetensors"), "no name of a tensor file"),
    (renamed("model.safetensors", "/etc/model.safetensors"), "no name of a tensor file"),
    (renamed("model.safetensors", "model.safetensors\n"), "no name of a tensor file"),
    (renamed("model.safetensors", "x/../model.safetensors"), "no name of a tensor file"),
    (renamed("model.safetensors", "other.safetensors"), "no name of a tensor file"),
    (renamed("model.safetensors", "model-00001-of-00001.safetensors"), "not all of one"),
    (renamed("model.safetensors", "model-00001-of-00002.safetensors"), "not all of one"),
    (renamed("model.safetensors", "model-00000-of-99999.safetensors"), "not all of one"),
    (dropped(*MODEL), "files of the model are .., not all of one"),
    (put({}, "files"), "not all of one"),
    (put([], "files"), "no object"),
    (put(1, "files", "model.safetensors"), "must have the entries"),
    (put(1, *MODEL, "bytes"), "and 1 were written"),
    (put(-1, *MODEL, "bytes"), "no count"),
    (put(True, *MODEL, "bytes"), "no count"),
    (put(1 << 70, *MODEL, "bytes"), "no count"),
    (put("00000000", *MODEL, "head"), "its head"),
    (put("", *MODEL, "head"), "0 checksums"),
    (put("0000000g", *MODEL, "head"), "hexadecimal"),
    (put(7, *MODEL, "head"), "hexadecimal"),
    (put([], *MODEL, "tensors"), "no object"),
    (put("00000000", *MODEL, "tensors", "a.bias"), "tensor a.bias: bytes"),
    (put("", *MODEL, "tensors", "a.bias"), "and 0 checksums"),
    (put("00" * 8, *MODEL, "tensors", "a.bias"), "and 2 checksums"),
    (put("0", *MODEL, "tensors", "a.bias"), "hexadecimal"),
    (put("00000000", *MODEL, "tensors", "empty"), "has 0 bytes, and 1 checksums"),
    (put("00000000", *MODEL, "tensors", "more"), "not those of the manifest"),
    (dropped(*MODEL, "tensors", "a.bias"), "not those of the manifest"),
    (dropped(*MODEL, "tensors"), "must have the entries"),
    (put(-1, "steps"), "no count"),
    (put(2.0, "steps"), "no count"),
    (put("2", "steps"), "no count"),
    (put(float("nan"), "steps"), "no count"),
    (put(3, "format"), "has format 3, and this version reads 2"),
    (dropped("format"), "must have the entries"),
    (dropped("extra"), "must have the entries"),
    (put(0, "more"), "must have the entries"),
]


@pytest.mark.parametrize("number", range(len(LIES)))
def test_a_manifest_that_lies_is_refused(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "c"
    stored.write(folder, 3)
    stored.write(tmp_path / "model.safetensors", 3)  # what ../ would reach
    change, message = LIES[number]
    body = body_of(folder)
    change(body)
    seal(folder, body)
    with pytest.raises(flow.CheckpointError, match=message):
        checkpoint.find(folder)


TEXTS = [
    (b"", "checksum does not fit its 0 bytes"),
    (b"[]", "checksum"),
    (b'"format": 2}', "must have the entries"),
    (b"", "it is not JSON"),
    (b'"steps": 1, "steps": 1}', "stands twice"),
    (b'"steps":' + b"[" * 100_000, "nested too deep"),
    (b'"steps": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
    (b"\xff\xfe", "utf-8|utf-16|decode"),
]


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_a_manifest_may_be_any_text(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "c"
    stored.write(folder, 3)
    text, message = TEXTS[number]
    (folder / "manifest.json").write_bytes(text if number < 2 else manifest.first_line(text) + text)
    with pytest.raises(flow.CheckpointError, match=message):
        checkpoint.find(folder)


def test_a_tensor_in_two_parts_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    stored.write(folder, 3, parts=2)
    assert stored.steps_found(folder) == 3
    body = body_of(folder)
    first = body["files"]["model-00001-of-00002.safetensors"]["tensors"]
    second = body["files"]["model-00002-of-00002.safetensors"]["tensors"]
    second.update(first)
    seal(folder, body)
    assert "is in two files" in refusal(folder)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    for name in FILES:
        stored.write(folder, 3)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert "it is no regular file" in refusal(folder)
        (folder / name).unlink()
        (folder / name).mkdir()
        assert "it is no regular file" in refusal(folder)
        (folder / name).rmdir()
        (folder / name).symlink_to("nowhere")
        assert name == "manifest.json" or "cannot be read" in refusal(folder)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def test_a_run_falls_back_to_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Run()
    expected = whole.train(8)
    Run().train(6, checkpoint=flow.Checkpoint(tmp_path, every=2))
    flip(tmp_path / "step-00000006" / "model.safetensors", -2)
    (tmp_path / "step-00000004" / "manifest.json").unlink()
    capsys.readouterr()
    again = Run()
    assert again.train(8, checkpoint=tmp_path) == expected[2:]
    assert again.state() == whole.state()
    said = capsys.readouterr().err
    newest, older = tmp_path / "step-00000006", tmp_path / "step-00000004"
    assert f"oneflow: {newest} is refused: {newest}/model.safetensors: tensor " in said
    assert f"oneflow: {older} is refused: {older}/manifest.json cannot be read" in said
    assert f"resumes at step 2 from {tmp_path}/step-00000002" in said


def test_a_run_without_an_intact_one_does_not_start_anew(tmp_path: Path) -> None:
    Run().train(4, checkpoint=flow.Checkpoint(tmp_path, every=2))
    for number in (2, 4):
        flip(tmp_path / f"step-0000000{number}" / "optimizer.safetensors", -2)
    with pytest.raises(flow.CheckpointError, match="no checkpoint in .* is intact.*resume='never'"):
        Run().train(8, checkpoint=tmp_path)
    run = Run()
    with pytest.raises(flow.CheckpointError, match="optimizer.safetensors: tensor"):
        run.step.restore(tmp_path / "step-00000004")
    assert run.optimizer.steps == 0
    assert len(Run().train(5, checkpoint=tmp_path, resume="never")) == 5
