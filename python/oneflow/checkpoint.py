"""Checkpoints: all that a training run needs to go on, in a folder, whole or not at all.

    model.safetensors       parameters and buffers, under their names in the step's model
    optimizer.safetensors   "<parameter>.<slot>"
    manifest.json           checksums of both, steps made, the loader's position, seeds, the user's `extra`

Of two ranks each writes a part, `model-00001-of-00002.safetensors`. Every tensor is whole in one file, so that any
layout reads what any other has written. What is damaged is refused, and the one before it is taken; all ranks of a job
take the same one. Read next: snapshot.py (what is written), publication.py (how), manifest.py (how it is checked).
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import environment, epochs, manifest
from .epochs import Epoch
from .errors import CheckpointError, Error, StaleRunError
from .location import user_location
from .manifest import check_file, read_manifest
from .publication import free_bytes, mib, why_not
from .serialization import load as load_file
from .serialization import read_json
from .snapshot import of_all_ranks, told_by_rank_0
from .tensor import Tensor

# What the earlier form of a checkpoint, format 1, has in place of a manifest.
_EARLIER = "progress.json"
_NAME = re.compile(r"(step-(\d{8,}))(\.replaced)?")


@dataclass(frozen=True)
class Checkpoint:
    """Where `step.run` keeps checkpoints: in folders `directory/step-00000200`, one after each `every` steps (0: at
    the end alone) and one at the end; the newest `keep` of them stay."""

    directory: str | os.PathLike[str]
    every: int = 0
    keep: int = 3

    def __post_init__(self) -> None:
        for name, least in (("every", 0), ("keep", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise Error(f"{name}={value!r}: an integer from {least}", user_location())

    def path(self, steps: int) -> Path:
        """The folder of the checkpoint after so many steps."""
        return Path(self.directory) / f"step-{steps:08d}"

    def too_old(self, steps: int) -> list[Path]:
        """Those beyond the newest `keep` that were made up to this number of steps."""
        made = [path for number, path in _numbered(self.directory) if number <= steps]
        return made[: -self.keep]

    def why_no_room(self, num_bytes: int, made: int, steps: int | None) -> str:
        """Why a run from step `made` to `steps`, whose checkpoints have so many bytes, must fail for want of room;
        "" if it need not, as far as can be told. One more than `keep` are there while it is written."""
        free = free_bytes(Path(self.directory))
        if not self.every:
            due: float = 1
        else:
            due = math.inf if steps is None else -(-(steps - made) // self.every)
        more = max(1, min(due, self.keep + 1 - len(_numbered(self.directory))))
        if free is None or due < 1 or free >= more * num_bytes:
            return ""
        return (
            f"{os.fspath(self.directory)} has {mib(free)} free, and a run that keeps {self.keep} checkpoints of "
            f"{mib(num_bytes)} needs {mib(int(more) * num_bytes)} more than it has there: free some, let keep= or every= "
            "ask for fewer, or give another folder"
        )


def _numbered(directory: str | os.PathLike[str]) -> list[tuple[int, Path]]:
    """The checkpoints of a run by their steps, oldest first. One that a crash has left aside stands for its place."""
    found: dict[int, Path] = {}
    with contextlib.suppress(OSError):
        for path in sorted(Path(directory).iterdir()):  # step-N comes before step-N.replaced
            if (match := _NAME.fullmatch(path.name)) and path.is_dir():
                found.setdefault(int(match[2]), path)
    return sorted(found.items())


def begin(directory: str | os.PathLike[str], must_resume: bool) -> Epoch | None:
    """A run that keeps checkpoints in a folder begins: the epoch that it has claimed, the same on all ranks, which all
    call it before they look for a checkpoint. None if it must resume and there is nothing to resume from."""
    path, location = Path(directory), user_location()
    number, why, is_stale = 0, "", False
    if environment.rank() == 0 and not (must_resume and not _own_candidates(path)):
        try:
            number = epochs.claim(path, _newest_epoch(path)).number
        except StaleRunError as error:
            why, is_stale = error.message, True
        except OSError as error:
            said = why_not(error, path, 0)
            why = f"{path} cannot be claimed for a run that keeps checkpoints there: {said}"
    number, why, is_stale = of_all_ranks([number, why, is_stale])[0]
    if why:
        raise told_by_rank_0((StaleRunError if is_stale else CheckpointError)(why, location))
    return Epoch(path, number) if number else None


def _newest_epoch(directory: Path) -> int:
    """Of the checkpoints in a folder: they may have been copied there without the claims of their runs."""
    newest = 0
    for path in _own_candidates(directory):
        with contextlib.suppress(CheckpointError):  # told where it is read
            newest = max(newest, manifest.read_manifest(path, None).epoch)
    return newest


@dataclass(frozen=True)
class Stored:
    """What a checkpoint holds."""

    path: Path
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    steps: int
    loader: Any
    seeds: Any
    extra: Any


def find(directory: str | os.PathLike[str], above: int = -1) -> Stored | None:
    """The checkpoint at `directory`, or the newest one in it, of more than `above` steps; None if there is none.

    All of its bytes have been compared with their checksums. One that is damaged is refused, which a line on stderr
    says, and the one before it is taken; CheckpointError if there are only such. All ranks call it, and get the same.
    """
    return _find(Path(directory), above, of_all_ranks)


def load(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Tensors by name, of a file backed by it: bytes are read when they are used. Of a checkpoint's folder, or that of
    a run, the model of the newest checkpoint that is intact, compared with its checksums; of this rank alone."""
    if not os.path.isdir(path):
        return load_file(path)
    found = _find(Path(path), -1, lambda value: [value])
    if found is None:
        raise CheckpointError(f"there is no checkpoint in {os.fspath(path)}", user_location())
    return dict(found.model)


def _find(directory: Path, above: int, told: Callable[[Any], list[Any]]) -> Stored | None:
    """As `find`; `told` says what each rank says of something."""
    location = user_location()
    refused = []
    passed_over = False
    for path in _candidates(directory, told):
        stored, why = None, ""
        try:
            stored = _read(path, above, location)
        except CheckpointError as error:
            why = error.message
        own = [why, -1 if stored is None else stored.steps]
        if why := _refusal(told(own)):
            refused.append(why)
            if environment.rank() == 0:
                print(f"oneflow: {path} is refused: {refused[-1]}", file=sys.stderr)
        elif stored is not None:
            return stored
        else:
            passed_over = True
    if refused and not passed_over:
        raise CheckpointError(
            f"no checkpoint in {directory} is intact: {'; '.join(refused)}. Take a copy of one, or move "
            "them away (resume='never' starts anew)",
            location,
        )
    return None


def _refusal(findings: list[tuple[str, int]]) -> str:
    """Why a checkpoint is none, from what each rank found: a reason, and the steps."""
    for rank, (why, _) in enumerate(findings):
        if why:
            return why + (f" (seen by rank {rank})" if rank else "")
    if len({steps for _, steps in findings}) > 1:
        return (
            "the ranks see different checkpoints under its name: all hosts must see the same folder"
        )
    return ""


def _own_candidates(directory: Path) -> list[Path]:
    """Newest first, as this rank sees them."""
    places = [directory]
    if directory.name:  # "." and "/" are never put aside
        places.append(directory.with_name(directory.name + ".replaced"))
    for path in places:
        if any((path / name).exists() for name in (manifest.NAME, _EARLIER)):
            return [path]
    return [path for _, path in reversed(_numbered(directory))]


def _candidates(directory: Path, told: Callable[[Any], list[Any]]) -> list[Path]:
    """Newest first, as rank 0 sees them."""
    names = told([path.name for path in _own_candidates(directory)])[0]
    here = directory.name
    return [
        directory.with_name(name) if name in (here, here + ".replaced") else directory / name
        for name in names
    ]


def _read(path: Path, above: int, location: Any) -> Stored | None:
    """A checkpoint, compared with its checksums; None if it has made no more than `above` steps."""
    if not (path / manifest.NAME).exists() and (path / _EARLIER).exists():
        return _read_earlier(path, above, location)
    stored = read_manifest(path, location)
    if stored.steps <= above:
        return None
    for name, file in stored.files.items():
        check_file(path / name, file, location)
    tensors = {
        kind: {k: v for name in stored.names(kind) for k, v in load_file(path / name).items()}
        for kind in manifest.KINDS
    }
    return Stored(
        path,
        tensors["model"],
        tensors["optimizer"],
        stored.steps,
        stored.loader,
        stored.seeds,
        stored.extra,
    )


def _read_earlier(path: Path, above: int, location: Any) -> Stored | None:
    """A checkpoint of format 1: nothing says whether its bytes are those that were written."""
    try:
        with open(path / _EARLIER, "rb") as file:
            progress = read_json(file.read(), any_float=True)
        if not isinstance(progress, dict) or not {"format", "steps", "loader", "extra"} <= set(
            progress
        ):
            raise ValueError("entries are missing")
        if progress["format"] != 1:
            raise ValueError(
                f"it has format {progress['format']!r:.60}, and 1 is what bears this name"
            )
        steps = manifest.count(progress["steps"], "steps")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint of a step: {_EARLIER}: {error}", location
        ) from error
    if steps <= above:
        return None
    if environment.rank() == 0:
        print(f"oneflow: {path} is of the earlier form, without checksums", file=sys.stderr)
    return Stored(
        path,
        load_file(path / "model.safetensors"),
        load_file(path / "optimizer.safetensors"),
        steps,
        progress["loader"],
        None,
        progress["extra"],
    )


def check_fits(
    what: str,
    own: Mapping[str, tuple[int, ...]],
    stored: Mapping[str, Tensor],
    partly: bool = False,
) -> None:
    """CheckpointError unless names and shapes agree; `partly` lets own ones be missing."""
    location = user_location()
    missing = [] if partly else [name for name in own if name not in stored]
    unexpected = [name for name in stored if name not in own]
    if missing or unexpected:
        raise CheckpointError(
            f"the checkpoint does not fit the {what}: missing {missing}, unexpected {unexpected}",
            location,
        )
    for name, tensor in stored.items():
        if tensor.shape != own[name]:
            raise CheckpointError(
                f"{name} has shape {tensor.shape} in the checkpoint and {own[name]} in the {what}",
                location,
            )


def array_of(tensor: Tensor, dtype: np.dtype[Any]) -> np.ndarray:
    """Elements to write into a state."""
    return tensor.numpy().astype(dtype, copy=False)
