"""What a checkpoint asks of the file system, call by call: stopped at any of them, or replayed to a power cut.

`Calls` stands in place of `os` and `shutil` in oneflow.publication, does what is asked and keeps a list of it. With
`stop_at` the process is dead from that call on: it and all later ones raise; with `meanwhile` it stands before that call
while something else happens. `Disk` replays a list and says what may
lie on the disk when the power goes: names and bytes that no fsync has forced may be there or not.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class Dead(BaseException):
    """The process is no more."""


class Calls:
    """See the module."""

    def __init__(
        self,
        root: Path,
        stop_at: int | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        self.root = root
        self.stop_at = stop_at
        self.meanwhile = meanwhile
        self._stands = False  # what is called then is another's
        self.log: list[tuple[Any, ...]] = []
        self._open: dict[int, str] = {}

    def _of(self, path: Any) -> str:
        return str(Path(path).relative_to(self.root))

    def _note(self, *call: Any) -> None:
        if self._stands:
            return
        if self.stop_at is not None and len(self.log) >= self.stop_at:
            if self.meanwhile is None:
                raise Dead(call)
            self._stands, self.stop_at = True, None
            self.meanwhile()
            self._stands = False
        self.log.append(call)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def mkdir(self, path: Any) -> None:
        self._note("mkdir", self._of(path))
        os.mkdir(path)

    def open(self, path: Any, flags: int, mode: int = 0o666) -> int:
        if flags & os.O_CREAT:
            self._note("create", self._of(path))
        descriptor = os.open(path, flags, mode)
        self._open[descriptor] = self._of(path)
        return descriptor

    def close(self, descriptor: int) -> None:
        del self._open[descriptor]
        os.close(descriptor)

    def end(self) -> None:
        """As the system does when a process ends."""
        for descriptor in list(self._open):
            self.close(descriptor)

    def listdir(self, path: Any) -> list[str]:
        self._note("look", self._of(path))
        return os.listdir(path)

    def unlink(self, path: Any) -> None:
        self._note("unlink", self._of(path))
        os.unlink(path)

    def write(self, descriptor: int, data: Any) -> int:
        data = bytes(data[: max(1, len(data) // 2)])  # short writes are legal
        self._note("write", self._open[descriptor], data)
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        self._note("fsync", self._open[descriptor])

    def rename(self, old: Any, new: Any) -> None:
        self._note("rename", self._of(old), self._of(new))
        os.rename(old, new)

    def rmtree(self, path: Any) -> None:
        for each in sorted(Path(path).iterdir()):
            if each.is_dir():
                self.rmtree(each)
            else:
                self._note("unlink", self._of(each))
                os.unlink(each)
        self._note("rmdir", self._of(path))
        os.rmdir(path)

    def disk_usage(self, path: Any) -> Any:
        return shutil.disk_usage(path)

    def acknowledged(self) -> None:
        """The writer was told that all is on the disk."""
        self._note("acknowledged")


class Node:
    """A file or folder: what programs see, and what is on the disk for certain."""

    def __init__(self, names: dict[str, Node] | None) -> None:
        self.names = names
        self.forced_names = dict(names) if names is not None else None
        self.data = b""
        self.forced_data = b""


class Disk:
    """See the module. It begins with what lies under `root`, all of it on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = self._read(root)
        self.is_acknowledged = False

    def _read(self, path: Path) -> Node:
        if path.is_dir():
            return Node({each.name: self._read(each) for each in sorted(path.iterdir())})
        node = Node(None)
        node.data = node.forced_data = path.read_bytes()
        return node

    def _at(self, path: str) -> Node:
        node = self.root
        for part in Path(path).parts:
            assert node.names is not None
            node = node.names[part]
        return node

    def _folder(self, path: str) -> tuple[dict[str, Node], str]:
        names = self._at(str(Path(path).parent)).names
        assert names is not None
        return names, Path(path).name

    def apply(self, call: tuple[Any, ...]) -> None:
        kind, *rest = call
        if kind == "acknowledged":
            self.is_acknowledged = True
        elif kind == "look":
            pass
        elif kind in ("mkdir", "create"):
            names, name = self._folder(rest[0])
            names[name] = Node({} if kind == "mkdir" else None)
        elif kind == "write":
            self._at(rest[0]).data += rest[1]
        elif kind == "fsync":
            node = self._at(rest[0])
            node.forced_data = node.data
            node.forced_names = dict(node.names) if node.names is not None else None
        elif kind == "rename":
            old, name = self._folder(rest[0])
            node = old.pop(name)
            new, name = self._folder(rest[1])
            new[name] = node
        else:
            names, name = self._folder(rest[0])
            del names[name]

    def after_power_cut(self, seeds: range) -> Iterator[Node]:
        """What may be there: the least, all names with the least bytes, all, and one mixture a seed."""
        yield self._left(self.root, lambda: False, lambda: False)
        yield self._left(self.root, lambda: True, lambda: False)
        yield self._left(self.root, lambda: True, lambda: True)
        for seed in seeds:
            chosen = random.Random(seed)
            yield self._left(
                self.root, lambda c=chosen: c.random() < 0.5, lambda c=chosen: c.random() < 0.5
            )

    def _left(self, node: Node, has_names: Any, has_data: Any) -> Node:
        if node.names is None:
            left = Node(None)
            left.data = node.data if has_data() else node.forced_data
            return left
        assert node.forced_names is not None
        names = node.names if has_names() else node.forced_names
        return Node({name: self._left(each, has_names, has_data) for name, each in names.items()})


def materialize(node: Node, path: Path) -> None:
    """Writes a tree to a place where there is none."""
    if node.names is None:
        path.write_bytes(node.data)
        return
    path.mkdir()
    for name, each in node.names.items():
        materialize(each, path / name)
