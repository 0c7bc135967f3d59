"""Ctrl-C falls between two steps, and SIGTERM leaves time for a checkpoint."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from .. import environment


@contextlib.contextmanager
def between_steps() -> Iterator[None]:
    """A Ctrl-C inside is raised at the end; a second one at once. Handlers of the user's own are left alone."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    came = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


class Termination:
    """While a run that keeps checkpoints lasts, SIGTERM asks for one more and then ends the program.

    In one process only: ranks are told at different steps, and the launcher ends jobs by it.
    """

    def __init__(self, active: bool) -> None:
        self._active = (
            active
            and environment.world_size() == 1
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        )
        self.asked = False

    def __enter__(self) -> Termination:
        if self._active:
            signal.signal(signal.SIGTERM, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> Any:
        if self.asked:  # a second one does not wait
            self._reset()
            signal.raise_signal(signal.SIGTERM)
        self.asked = True

    def _reset(self) -> None:
        if self._active:
            self._active = False
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def end_if_asked(self) -> None:
        """Ends the program as SIGTERM does."""
        if self.asked:
            raise SystemExit(128 + signal.SIGTERM)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reset()
