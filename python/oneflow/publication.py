"""How a checkpoint gets onto the disk: a folder that appears under its name when every byte of it is there.

The order is what survives a power cut: each file is written into `NAME.partial` and forced onto the disk, then that
folder; the manifest, and the folder again; what has the name already is put aside as `NAME.old`; the folder takes the
name, and its parent is forced onto the disk. Only then does `publish` return, and only then is anything older removed.
A crash leaves `NAME.partial`, which nobody reads, or `NAME.old` alone, which readers take for NAME.

A file whose fsync failed is lost: it is never tried again, the next attempt writes a new one. One writer at a time:
the folder that is written is locked, and the lock goes with the process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import manifest
from .errors import CheckpointError
from .manifest import Manifest, StoredFile
from .serialization import Packed

_AT_ONCE = 64 << 20  # bytes of one call: the system takes no more than 2 GiB
_LEFT_BEHIND = re.compile(r"(step-\d{8,})\.(partial|old)")


@dataclass(frozen=True)
class Snapshot:
    """What one checkpoint is to hold; the arrays must not change until it is published."""

    files: Mapping[str, Packed]
    steps: int
    loader: Any
    seeds: Any
    extra: Any

    @property
    def num_bytes(self) -> int:
        return sum(packed.num_bytes for packed in self.files.values())

    def manifest(self) -> Manifest:
        """Reads every byte once, for the checksums."""
        stored = {name: StoredFile.of(packed) for name, packed in self.files.items()}
        return Manifest(self.steps, self.loader, self.seeds, self.extra, stored)


def publish(target: Path, snapshot: Snapshot, location: Any) -> None:
    """Writes a checkpoint. When this returns it is on the disk; CheckpointError, and nothing has changed, else."""
    try:
        text = snapshot.manifest().text()
        with _claimed(target) as partial:
            for name, packed in snapshot.files.items():
                _write(partial / name, [packed.head, *packed.tensors.values()])
            _sync(partial)
            _write(partial / manifest.NAME, [text])
            _sync(partial)
            _take_place(partial, target)
        _remove(_aside(target))
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = _free_bytes(target)
            why += f": it needs {_mib(snapshot.num_bytes)}, and {_mib(free)} are free there"
        raise CheckpointError(f"{target} cannot be written: {why}", location) from error


def drop_old(newest: Path, older: Iterable[Path]) -> None:
    """Removes older checkpoints of a run, and what crashes have left of them. `newest` is published."""
    for path in older:
        # By another name first: half a folder under this one would be a damaged checkpoint.
        dropped = path.with_name(path.name + ".partial")
        _remove(dropped)
        os.rename(path, dropped)
        _remove(dropped)
    for path in newest.parent.iterdir():
        match = _LEFT_BEHIND.fullmatch(path.name)
        if match and (match[2] == "partial" or path.with_name(match[1]).exists()):
            _remove(path)


def _aside(target: Path) -> Path:
    return target.with_name(target.name + ".old")


@contextlib.contextmanager
def _claimed(target: Path) -> Iterator[Path]:
    """An empty folder to write into, which is this writer's alone; removed if it does not take its place."""
    partial, old = target.with_name(target.name + ".partial"), _aside(target)
    _make_folders(target.parent)
    if old.exists():
        if target.exists():
            _remove(old)
        else:  # a crash between two renames: it is the one that counts
            os.rename(old, target)
    _refuse_if_locked(partial)
    _remove(partial)
    os.mkdir(partial)
    lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(lock, partial)
        yield partial
    except BaseException:
        with contextlib.suppress(OSError):
            if old.exists() and not target.exists():
                os.rename(old, target)
            _remove(partial)  # on a full disk, room for the next attempt
        raise
    finally:
        os.close(lock)


def _refuse_if_locked(partial: Path) -> None:
    if partial.exists():
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(descriptor, partial)
        finally:
            os.close(descriptor)


def _lock(descriptor: int, partial: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(
            errno.EWOULDBLOCK,
            f"another program is writing {partial}; give each run a folder of its own",
        ) from None
    except OSError:  # a file system without locks of folders, NFS for one
        pass


def _take_place(partial: Path, target: Path) -> None:
    if target.exists():
        os.rename(target, _aside(target))
    os.rename(partial, target)
    _sync(target.parent)


def _write(path: Path, pieces: Iterable[bytes | np.ndarray]) -> None:
    """A new file, on the disk when this returns (its name is when its folder is)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                left = left[os.write(descriptor, left[:_AT_ONCE]) :]
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise
    os.close(descriptor)  # where some file systems tell first that they have lost it


def _sync(folder: Path) -> None:
    """The names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folders(path: Path) -> None:
    """The folder and those above it, their names on the disk."""
    if not path.is_dir():
        _make_folders(path.parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        _sync(path.parent)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _free_bytes(path: Path) -> int:
    """Of the file system that a path is to lie on; 0 if it cannot be told."""
    while not path.exists() and path != path.parent:
        path = path.parent
    with contextlib.suppress(OSError):
        return shutil.disk_usage(path).free
    return 0
