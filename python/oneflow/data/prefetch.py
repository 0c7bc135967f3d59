"""Prefetch: a thread that reads ahead, so that a step need not wait for its batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

_SECONDS_TO_STOP = 5.0


class _Channel:
    """At most `room` items between one producer and one consumer; either may end it."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: deque[tuple[bool, Any]] = deque()
        self._changed = threading.Condition()
        self._ended = False  # the producer has nothing more
        self._closed = False  # the consumer wants nothing more

    def put(self, item: Any, is_error: bool = False) -> bool:
        """Waits for room; False once the consumer has gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._room)
            self._items.append((is_error, item))
            self._changed.notify_all()
            return not self._closed

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Any]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended)
                if not self._items:
                    return
                is_error, item = self._items.popleft()
                self._changed.notify_all()
            if is_error:
                raise item
            yield item


def prefetch(open_source: Callable[[threading.Event], Iterator[Any]], ahead: int) -> Iterator[Any]:
    """The items of `open_source(cancelled)`, up to `ahead` of them read before they are asked for.

    The source is opened, read and closed on a thread of its own. What it raises is raised here, in its turn;
    `cancelled` is set once nobody wants its items.
    """
    channel = _Channel(ahead)
    cancelled = threading.Event()

    def produce() -> None:
        try:
            source = open_source(cancelled)
            try:
                for item in source:
                    if not channel.put(item):
                        return
            finally:
                if callable(close := getattr(source, "close", None)):
                    close()
        except BaseException as error:  # to the thread that asks for items
            channel.put(error, is_error=True)
        finally:
            channel.end()

    thread = threading.Thread(target=produce, name="oneflow-data", daemon=True)
    thread.start()
    try:
        yield from channel
    finally:
        cancelled.set()
        channel.close()
        # The next epoch must not read the dataset while this thread still does; one that hangs in the dataset
        # is left to end with the process.
        thread.join(_SECONDS_TO_STOP)
