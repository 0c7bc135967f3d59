"""The reader of checkpoints against files that were changed: by accident, or on purpose with checksums that fit.

`Target` has small checkpoints of known contents: one of one part, and a run's newest of two parts, with one before it.
`change(seed)` draws a change; what is read then is a CheckpointError, or the tensors that were written; of the run, the
checkpoint before where the newest is refused. By accident (bits flipped, cuts, blocks lost, files swapped or replaced)
it must be refused. On purpose the manifest is sealed again, and the checksum of a head that was changed is computed
again: who can write both can write anything, but nothing else than a CheckpointError may come of it. Likewise the
manifest of format 1, which has no checksums.

A line of the corpus is one such input: {"kind": "head", "parts": 1, "files": {name: text in latin-1}}, the files that
differ; null is a file that is missing, {"is": "pipe"} a Special one.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import oneflow as flow
from oneflow import _core, checkpoint, manifest

from tests.api import stored

STEPS = 3
BEFORE = 2  # of the checkpoint before
CORPUS = Path(__file__).parent / "seeds" / "checkpoint_reader" / "corpus.jsonl"
NUMBERS = [0, 1, -1, 7, 8, 60, 64, 1 << 20, (1 << 31) - 1, 1 << 62, 1 << 63, 1 << 80, 0.5, 1e308]
TEXTS = [
    "",
    "F32",
    "F64",
    "BOOL",
    "I8",
    "00000000",
    "0000000g",
    "model.safetensors",
    "../x",
    "a.bias",
]
VALUES: list[Any] = [*NUMBERS, *TEXTS, None, True, [], {}, [0, 0], [0, 4], [3, 5], [-1], {"x": 1}]
TOKENS = ['{', '}', '[', ']', ',', ':', '"files"', '"bytes"', '"steps"', '"tensors"', '"', '1', '-', '1e9', 'null', '\\u0000', '\xff', ' ']  # fmt: skip

# Heads of files, which no change of one place makes.
HEADS = [
    "[]",
    '{"a.bias": 1, "a.bias": 2}',
    '{"a.bias": NaN}',
    '{"a.bias": ' + "1" * 5000 + "}",
    "[" * 5000 + "]" * 5000,
    '{"__metadata__": []}',
    '{"__metadata__": {"alias:x": "a.bias"}}',
    '{"a.bias": {"dtype": "F32", "shape": [' + "0, " * 80 + '1], "data_offsets": [0, 0]}}',
    '{"a.bias": {"dtype": "F32", "shape": [0, 4611686018427387904], "data_offsets": [0, 0]}}',
]


class Special(Enum):
    """What may be there in place of a file."""

    PIPE = "pipe"
    FOLDER = "folder"
    LOOP = "loop"  # a link to itself
    ENDLESS = "endless"  # longer than any manifest, as far as its size says


Data = bytes | Special | None  # None: it is missing
Files = dict[str, Data]


@dataclass
class Change:
    """An input: the files that differ, and whether they must be refused."""

    kind: str
    parts: int
    files: Files
    must_fail: bool


def put(path: Path, data: Data) -> None:
    """Makes `path` that, whatever it was."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    if isinstance(data, bytes):
        path.write_bytes(data)
    elif data == Special.PIPE:
        os.mkfifo(path)
    elif data == Special.FOLDER:
        path.mkdir()
    elif data == Special.LOOP:
        path.symlink_to(path.name)
    elif data == Special.ENDLESS:
        with open(path, "wb") as file:
            file.truncate(1 << 40)


class Target:
    """Checkpoints in `folder`, which it owns. Use from one thread."""

    def __init__(self, folder: Path) -> None:
        run = folder / "run"
        self.asked = {1: folder / "of-1", 2: run}
        self.folders = {1: folder / "of-1", 2: run / f"step-{STEPS:08d}"}
        self.intact: dict[int, dict[str, bytes]] = {}
        for path in self.asked.values():
            shutil.rmtree(path, ignore_errors=True)
        stored.write(run / f"step-{BEFORE:08d}", BEFORE)
        for parts, path in self.folders.items():
            stored.write(path, STEPS, parts=parts, extra={"note": "x"})
            self.intact[parts] = {each.name: each.read_bytes() for each in sorted(path.iterdir())}

    def read(self, change: Change) -> str:
        """What the reader said; AssertionError if that is not what it may say."""
        folder, intact = self.folders[change.parts], self.intact[change.parts]
        for name, data in change.files.items():
            put(folder / name, data)
        try:
            return self._read(change)
        finally:
            for name in change.files:
                put(folder / name, intact.get(name))

    def _read(self, change: Change) -> str:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                found = checkpoint.find(self.asked[change.parts])
        except flow.CheckpointError as error:
            assert change.parts == 1, "the one before is intact"
            return error.message
        if found is None:
            gone = change.files.get("manifest.json", b"") in (None, Special.LOOP)
            assert gone and change.parts == 1, "it is there and was not found"
            return "no checkpoint"
        if found.path != self.folders[change.parts]:
            _, _, why = said.getvalue().partition(" is refused: ")
            assert why and found.steps == BEFORE
            expect(found.model, "model", BEFORE)
            expect(found.optimizer, "optimizer", BEFORE)
            return why.strip()
        assert not change.must_fail, f"{change.kind} was not seen"
        with contextlib.redirect_stderr(said):
            above = checkpoint.find(self.asked[change.parts], found.steps)
        assert above is None or above.steps > found.steps and above.path != found.path
        if change.kind != "head":
            expect(found.model, "model", STEPS)
            expect(found.optimizer, "optimizer", STEPS)
        return "read"

    def flip(self, seed: int) -> Change:
        """One bit."""
        chosen = random.Random(f"flip {seed}")
        parts = chosen.choice((1, 2))
        name = chosen.choice(list(self.intact[parts]))
        data = bytearray(self.intact[parts][name])
        bit = chosen.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        return Change("flip", parts, {name: bytes(data)}, True)

    def change(self, seed: int) -> Change:
        """The change of this seed."""
        chosen = random.Random(seed)
        parts = chosen.choice((1, 2))
        kinds = {
            "flip": self._flip,
            "cut": self._cut,
            "block": self._block,
            "swap": self._swap,
            "missing": self._missing,
            "manifest": self._manifest,
            "head": self._head,
            "text": self._text,
            "special": self._special,
            "earlier": self._earlier,
        }
        kind = chosen.choice(list(kinds))
        intact = self.intact[parts]
        changed = kinds[kind](chosen, intact)
        files = {name: data for name, data in changed.items() if data != intact.get(name)}
        by_accident = kind in ("flip", "cut", "block", "swap", "missing", "special")
        return Change(kind, parts, files, by_accident and bool(files))

    @staticmethod
    def _flip(chosen: random.Random, intact: dict[str, bytes]) -> Files:
        name = chosen.choice(list(intact))
        data = bytearray(intact[name])
        for _ in range(chosen.randint(1, 3)):
            bit = chosen.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
        return {name: bytes(data)}

    @staticmethod
    def _cut(chosen: random.Random, intact: dict[str, bytes]) -> Files:
        name = chosen.choice(list(intact))
        data = intact[name]
        if chosen.random() < 0.2:
            return {name: data + chosen.randbytes(chosen.randint(1, 64))}
        return {name: data[: chosen.randrange(len(data))]}

    @staticmethod
    def _block(chosen: random.Random, intact: dict[str, bytes]) -> Files:
        """A part that was never written, or holds what was written elsewhere."""
        name = chosen.choice(list(intact))
        data = bytearray(intact[name])
        size = min(len(data), chosen.choice((16, 64, 512)))
        at = chosen.randrange(len(data) - size + 1)
        source = chosen.randrange(len(data) - size + 1)
        data[at : at + size] = (
            bytes(size) if chosen.random() < 0.5 else data[source : source + size]
        )
        return {name: bytes(data)}

    @staticmethod
    def _swap(chosen: random.Random, intact: dict[str, bytes]) -> Files:
        one, other = chosen.sample(list(intact), 2)
        return {one: intact[other], other: intact[one]}

    @staticmethod
    def _missing(chosen: random.Random, intact: dict[str, bytes]) -> Files:
        return {chosen.choice(list(intact)): None}

    @staticmethod
    def _manifest(chosen: random.Random, intact: dict[str, bytes]) -> Files:
        body = json.loads(intact["manifest.json"])
        del body["crc32c"]
        for _ in range(chosen.randint(1, 3)):
            mutate(chosen, body)
        return {"manifest.json": manifest.sealed(body)}

    @staticmethod
    def _head(chosen: random.Random, intact: dict[str, bytes]) -> Files:
        name = chosen.choice([name for name in intact if name != "manifest.json"])
        data = intact[name]
        size = 8 + int.from_bytes(data[:8], "little")
        how = chosen.random()
        if how < 0.1:
            text = chosen.choice(HEADS).encode()
            data = data[:size]  # none of them has elements
        elif how < 0.7:
            header = json.loads(data[8:size])
            for _ in range(chosen.randint(1, 3)):
                mutate(chosen, header)
            text = json.dumps(header).encode()
        else:
            text = bytearray(data[8:size])
            text[chosen.randrange(len(text))] = ord(chosen.choice('0123456789{}[]",:x'))
        length = (
            len(text) if chosen.random() < 0.9 else chosen.choice([0, 1, len(text) - 1, 1 << 40])
        )
        head = length.to_bytes(8, "little") + bytes(text)
        new = head + data[size:]
        body = json.loads(intact["manifest.json"])
        del body["crc32c"]
        body["files"][name]["bytes"] = len(new)
        body["files"][name]["head"] = f"{_core.crc32c(new[: 8 + length]):08x}"
        if chosen.random() < 0.5:  # the names that the head has now
            with contextlib.suppress(ValueError, RecursionError):
                names = json.loads(bytes(text))
                if isinstance(names, dict):
                    held = body["files"][name]["tensors"]
                    body["files"][name]["tensors"] = {key: held.get(key, "") for key in names}
        return {name: new, "manifest.json": manifest.sealed(body)}

    @staticmethod
    def _text(chosen: random.Random, intact: dict[str, bytes]) -> Files:
        rest = "".join(chosen.choice(TOKENS) for _ in range(chosen.randint(0, 40))).encode()
        return {"manifest.json": manifest.first_line(rest) + rest}

    @staticmethod
    def _special(chosen: random.Random, intact: dict[str, bytes]) -> Files:
        # What is endless is in the corpus alone, for it costs a tenth of a second.
        there = [special for special in Special if special is not Special.ENDLESS]
        return {chosen.choice(list(intact)): chosen.choice(there)}

    @staticmethod
    def _earlier(chosen: random.Random, intact: dict[str, bytes]) -> Files:
        body = {"format": 1, "steps": STEPS, "loader": None, "extra": {"note": "x"}}
        for _ in range(chosen.randint(0, 2)):
            mutate(chosen, body)
        text = json.dumps(body)
        if chosen.random() < 0.2:
            text = "".join(chosen.choice(TOKENS) for _ in range(chosen.randint(0, 40)))
        return {"manifest.json": None, "progress.json": text.encode()}


def expect(held: Mapping[str, flow.Tensor], kind: str, steps: int) -> None:
    """Bit for bit what was written."""
    expected = stored.values(kind, steps)
    assert sorted(held) == sorted(expected)
    for name, tensor in held.items():
        assert tensor.numpy().tobytes() == expected[name].tobytes(), name


def mutate(chosen: random.Random, value: Any) -> None:
    """Changes one place of a JSON value."""
    places = list(_places(value))
    if not places:
        return
    holder, key = chosen.choice(places)
    what = chosen.randrange(4)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        new = chosen.choice([*TEXTS, *holder])
        holder[new] = holder.pop(key)
    elif what == 2:
        other, there = chosen.choice(places)
        holder[key] = json.loads(json.dumps(other[there]))
    else:
        holder[key] = copy.deepcopy(chosen.choice(VALUES))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in items:
        yield value, key
        yield from _places(each)


def shape_of(message: str) -> str:
    """A message without what differs from one input to another."""
    message = (message.partition(" is intact: ")[2] or message).partition(". Take a copy")[0]
    message = re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*|\{.*\}|\[.*\]", "*", message)
    message = re.sub(
        r"(tensor|entry of|bytes of|checksums of|tensors of|\*:) \S+", r"\1 *", message
    )
    return re.sub(r"[0-9a-f]{8}|-?\d+(\.\d+)?", "#", message)[:50]


def data_of(there: str | dict[str, str] | None) -> Data:
    """Of a file of the corpus."""
    if isinstance(there, dict):
        return Special(there["is"])
    return None if there is None else there.encode("latin-1")


def corpus() -> list[Change]:
    """The inputs of the corpus: one for each message that some draw has met."""
    result = []
    for line in CORPUS.read_text().splitlines():
        entry = json.loads(line)
        files = {name: data_of(there) for name, there in entry["files"].items()}
        result.append(Change(entry["kind"], entry["parts"], files, False))
    return result
