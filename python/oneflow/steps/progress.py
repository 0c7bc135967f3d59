"""Progress of step.run: a bar with rich on a terminal, plain lines elsewhere; rank 0 only."""

from __future__ import annotations

import sys
import time
from typing import Any

from .. import environment
from .metrics import Metrics

_SECONDS_BETWEEN_UPDATES = 0.5
_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """A context manager; `show` may be called after every step and looks at a metric only when it prints."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title = title
        self._total = total
        self._bar: Any = None
        self._task: Any = None
        self._quiet = environment.rank() != 0
        self._started = self._shown = time.monotonic()
        self._first: int | None = None

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            try:
                from rich.console import Console
                from rich.progress import (
                    BarColumn,
                    MofNCompleteColumn,
                    TextColumn,
                    TimeRemainingColumn,
                )
                from rich.progress import Progress as Bar
            except ImportError:
                return self
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, note="")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, step: int, metrics: Metrics) -> None:
        """Tells where the run stands, at most a few times a second (a line every ten seconds off a terminal)."""
        if self._quiet:
            return
        if self._first is None:
            self._first = step - 1
        now = time.monotonic()
        done = step == self._total
        pause = _SECONDS_BETWEEN_UPDATES if self._bar is not None else _SECONDS_BETWEEN_LINES
        if now - self._shown < pause and not done:
            return
        self._shown = now
        rate = (step - self._first) / max(now - self._started, 1e-9)
        note = f"loss {float(metrics['loss']):.4f}, {rate:.1f} steps/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, note=note)
        else:
            total = f"/{self._total}" if self._total is not None else ""
            print(f"{self._title}: step {step}{total}, {note}", file=sys.stderr, flush=True)
