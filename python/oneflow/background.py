"""One job at a time on a thread of its own: the writing of checkpoints while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .errors import CheckpointError


class Background:
    """Runs a job while its owner does something else. Owner: a train step. Threads: its owner's alone.

    The interpreter waits for a job that is under way before it ends: the thread is no daemon. A job must hold neither
    step nor model, whose session would live as long.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._result: CheckpointError | BaseException | None = None

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def outcome(self) -> CheckpointError | None:
        """Why the last job failed, as far as that is known by now; `wait` says it again."""
        failed = None if self.is_busy else self._result
        return failed if isinstance(failed, CheckpointError) else None

    def start(self, job: Callable[[], CheckpointError | None]) -> None:
        """Begins a job; what it returns is the reason why it has failed. The one before must be over: `wait`."""
        assert self._thread is None, "two jobs would write at once"

        def run() -> None:
            try:
                self._result = job()
            except BaseException as error:  # told to whoever waits
                self._result = error

        self._result = None
        self._thread = threading.Thread(target=run, name="oneflow-checkpoint")
        self._thread.start()

    def failed(self, error: CheckpointError) -> None:
        """A job that could not begin."""
        assert self._thread is None, "another is under way"
        self._result = error

    def wait(self) -> CheckpointError | None:
        """Returns when nothing is under way: the reason why the last job failed, once, None if it did not. What only a
        bug raises is raised here."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        result, self._result = self._result, None
        if result is None or isinstance(result, CheckpointError):
            return result
        raise result
