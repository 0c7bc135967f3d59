"""Checkpoints: all that a training run needs to go on, in a folder, whole or not at all.

    model.safetensors       parameters and buffers, under their names in the step's model
    optimizer.safetensors   "<parameter>.<slot>"
    progress.json           steps made, the loader's position, what the user gave as `extra`

Nothing in it depends on the mesh or the number of ranks: any layout reads what any other has written.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import environment
from .errors import CheckpointError, Error
from .gather import gather
from .location import user_location
from .serialization import load, save
from .tensor import Tensor

_FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")


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

    def drop_old(self) -> None:
        """Removes all but the newest; rank 0 alone."""
        if environment.rank() == 0:
            for path in _numbered(self.directory)[: -self.keep]:
                shutil.rmtree(path)


def _numbered(directory: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    with contextlib.suppress(OSError):
        found = {
            int(match[1]): path
            for path in Path(directory).iterdir()
            if (match := _NAME.fullmatch(path.name)) and (path / "progress.json").exists()
        }
        return [found[number] for number in sorted(found)]
    return []


def newest(directory: str | os.PathLike[str]) -> Path | None:
    """The checkpoint at `directory`, or the newest one in it; None if there is none."""
    path = Path(directory)
    for candidate in (path, path.with_name(path.name + ".old")):  # replaced, or about to be
        if (candidate / "progress.json").exists():
            return candidate
    inside = _numbered(path)
    return inside[-1] if inside else None


def steps_of(path: Path) -> int:
    """How many steps had been made."""
    return int(_progress(path)["steps"])


def _progress(path: Path) -> dict[str, Any]:
    try:
        progress = json.loads((path / "progress.json").read_text(encoding="utf-8"))
        if not isinstance(progress, dict) or not {"format", "steps", "loader", "extra"} <= set(
            progress
        ):
            raise ValueError("entries are missing")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint of a step: progress.json: {error}", user_location()
        ) from error
    if progress["format"] != _FORMAT:
        raise CheckpointError(
            f"{path} has format {progress['format']}, and this version reads {_FORMAT}",
            user_location(),
        )
    return progress


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `target` once all is written."""
    partial, old = (target.with_name(target.name + end) for end in (".partial", ".old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        partial.rename(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(partial, ignore_errors=True)  # on a full disk, room for the next attempt
        raise
    shutil.rmtree(old, ignore_errors=True)


def write(
    directory: str | os.PathLike[str],
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    steps: int,
    loader: Any,
    extra: Any,
) -> None:
    """Writes a checkpoint. All ranks call it alike; rank 0 writes."""
    location = user_location()
    progress = {"format": _FORMAT, "steps": steps, "loader": loader, "extra": extra}
    try:
        text = json.dumps(progress, indent=1)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"extra and the loader's state must be JSON ({error}): numbers, strings, lists and dicts",
            location,
        ) from None
    gather({**{f"model.{k}": v for k, v in model.items()}, **optimizer})  # leaves values here
    if environment.rank() != 0:
        return
    try:
        with _replacing(Path(directory)) as folder:
            save(model, folder / "model.safetensors")
            save(optimizer, folder / "optimizer.safetensors")
            with open(folder / "progress.json", "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            needed = sum(
                t.numel() * t.dtype.itemsize for t in (*model.values(), *optimizer.values())
            )
            why += f": it needs {_mib(needed)}, and {_mib(_free_bytes(Path(directory)))} are free there"
        raise CheckpointError(f"{directory} cannot be written: {why}", location) from error


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _free_bytes(path: Path) -> int:
    """Of the file system that a path is to lie on; 0 if it cannot be told."""
    while not path.exists() and path != path.parent:
        path = path.parent
    with contextlib.suppress(OSError):
        return shutil.disk_usage(path).free
    return 0


@dataclass(frozen=True)
class Stored:
    """What a checkpoint holds."""

    path: Path
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    steps: int
    loader: Any
    extra: Any


def read(directory: str | os.PathLike[str]) -> Stored:
    """The checkpoint at `directory` or the newest one in it."""
    path = newest(directory)
    if path is None:
        raise CheckpointError(f"there is no checkpoint in {os.fspath(directory)}", user_location())
    progress = _progress(path)
    return Stored(
        path,
        load(path / "model.safetensors"),
        load(path / "optimizer.safetensors"),
        int(progress["steps"]),
        progress["loader"],
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
