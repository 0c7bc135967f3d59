"""The wire format as an attacker writes it: from docs/wire_format.md, with plain sockets, not with our client."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
from dataclasses import dataclass

MAGIC = 0x4F464C57
VERSION = 8
DATA, CREDIT, CONTROL, ABORT, BYE, STOP, TAKEN = 1, 2, 3, 4, 5, 7, 8
TO_DATA, TO_BEATS = 0, 1
WELCOME = b"\0\0\0\0"

_HEADER = struct.Struct("<IIQI")


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state = (state >> 8) ^ _TABLE[(state ^ byte) & 255]
    return state ^ 0xFFFFFFFF


@dataclass
class Frame:
    """A frame without its number on the connection."""

    type: int
    channel: int
    payload: bytes = b""

    def encode(self, sequence: int) -> bytes:
        header = _HEADER.pack(self.type, self.channel, len(self.payload), sequence)
        trailer = struct.pack("<I", crc32c(self.payload)) if self.payload else b""
        return header + struct.pack("<I", crc32c(header)) + self.payload + trailer


def header_only(type: int, channel: int, claimed: int, sequence: int) -> bytes:
    """A header that promises `claimed` bytes."""
    header = _HEADER.pack(type, channel, claimed, sequence)
    return header + struct.pack("<I", crc32c(header))


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """That many bytes; EOFError if the other side closes."""
    parts = []
    while count > 0:
        part = connection.recv(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_frame(connection: socket.socket) -> Frame:
    header = read_exactly(connection, 24)
    kind, channel, count, _ = _HEADER.unpack(header[:20])
    payload = read_exactly(connection, count + 4)[:count] if count else b""
    return Frame(kind, channel, payload)


@dataclass
class Claim:
    """What a connector says of itself in its hello."""

    secret: bytes
    job: str
    rank: int = 1
    peer: int = 0
    world_size: int = 2
    purpose: int = TO_DATA
    epoch: int = 0
    version: int = VERSION
    magic: int = MAGIC

    def hello(self) -> bytes:
        fields = (self.magic, self.version, self.world_size, self.rank, self.peer, self.purpose)
        job = hashlib.sha256(self.job.encode()).digest()
        return struct.pack("<6IQ", *fields, self.epoch) + job + os.urandom(32)


def mac(secret: bytes, text: bytes) -> bytes:
    return hmac.new(secret, text, hashlib.sha256).digest()


def dial(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def introduce(connection: socket.socket, claim: Claim) -> bytes:
    """The connector's part of the handshake, done right; returns the verdict: WELCOME, or a refusal's text."""
    hello = claim.hello()
    connection.sendall(hello)
    answer = read_exactly(connection, 64)
    nonce, theirs = answer[:32], answer[32:]
    assert theirs == mac(claim.secret, b"acceptor" + hello + nonce)
    connection.sendall(mac(claim.secret, b"connector" + hello + nonce + theirs))
    verdict = read_exactly(connection, 4)
    if verdict == WELCOME:
        return verdict
    return read_exactly(connection, struct.unpack("<I", verdict)[0])


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed, or closes within 10 s, without another byte."""
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
