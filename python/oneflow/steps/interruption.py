"""Ctrl-C falls between two steps, and SIGTERM leaves time for a checkpoint."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn

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


# A scheduler signals the launcher, which hands it on, and the ranks as well: within so long that is one signal.
_SAME_SIGNAL_SECONDS = 3.0
_LOOK_SECONDS = 0.1  # between two looks at signals, where ranks agree


class Termination:
    """While a run that keeps checkpoints lasts, SIGTERM asks for one more and then ends the program.

    Of several ranks one is enough: they agree on the boundary between two steps that all of them stop at
    (comm/stop_agreement.h), also those that were not signalled or have handlers of their own.
    """

    def __init__(self, active: bool) -> None:
        self._ranks = environment.transport() if active else None
        self._active = (
            active
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        )
        self._asked_at = math.inf

    def __enter__(self) -> Termination:
        if self._active:
            signal.signal(signal.SIGTERM, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> Any:
        now = time.monotonic()
        if now > self._asked_at + _SAME_SIGNAL_SECONDS:  # a second one does not wait
            self._reset()
            signal.raise_signal(signal.SIGTERM)
        self._asked_at = min(now, self._asked_at)
        if self._ranks is not None:
            self._ranks.ask_to_stop()

    @property
    def asked(self) -> bool:
        """Whether this process was signalled."""
        return self._asked_at < math.inf

    def stops_here(self) -> bool:
        """Whether the program ends between these two steps. Every rank asks after every step."""
        if self._ranks is None:
            return self.asked
        while (stops := self._ranks.pass_boundary(_LOOK_SECONDS)) is None:
            pass
        return bool(stops)

    def _reset(self) -> None:
        if self._active:
            self._active = False
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    @staticmethod
    def end() -> NoReturn:
        """Ends the program as SIGTERM does."""
        raise SystemExit(128 + signal.SIGTERM)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        left_early = self._active and self.asked and kind is GeneratorExit
        self._reset()
        if left_early:  # the program would go on without having ended
            signal.raise_signal(signal.SIGTERM)
