"""A connection between two launchers: JSON messages in both directions, one a line.

    {"do": "start", ...}      what one side wants done
    {"said": "ended", ...}    what the other has seen
    {}                        a beat: nothing to say, but alive

Over ssh the pipe is private to its two ends. Over TCP every line begins with a MAC over its number and its text,
under a key for each direction that the handshake has made (`admission.py`), so that nobody in between can put in,
drop, repeat or change a message unseen. Threads of its own: one reads, one writes; neither side ever waits for a
peer that has gone.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import queue
import threading
import time
from collections.abc import Callable
from typing import IO, Any

BEAT_SECONDS = 0.5
SILENCE_SECONDS = 5.0  # then the other side counts as lost
_OWN_GAP_SECONDS = 2.0  # between two looks: then it was this process that did not run
_LONGEST_MESSAGE = 8 << 20
_WAITING_MESSAGES = 1000  # then whoever has more to say waits

Message = dict[str, Any]
OnMessage = Callable[[Message], None]


def sign(key: bytes, number: int, text: bytes) -> bytes:
    return hmac.new(key, number.to_bytes(8, "little") + text, "sha256").hexdigest().encode()


class Link:
    """One end. `on_message` is called on a thread of the link, for one message after the other."""

    def __init__(
        self,
        source: IO[bytes],
        sink: IO[bytes],
        on_message: OnMessage,
        keys: tuple[bytes, bytes] | None = None,  # of what is read and of what is written
    ) -> None:
        self._source = source
        self._sink = sink
        self._on_message = on_message
        self._keys = keys
        self._outbox: queue.Queue[Message | None] = queue.Queue(_WAITING_MESSAGES)
        self._heard: float | None = None  # when something came; None: not begun
        self._looked = time.monotonic()
        self._delivering = False
        self._why = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._writer = threading.Thread(target=self._write, daemon=True)

    def begin(self) -> None:
        self._reader.start()
        self._writer.start()
        self._heard = time.monotonic()

    def send(self, **message: Any) -> None:
        """Waits while too much is unsent; does nothing once the link is over."""
        while not self._why:
            with contextlib.suppress(queue.Full):
                self._outbox.put(message, timeout=1)
                return

    def lost(self) -> str:
        """Why the other side is out of reach; empty while it is not. Looked at all the time: who was stopped himself
        gives the other side another period."""
        now = time.monotonic()
        if self._heard is not None and now - self._looked > _OWN_GAP_SECONDS:
            self._heard = now
        self._looked = now
        if not self._why and self.silence() > SILENCE_SECONDS:
            self._why = f"no sign of life for {SILENCE_SECONDS:.0f} s"
        return self._why

    def silence(self) -> float:
        """Seconds since something came; 0 while we ourselves are busy with it."""
        if self._heard is None or self._delivering:
            return 0.0
        return time.monotonic() - self._heard

    def close(self) -> None:
        """Sends what is unsent, within a second, and nothing more."""
        if self._heard is None:  # never begun
            self._end("closed")
            return
        with contextlib.suppress(queue.Full):
            self._outbox.put(None, timeout=1)
        self._writer.join(timeout=1)
        self._end("closed")

    def _end(self, why: str) -> None:
        self._why = self._why or why

    def _read(self) -> None:
        number = 0
        try:
            while line := self._source.readline(_LONGEST_MESSAGE):
                message = self._open(line, number)
                number += 1
                self._delivering = True
                try:
                    if message:
                        self._on_message(message)
                finally:
                    self._heard = time.monotonic()
                    self._delivering = False
            self._end("the connection was closed")
        except OSError as error:
            self._end(f"the connection broke ({error.strerror or error})")
        except ValueError as error:
            self._end(f"it broke the protocol ({error})")

    def _open(self, line: bytes, number: int) -> Message:
        text = line.rstrip(b"\n")
        if self._keys is not None:
            mac, _, text = text.partition(b" ")
            if not hmac.compare_digest(mac, sign(self._keys[0], number, text)):
                raise ValueError("a message that nobody of this job has sent")
        message = json.loads(text)
        if not isinstance(message, dict):
            raise ValueError("a message that is no object")
        return message

    def _write(self) -> None:
        number = 0
        while True:
            try:
                message = self._outbox.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                message = {}
            if message is None:
                return
            text = json.dumps(message).encode()
            if self._keys is not None:
                text = sign(self._keys[1], number, text) + b" " + text
            number += 1
            try:
                self._sink.write(text + b"\n")
                self._sink.flush()
            except (OSError, ValueError) as error:
                self._end(f"the connection broke ({error})")
                return
