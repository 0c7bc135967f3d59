"""The manifest of a checkpoint: what was written, with checksums, so that nothing else is ever loaded.

`manifest.json` is one JSON object. Its first line holds the CRC32C of all bytes behind that line; then come the
epoch of the run, the number of steps, what goes on (loader, seeds, `extra`), and for each tensor file its size, the CRC32C of its head and
those of the pieces of 1 MiB of each tensor. So every byte of a checkpoint is under a checksum that was computed from
memory, before it was written. The text is untrusted like the files: reading it is bounded, names are plain file names
of this format, and all that does not fit is a CheckpointError.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _core
from .errors import CheckpointError
from .serialization import Layout, Packed, read_json, read_layout

NAME = "manifest.json"
FORMAT = 2
PIECE = 1 << 20  # bytes under one checksum
KINDS = ("model", "optimizer")

_FILE = re.compile(r"(model|optimizer)(?:-(\d{5})-of-(\d{5}))?\.safetensors")
_DIGITS = re.compile(r"[0-9a-f]*")
MOST = (1 << 62) - 1  # of what is counted
_MOST_BYTES = 100_000_000
_FIRST_LINE = len('{"crc32c":"00000000",\n')
_READ = 16 * PIECE  # bytes at a time


@dataclass(frozen=True)
class StoredFile:
    """A tensor file as it was written."""

    num_bytes: int
    head: int  # checksum of its head
    tensors: Mapping[str, tuple[int, ...]]  # checksums of the pieces of each

    @classmethod
    def of(cls, packed: Packed) -> StoredFile:
        """What is to be written. Reads all of it once."""
        return cls(
            packed.num_bytes,
            _core.crc32c(packed.head),
            {
                name: tuple(_core.crc32c_pieces(array, PIECE))
                for name, array in packed.tensors.items()
            },
        )


@dataclass(frozen=True)
class Manifest:
    """See the module."""

    steps: int
    loader: Any  # its position
    seeds: Any  # of masks and of random tensors
    extra: Any
    files: Mapping[str, StoredFile]
    epoch: int = 0  # of the run that has written it (epochs.py); 0: of none, or from before there were epochs

    def text(self) -> bytes:
        """ValueError or TypeError where the loader's position or `extra` is no JSON."""
        return sealed(
            {
                "format": FORMAT,
                "epoch": self.epoch,
                "steps": self.steps,
                "loader": self.loader,
                "seeds": self.seeds,
                "extra": self.extra,
                "files": entries_of(self.files),
            }
        )

    def names(self, kind: str) -> list[str]:
        """Files of one of KINDS."""
        return [name for name in sorted(self.files) if name.startswith(kind)]


def file_name(kind: str, rank: int, ranks: int) -> str:
    """Of what one of so many ranks writes."""
    part = "" if ranks == 1 else f"-{rank + 1:05d}-of-{ranks:05d}"
    return f"{kind}{part}.safetensors"


def sealed(body: Mapping[str, Any]) -> bytes:
    """An object as text, under a checksum in its first line."""
    rest = json.dumps(body, indent=1).encode()[1:].lstrip()
    return first_line(rest) + rest


def first_line(rest: bytes) -> bytes:
    """Of a sealed text with these bytes behind it."""
    return b'{"crc32c":"%08x",\n' % _core.crc32c(rest)


def unsealed(
    text: bytes, keys: set[str], defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The object, which must have these entries, and may lack those with a default; ValueError, which says why, if the text is not what was written."""
    rest = text[_FIRST_LINE:]
    if text[:_FIRST_LINE] != first_line(rest):
        raise ValueError(
            f"its checksum does not fit its {len(text)} bytes: it is damaged or was not written to its end"
        )
    try:
        body = read_json(text, any_float=True)
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    if isinstance(body, dict) and body.get("format", FORMAT) != FORMAT:
        raise ValueError(f"it has format {body['format']!r:.60}, and this version reads {FORMAT}")
    if isinstance(body, dict):
        body = {**(defaults or {}), **body}
    _expect(body, keys | set(defaults or {}) | {"crc32c"}, "it")
    return dict(body)


def entries_of(files: Mapping[str, StoredFile]) -> dict[str, Any]:
    """Files as JSON."""
    return {
        name: {
            "bytes": file.num_bytes,
            "head": f"{file.head:08x}",
            "tensors": {
                tensor: "".join(f"{crc:08x}" for crc in pieces)
                for tensor, pieces in sorted(file.tensors.items())
            },
        }
        for name, file in sorted(files.items())
    }


def files_of(entries: Any) -> dict[str, StoredFile]:
    """The files of a JSON value that may be anything."""
    if not isinstance(entries, dict):
        raise ValueError("its files are no object")
    files = {}
    for name, entry in entries.items():
        if not _FILE.fullmatch(name):
            raise ValueError(f"{name!r:.200} is no name of a tensor file")
        _expect(entry, {"bytes", "head", "tensors"}, name)
        if not isinstance(entry["tensors"], dict):
            raise ValueError(f"the tensors of {name} are no object")
        head = _checksums(entry["head"], name)
        if len(head) != 1:
            raise ValueError(f"the head of {name} has {len(head)} checksums")
        tensors = {key: _checksums(value, key) for key, value in entry["tensors"].items()}
        files[name] = StoredFile(count(entry["bytes"], name), head[0], tensors)
    return files


def read_manifest(folder: Path, location: Any) -> Manifest:
    """The manifest of the checkpoint in a folder."""
    path = folder / NAME
    try:
        return parse(bounded(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", location) from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}", location) from error


def bounded(path: Path) -> bytes:
    """The bytes of a file that is no longer than a manifest may be."""
    descriptor = _open(path)
    try:
        with open(descriptor, "rb", closefd=False) as file:
            text = file.read(_MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(text) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES} bytes")
    return text


def _open(path: Path) -> int:
    """A regular file for reading: what else bears the name (a pipe) could keep the reader for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is no regular file")
    return descriptor


def parse(text: bytes) -> Manifest:
    """ValueError, which says why, unless the text is that of a manifest."""
    body = unsealed(text, {"format", "steps", "loader", "seeds", "extra", "files"}, {"epoch": 0})
    files = files_of(body["files"])
    manifest = Manifest(
        count(body["steps"], "steps"),
        body["loader"],
        body["seeds"],
        body["extra"],
        files,
        count(body["epoch"], "epoch"),
    )
    for kind in KINDS:
        _check_parts(kind, manifest.names(kind))
        seen: set[str] = set()
        for name in manifest.names(kind):
            if twice := seen & set(files[name].tensors):
                raise ValueError(f"{min(twice)!r:.200} is in two files")
            seen |= set(files[name].tensors)
    return manifest


def _check_parts(kind: str, names: list[str]) -> None:
    """One file, or a part of each rank."""
    parts = [match.groups()[1:] for name in names if (match := _FILE.fullmatch(name))]
    count = int(parts[-1][1] or 1) if parts else 1
    if names != [file_name(kind, rank, count) for rank in range(count)]:
        raise ValueError(f"the files of the {kind} are {names!s:.200}, not all of one")


def _expect(value: Any, keys: set[str], what: str) -> None:
    if not isinstance(value, dict) or set(value) != keys:
        raise ValueError(f"{what} must have the entries {', '.join(sorted(keys))}")


def count(value: Any, what: str) -> int:
    """The number; ValueError, with `what` it counts, if it is none or too large."""
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError(f"{what:.200}: {value!r:.60} is no count")
    return value


def _checksums(text: Any, what: str) -> tuple[int, ...]:
    if not isinstance(text, str) or len(text) % 8 or not _DIGITS.fullmatch(text):
        raise ValueError(f"the checksums of {what:.200} are no hexadecimal numbers of 8 digits")
    return tuple(int(text[i : i + 8], 16) for i in range(0, len(text), 8))


def check_file(path: Path, stored: StoredFile, location: Any) -> Layout:
    """CheckpointError, with the tensor and the bytes of the file, unless it is what was written; else its layout."""
    try:
        descriptor = _open(path)
        try:
            return _check(descriptor, path, stored, location)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", location) from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}", location) from error


def _check(descriptor: int, path: Path, stored: StoredFile, location: Any) -> Layout:
    size = os.fstat(descriptor).st_size
    if size != stored.num_bytes:
        raise ValueError(f"it has {size} bytes, and {stored.num_bytes} were written")
    start = int.from_bytes(os.pread(descriptor, 8, 0), "little")
    if not 0 < start <= min(_MOST_BYTES, size - 8):
        raise ValueError(f"bytes 0 to 8, the size of its head, are not what was written: {start}")
    head = os.pread(descriptor, 8 + start, 0)
    if len(head) != 8 + start or _core.crc32c(head) != stored.head:
        raise ValueError(f"bytes 0 to {8 + start}, its head, are not what was written")
    layout = read_layout(os.fspath(path), location)
    if layout.head_bytes != len(head) or set(layout.entries) != set(stored.tensors):
        raise ValueError("its tensors are not those of the manifest")
    buffer = memoryview(bytearray(min(_READ, max(size, 1))))
    for name, entry in layout.entries.items():
        pieces = stored.tensors[name]
        if len(pieces) != -(-(entry.end - entry.begin) // PIECE):
            raise ValueError(
                f"tensor {name} has {entry.end - entry.begin} bytes, and {len(pieces)} checksums"
            )
        for begin in range(entry.begin, entry.end, _READ):
            _check_bytes(descriptor, name, entry.begin, begin, entry.end, pieces, buffer)
    return layout


def _check_bytes(
    descriptor: int,
    name: str,
    first: int,
    begin: int,
    end: int,
    pieces: tuple[int, ...],
    buffer: memoryview,
) -> None:
    """Of a tensor whose bytes are those from `first` to `end`: as many from `begin` as the buffer holds."""
    wanted = buffer[: min(len(buffer), end - begin)]
    filled = 0
    while filled < len(wanted):
        count = os.preadv(descriptor, [wanted[filled:]], begin + filled)
        if count == 0:
            raise ValueError(f"it ends at byte {begin + filled}, within tensor {name}")
        filled += count
    for number, crc in enumerate(_core.crc32c_pieces(wanted, PIECE)):
        if crc != pieces[(begin - first) // PIECE + number]:
            at = begin + number * PIECE
            raise ValueError(
                f"tensor {name}: bytes {at} to {min(at + PIECE, end)} of the file are not what was written "
                f"(CRC32C {crc:08x}, and {pieces[(begin - first) // PIECE + number]:08x} was)"
            )
