"""How a checkpoint gets onto the disk: a folder that appears under its name when every byte of it is there.

The order is what survives a power cut: each file is written into `NAME.partial` and forced onto the disk, then that
folder; the manifest, and the folder again; what has the name already is put aside as `NAME.replaced`; the folder takes the
name, and its parent is forced onto the disk. Only then does `commit` return, and only then is anything older removed.
A crash leaves `NAME.partial`, which nobody reads, or `NAME.replaced` alone, which readers take for NAME.

A run has an epoch (epochs.py) and writes into `NAME.epoch-E.partial`. After a look for a higher one it asks for nothing
but renames that need this folder; who claims an epoch takes those of all lower ones away. So whichever comes first, the
look or the claim, a run whose folder has been passed on neither publishes nor removes anything.

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
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from . import manifest
from .manifest import StoredFile
from .serialization import Packed

_AT_ONCE = 64 << 20  # bytes of one call: the system takes no more than 2 GiB
_TRIES, _PAUSE = 200, 0.01  # to remove what others write into, and seconds between two
_NUMBERED = re.compile(
    r"(?P<name>step-\d{8,})(\.epoch-(?P<epoch>\d{6,}))?(?P<fenced>\.fenced)?(?P<kind>\.partial|\.replaced|)"
)
_OURS = re.compile(
    r"(model|optimizer)(-\d{5}-of-\d{5})?\.safetensors|manifest\.json|progress\.json"
)


class Fence(Protocol):
    """The epoch of a run, as epochs.Epoch."""

    @property
    def number(self) -> int:
        """From 1."""

    def check(self) -> None:
        """StaleRunError if a higher epoch is claimed."""


class Claim:
    """A new folder beside its place, to be written into by one job alone. Owner: the rank that commits. Threads: one
    at a time. It ends by `commit` or `abandon`. StaleRunError, and nothing is changed, behind a fence that has fallen."""

    def __init__(self, target: Path, fence: Fence | None = None) -> None:
        self.target = target
        self.partial = partial_of(target, fence)
        self._fence = fence
        self._has_put_aside = False
        self._lock = -1
        try:
            self._make(fence)
        except OSError:
            if fence is not None:  # what a newer run has removed is missed as any file is
                fence.check()
            raise

    def _make(self, fence: Fence | None) -> None:
        old = _aside(self.target)
        _make_folders(self.target.parent)
        if fence is not None:
            fence.check()
        for folder in (self.target, old):
            _refuse_to_replace(folder)
        if old.exists():
            if self.target.exists():
                _remove(old)
            else:  # a crash between two renames: it is the one that counts
                os.rename(old, self.target)
        for partial in (partial_of(self.target), self.partial):
            _refuse_if_locked(partial)
        _remove(self.partial)
        if _NUMBERED.fullmatch(self.target.name):
            # A disk that was full needs the room now.
            remove_leftovers(self.target.parent, fence.number if fence is not None else 0)
        os.mkdir(self.partial)
        self._lock = os.open(self.partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(self._lock, self.partial)
        except BaseException:
            self._unlock()
            raise

    def commit(self, text: bytes) -> None:
        """All files are there: adds the manifest and gives the folder its name. When this returns it is on the disk."""
        _write(self.partial / manifest.NAME, [text])
        _sync(self.partial)
        # Before the look: what a newer run publishes behind it is in the way of the last rename, and stays.
        replaces = self.target.exists()
        if self._fence is not None:
            self._fence.check()
        if replaces:
            os.rename(self.target, _aside(self.target))
            self._has_put_aside = True
        os.rename(self.partial, self.target)
        _sync(self.target.parent)
        self._unlock()
        with contextlib.suppress(OSError):  # the next claim of this place tries again
            _remove(_aside(self.target))

    def abandon(self) -> None:
        """Removes what was written: on a full disk that is room for the next attempt."""
        try:
            with contextlib.suppress(OSError):
                if self._has_put_aside and not self.target.exists():
                    os.rename(_aside(self.target), self.target)
                _remove_under_writers(self.partial)
        finally:
            self._unlock()

    def _unlock(self) -> None:
        descriptor, self._lock = self._lock, -1
        if descriptor >= 0:
            os.close(descriptor)


def partial_of(target: Path, fence: Fence | None = None) -> Path:
    """Where the files of a checkpoint are written; those of a run in a folder that no other run writes into."""
    epoch = "" if fence is None else f".epoch-{fence.number:06d}"
    return target.with_name(f"{target.name}{epoch}.partial")


def write_files(partial: Path, files: Mapping[str, Packed]) -> dict[str, StoredFile]:
    """New files in a claimed folder, on the disk when this returns. Their checksums are those of the memory."""
    stored = {name: StoredFile.of(packed) for name, packed in files.items()}
    for name, packed in files.items():
        _write(partial / name, [packed.head, *packed.tensors.values()])
    _sync(partial)
    return stored


def drop_old(older: Iterable[Path], fence: Fence | None = None) -> None:
    """Removes checkpoints of a run, but none that holds something else. A newer one is on the disk. StaleRunError, and
    nothing is removed, behind a fence that has fallen."""
    try:
        _drop(older, fence)
    except OSError:
        if fence is not None:  # what a newer run has removed is missed as any file is
            fence.check()
        raise


def _drop(older: Iterable[Path], fence: Fence | None) -> None:
    paths = [path for path in older if not _foreign(path)]
    if not paths:
        return
    # Into another folder first: half of one under its name would be a damaged checkpoint.
    dropped = partial_of(paths[0], fence)
    _remove(dropped)
    os.mkdir(dropped)
    try:
        if fence is not None:
            fence.check()
        for path in paths:
            os.rename(path, dropped / path.name)
    finally:
        _remove(dropped)


def remove_leftovers(directory: Path, epoch: int = 0) -> None:
    """Removes what crashes have left of the checkpoints of a run: of runs up to this epoch, and of no run's."""
    for path in sorted(directory.iterdir()):
        match = _NUMBERED.fullmatch(path.name)
        if match is None or int(match["epoch"] or 0) > epoch:
            continue
        is_replaced = match["kind"] == ".replaced" and path.with_name(match["name"]).exists()
        if match["kind"] == ".partial" or is_replaced:
            with contextlib.suppress(BlockingIOError):  # another program's, which has not crashed
                _refuse_if_locked(path)
                _remove(path)


def take_away_partial(directory: Path, epoch: int) -> None:
    """Takes from all runs of lower epochs what they have not published yet: their next rename finds nothing."""
    for path in sorted(directory.iterdir()):
        match = _NUMBERED.fullmatch(path.name)
        if match is None or match["kind"] != ".partial" or match["epoch"] is None:
            continue
        if match["fenced"] or int(match["epoch"]) >= epoch:
            continue
        taken = path.with_name(f"{match['name']}.epoch-{match['epoch']}.fenced.partial")
        _remove(taken)
        with contextlib.suppress(FileNotFoundError):  # it was faster
            os.rename(path, taken)
        with contextlib.suppress(OSError):  # a later start tries again
            _remove(taken)


def _aside(target: Path) -> Path:
    return target.with_name(target.name + ".replaced")


def _foreign(folder: Path) -> str:
    """The name of something in a folder that is no part of a checkpoint; "" if all is."""
    return min((name for name in os.listdir(folder) if not _OURS.fullmatch(name)), default="")


def _refuse_to_replace(folder: Path) -> None:
    """What is no checkpoint is never removed."""
    if os.path.lexists(folder):
        if folder.is_symlink() or not folder.is_dir():
            raise FileExistsError(errno.EEXIST, f"{folder} is no folder; choose another name")
        if name := _foreign(folder):
            raise FileExistsError(
                errno.EEXIST,
                f"{folder} holds {name}, which is no part of a checkpoint; choose another name, or move that away",
            )


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


def _write(path: Path, pieces: Iterable[bytes | np.ndarray]) -> None:
    """A new file, on the disk when this returns (its name is when its folder is)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        for piece in pieces:
            left = memoryview(piece)  # type: ignore[arg-type]
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


def _remove_under_writers(path: Path) -> None:
    """The same for a folder that other ranks may still add their files to, or take them from: each of them makes a
    few at most, so it ends."""
    for _ in range(_TRIES):
        try:
            _remove(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise
            time.sleep(_PAUSE)
        else:
            return


def why_not(error: OSError, path: Path, needed: int) -> str:
    """What the system said, and on a full disk what is needed and there."""
    why = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        why += f": it needs {mib(needed)}, and {mib(free_bytes(path) or 0)} are free there"
    return why


def mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def free_bytes(path: Path) -> int | None:
    """Of the file system that a path is to lie on; None if it cannot be told."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
