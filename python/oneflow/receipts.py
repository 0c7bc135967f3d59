"""What the ranks of a job tell the one that commits a checkpoint: which files they have written, or why not.

A rank leaves a small sealed file in the folder that is written, so nothing but the file system that all of them write
to is needed, and no rank's training waits. The one that commits reads them, and removes them. An empty one is of a rank whose disk had no
room to say so. Untrusted like all files.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from . import environment
from .manifest import StoredFile, bounded, entries_of, files_of, sealed, unsealed

_PAUSE = 0.01  # seconds between two looks
_AFTER_THE_END = 2.0  # seconds for the others, when the program of this rank is over


def _path(partial: Path, rank: int) -> Path:
    """Of this start of the job: what a rank of an earlier one leaves late is no receipt, and takes none."""
    return partial / f"rank-{rank:05d}.epoch-{environment.launch().epoch}.json"


def leave(partial: Path, rank: int, files: Mapping[str, StoredFile], why: str = "") -> None:
    """Tells that the files of this rank are on the disk, or why they are not."""
    text = sealed({"files": entries_of(files), "why": why})
    new = _path(partial, rank).with_suffix(".new")
    with open(new, "wb") as file:
        file.write(text)
    os.rename(new, _path(partial, rank))


def collect(partial: Path, ranks: int, seconds: float) -> dict[str, StoredFile]:
    """The files of all ranks but 0, which are there. OSError that says whose are not."""
    files: dict[str, StoredFile] = {}
    deadline = time.monotonic() + seconds
    for rank in range(1, ranks):
        path = _path(partial, rank)
        while not path.exists():
            if not partial.exists():  # nobody can write into it any more
                raise FileNotFoundError(errno.ENOENT, f"{partial} was removed while it was written")
            if not threading.main_thread().is_alive():  # the job is over, well or not
                deadline = min(deadline, time.monotonic() + _AFTER_THE_END)
                seconds = _AFTER_THE_END
            if time.monotonic() > deadline:
                raise OSError(
                    errno.ETIMEDOUT,
                    f"rank {rank} has not written its part within {seconds:g} s (half of ONEFLOW_PEER_SECONDS); all "
                    f"hosts must see the same folder {partial.parent}",
                )
            time.sleep(_PAUSE)
        try:
            text = bounded(path)
            if not text:  # the name says it
                raise OSError(errno.ENOSPC, f"rank {rank}: {os.strerror(errno.ENOSPC)}")
            told = unsealed(text, {"files", "why"})
            part = files_of(told["files"])
        except ValueError as error:
            raise OSError(errno.EIO, f"what rank {rank} has written: {error}") from None
        if told["why"]:
            raise OSError(errno.EIO, f"rank {rank}: {told['why']}")
        for name, file in part.items():
            size = os.stat(partial / name).st_size
            if size != file.num_bytes:
                raise OSError(
                    errno.EIO,
                    f"{name} of rank {rank} has {size} bytes here, and {file.num_bytes} were written",
                )
        files |= part
        os.unlink(path)
    return files


def withdraw(partial: Path, rank: int, names: Mapping[str, object], why: str) -> None:
    """Removes this rank's files, which makes room for the next attempt, and tells why; OSError if nobody hears it."""
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(partial / name)
    try:
        leave(partial, rank, {}, why)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # A disk that has no room for the words has some for a name.
        empty = _path(partial, rank).with_suffix(".new")
        with open(empty, "wb"):
            pass
        os.rename(empty, _path(partial, rank))
