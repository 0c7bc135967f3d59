"""Epochs of runs: of all that were started with the same folder of checkpoints, the newest one alone writes there.

Each start claims the next number by a file that nobody else can have made, `epoch-000007.claim` beside the checkpoints,
forced onto the disk before a checkpoint is looked for. A run that was thought dead (stopped and continued, cut off,
started twice by mistake) sees it before it publishes or removes anything, and ends with a StaleRunError.

The name is the claim. What the file says, who made it, is for the message, and untrusted like all files; a damaged one
fences as well. Only a job that was started again asks more of it: whether the claim is its own, of a start that was
killed before it could remember it. The newest run removes the claims of older ones; the newest claim stays for ever, so
no number comes twice. Read next: publication.py, which closes the window between the look and what follows it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import environment
from .errors import StaleRunError
from .manifest import MOST, bounded, sealed, unsealed
from .publication import _make_folders, _sync, _write, take_away_partial

_NAME = re.compile(r"epoch-(\d{6,19})\.claim")
_TEXTS = ("job", "host", "time")
_DEFAULTS = {"launch": ""}  # claims have no launch that were made before they had one


@dataclass(frozen=True)
class Epoch:
    """That of a run in a folder. Threads: any."""

    directory: Path
    number: int

    def check(self, launch: str = "") -> None:
        """StaleRunError if a higher one is claimed, by somebody else than this launch; OSError if nobody can tell."""
        newest = max(_claimed(self.directory), default=0)
        if newest > self.number and not _is_of(self.directory, newest, launch):
            raise StaleRunError(
                f"this run has epoch {self.number} of {self.directory} (process {os.getpid()} on host "
                f"{socket.gethostname()}, job {environment.launch().job}), and epoch {newest} was claimed by "
                f"{_who(self.directory, newest)}: a newer run writes there, and this one does no more. End this one; "
                "if the newer one was a mistake, end that and start this one again, or give each a folder of its own"
            )


def claim(directory: Path, least: int = 0) -> Epoch:
    """The next epoch, above all that were claimed and above `least`. Rank 0 alone calls it. StaleRunError if another
    job has claimed the folder since this one did before it was started again; OSError if it cannot be claimed."""
    _make_folders(directory)
    before, launch = _recall(directory)
    if before:
        Epoch(directory, before).check(launch)
    # Before the claim is made: a start that is killed behind it is known by it.
    _remember(directory, before, launch)
    while True:
        number = max(_claimed(directory), default=0)
        number = max(number, least) + 1
        if number > MOST:
            raise OSError(
                errno.EOVERFLOW,
                f"epoch {number - 1} is there, which no run has claimed: move its .claim, or the checkpoints whose "
                "manifests name it, away",
            )
        with contextlib.suppress(FileExistsError):  # another start was faster
            _make(_path(directory, number), launch)
            if max(_claimed(directory), default=0) <= number:
                break
        least = number
    # Whoever has not seen the claim yet has a folder there, and finds it gone. From then on nothing changes.
    take_away_partial(directory, number)
    for old in _claimed(directory):
        if old < number:
            with contextlib.suppress(OSError):
                os.unlink(_path(directory, old))
    _remember(directory, number, launch)
    return Epoch(directory, number)


def _path(directory: Path, number: int) -> Path:
    return directory / f"epoch-{number:06d}.claim"


def _claimed(directory: Path) -> list[int]:
    matches = map(_NAME.fullmatch, os.listdir(directory))
    return [int(match[1]) for match in matches if match]


def _make(path: Path, launch: str) -> None:
    """On the disk when this returns."""
    body = {
        "job": environment.launch().job,
        "launch": launch,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }
    try:
        try:
            _write(path, [sealed(body)])
        except OSError as error:
            # The name counts: a disk that is full ends no run.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not path.exists():
                raise
        _sync(path.parent)
    except FileExistsError:
        raise
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _said(path: Path) -> dict[str, Any]:
    """What a claim says; OSError or ValueError if that cannot be read."""
    said = unsealed(bounded(path), {*_TEXTS, "pid"}, _DEFAULTS)
    texts = (*_TEXTS, *_DEFAULTS)
    if type(said["pid"]) is not int or any(not isinstance(said[key], str) for key in texts):
        raise ValueError("its entries are none of a claim")
    return said


def _is_of(directory: Path, number: int, launch: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(launch) and str(_said(_path(directory, number))["launch"]) == launch
    return False


def _who(directory: Path, number: int) -> str:
    path = _path(directory, number)
    try:
        said = _said(path)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return f"somebody ({path} does not say who: {why})"
    # !r: it goes to a terminal.
    return f"process {said['pid']} on host {said['host']!r:.80} (job {said['job']!r:.80}) at {said['time']!r:.40}"


def _memo(directory: Path) -> Path | None:
    """Where a job that may be started again keeps what it has claimed."""
    if not (folder := environment.launch().job_dir):
        return None
    return (
        Path(folder) / f"epoch.{hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]}"
    )


def _recall(directory: Path) -> tuple[int, str]:
    """The epoch that this job has claimed before it was started again, 0 if none; and what its claims are known by. A
    launcher that was stopped, and starts its ranks again, is no newer run."""
    path = _memo(directory)
    with contextlib.suppress(OSError, ValueError):
        if path is not None:
            number, launch = path.read_text().split()
            return int(number), launch
    return 0, secrets.token_hex(8)


def _remember(directory: Path, number: int, launch: str) -> None:
    if (path := _memo(directory)) is not None:
        with contextlib.suppress(OSError):
            new = Path(f"{path}.new")  # so that who is killed here forgets nothing
            new.write_text(f"{number} {launch}")
            os.replace(new, path)
