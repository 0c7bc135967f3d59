"""How launchers of several hosts find each other: the first one's door, and those who knock.

Over TCP, with a secret that the user has given to all of them: who knocks and who opens prove to each other that
they know it (HMAC-SHA256 over both nonces) before anything else is read; `docs/wire_format.md` has the bytes. A
stranger gets 72 bytes and 5 s, and no answer.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable

from .link import Link, Message, OnMessage

_MAGIC = struct.pack("<II", 0x4F464C43, 1)
_NONCE = 32
_MOST_PENDING = 64
_HANDSHAKE_SECONDS = 5.0


class Refused(Exception):
    """The other side does not want us, or is not who it should be; the text says why."""


def _mac(secret: bytes, *parts: bytes) -> bytes:
    return hmac.new(secret, b"".join(parts), "sha256").digest()


def _read_exactly(connection: socket.socket, count: int, deadline: float) -> bytes:
    parts = b""
    while len(parts) < count:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        part = connection.recv(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts


def _keys(secret: bytes, hello: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    """Of what the one who knocks says, and of what the door says."""
    return (
        _mac(secret, b"from the connector", hello, nonce),
        _mac(secret, b"from the acceptor", hello, nonce),
    )


def _link(connection: socket.socket, keys: tuple[bytes, bytes], on_message: OnMessage) -> Link:
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return Link(
        connection.makefile("rb"),
        connection.makefile("wb"),
        on_message,
        keys,
    )


class Guest:
    """A launcher that has proven the secret, and said who it is."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.hello: Message | None = None
        self._later: list[Message] = []
        self._deliver: OnMessage | None = None
        self._lock = threading.Lock()
        self.said_hello = threading.Event()

    def receive(self, message: Message) -> None:
        with self._lock:
            if self.hello is None:
                self.hello = message
                self.said_hello.set()
            elif self._deliver is None:
                self._later.append(message)
            else:
                self._deliver(message)

    def deliver_to(self, on_message: OnMessage) -> None:
        with self._lock:
            self._deliver = on_message
            for message in self._later:
                on_message(message)


class Door:
    """Where the launchers of the other hosts come in. A thread of its own; guests wait in `arrived`."""

    def __init__(self, listener: socket.socket, secret: bytes) -> None:
        self._listener = listener
        self._secret = secret
        self._pending = threading.Semaphore(_MOST_PENDING)
        self.arrived: queue.Queue[Guest] = queue.Queue()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._pending.acquire(blocking=False):
                connection.close()  # too many at once
                continue
            threading.Thread(target=self._let_in, args=(connection,), daemon=True).start()

    def _let_in(self, connection: socket.socket) -> None:
        try:
            deadline = time.monotonic() + _HANDSHAKE_SECONDS
            hello = _read_exactly(connection, len(_MAGIC) + _NONCE, deadline)
            if not hello.startswith(_MAGIC):
                raise EOFError
            nonce = os.urandom(_NONCE)
            own = _mac(self._secret, b"launcher acceptor", hello, nonce)
            connection.sendall(nonce + own)
            proof = _read_exactly(connection, len(own), deadline)
            expected = _mac(self._secret, b"launcher connector", hello, nonce, own)
            if not hmac.compare_digest(proof, expected):
                raise EOFError
        except (OSError, EOFError):
            connection.close()
            return
        finally:
            self._pending.release()
        guest = Guest()
        guest.link = _link(connection, _keys(self._secret, hello, nonce), guest.receive)
        guest.link.begin()
        if guest.said_hello.wait(_HANDSHAKE_SECONDS):
            self.arrived.put(guest)
        else:
            connection.close()


def knock(
    address: str,
    port: int,
    secret: bytes,
    on_message: OnMessage,
    patience: float,
    stop: Callable[[], bool],
) -> Link:
    """The link to the first host's launcher; waits until it is there. OSError if it never is, Refused if
    somebody else answers."""
    deadline = time.monotonic() + patience
    while True:
        connection: socket.socket | None = None
        try:
            connection = socket.create_connection((address, port), timeout=10)
            hello = _MAGIC + os.urandom(_NONCE)
            connection.sendall(hello)
            limit = time.monotonic() + 2 * _HANDSHAKE_SECONDS
            answer = _read_exactly(connection, 2 * _NONCE, limit)
            nonce, theirs = answer[:_NONCE], answer[_NONCE:]
            if not hmac.compare_digest(theirs, _mac(secret, b"launcher acceptor", hello, nonce)):
                connection.close()
                raise Refused(
                    f"who listens at {address}:{port} does not know the secret of this job: ONEFLOW_SECRET differs "
                    "between the hosts, or another job has the port (choose another --master-port)"
                )
            connection.sendall(_mac(secret, b"launcher connector", hello, nonce, theirs))
            says, hears = _keys(secret, hello, nonce)
            return _link(connection, (hears, says), on_message)
        except (OSError, EOFError) as error:
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.close()
            if time.monotonic() > deadline or stop():
                raise OSError(f"nobody let us in at {address}:{port} ({error})") from None
            time.sleep(0.2)
