"""What long runs keep in build/NAME, so that a run goes on where it stopped."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from tools import results


def folder(name: str, anew: bool) -> Path:
    """build/`name`; empty if `anew`."""
    path = results.ROOT / "build" / name
    if anew:
        shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, exist_ok=True)
    return path


class Done:
    """The pieces of a run that held, a line of JSON each in `done.jsonl` of its folder. Threads: any.

    Each has the commit that it held on: a run that went on over several says so in its record, for what is older
    than the code that it judges counts as not run.
    """

    def __init__(self, where: Path) -> None:
        self._path = where / "done.jsonl"
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self.pieces: list[dict[str, Any]] = [json.loads(line) for line in lines]
        head, changed = results.commit()
        self._commit = head[:12] + ("+" if changed else "")
        self._lock = threading.Lock()

    def add(self, **piece: Any) -> None:
        piece["commit"] = self._commit
        with self._lock:
            self.pieces.append(piece)
            with open(self._path, "a") as file:
                file.write(json.dumps(piece) + "\n")

    def commits(self) -> dict[str, int]:
        """How many pieces held on each commit; "+" behind one whose files were changed."""
        return dict(Counter(piece["commit"] for piece in self.pieces))
