"""A man in the middle of the two ranks of a job: passes the handshake on, then does with the frames what it likes.

It does not know the secret. Rank 1 believes it to be rank 0 (its MASTER_PORT is the proxy's).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

from tests.attacks import wire

# What is done with a frame on its way to rank 0: the pipe, and the frame.
Tamper = Callable[["Pipe", wire.Frame], None]


class Pipe:
    """One direction of the data connection. `send` numbers frames as the reader expects them."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.sequence = 0
        self.data_frames = 0  # that came
        self.credited: list[int] = []  # channels, by the credits that came

    def send(self, frame: wire.Frame) -> None:
        self.target.sendall(frame.encode(self.sequence))
        self.sequence += 1

    def encoded(self, frame: wire.Frame) -> bytearray:
        """The next frame's bytes, to be changed before they go to `raw`."""
        encoded = bytearray(frame.encode(self.sequence))
        self.sequence += 1
        return encoded

    def raw(self, data: bytes) -> None:
        self.target.sendall(data)


class Proxy:
    """Listens at `port`. Threads of its own, until close."""

    def __init__(self, target_port: int, tamper: Tamper, beats: Callable[[bytes], bytes]) -> None:
        self._target_port = target_port
        self._tamper = tamper
        self._beats = beats
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def close(self) -> None:
        for open_socket in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            # One side has gone: so has the connection.
            with contextlib.suppress(OSError, EOFError):
                work(*arguments)

        threading.Thread(target=run, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connector, _ = self._listener.accept()
            self._start(self._join, connector)

    def _join(self, connector: socket.socket) -> None:
        acceptor = self._dial()
        self._sockets += [connector, acceptor]
        for end in (connector, acceptor):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = self._pass(connector, acceptor, 96)
        self._pass(acceptor, connector, 64)
        self._pass(connector, acceptor, 32)
        self._pass(acceptor, connector, 4)
        if struct.unpack_from("<I", hello, 20)[0] == wire.TO_BEATS:
            self._start(self._forward, connector, acceptor, self._beats)
            self._start(self._forward, acceptor, connector, lambda part: part)
            return
        self._pass(connector, acceptor, 36)  # where it is
        self._pass(acceptor, connector, 72)  # the table
        self._start(self._forward, acceptor, connector, lambda part: part)
        self._start(self._forward_frames, Pipe(connector, acceptor))

    def _dial(self) -> socket.socket:
        while True:  # rank 0 may not listen yet
            with contextlib.suppress(ConnectionRefusedError):
                return wire.dial(self._target_port)

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, count: int) -> bytes:
        part = wire.read_exactly(source, count)
        target.sendall(part)
        return part

    @staticmethod
    def _forward(
        source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]
    ) -> None:
        try:
            while part := source.recv(1 << 16):
                target.sendall(change(part))
        finally:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)

    def _forward_frames(self, pipe: Pipe) -> None:
        try:
            while True:
                frame = wire.read_frame(pipe.source)
                pipe.data_frames += frame.type == wire.DATA
                if frame.type == wire.CREDIT:
                    pipe.credited.append(frame.channel)
                self._tamper(pipe, frame)
        finally:
            with contextlib.suppress(OSError):
                pipe.target.shutdown(socket.SHUT_RDWR)
