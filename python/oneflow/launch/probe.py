"""python -m oneflow.launch.probe: doctor's hand on another host, at the other end of an ssh. Nobody types this.

Answers questions over stdin and stdout (`link.py`): what the host is like, what time it is there, how fast bytes go
from it to another host.
"""

from __future__ import annotations

import hmac
import os
import queue
import secrets
import socket
import sys
import threading
import time
from typing import Any

from .. import addresses
from . import findings
from .link import Link, Message
from .ssh import GREETING

PINGS = 200
BULK = 64 << 20
_PART = 1 << 20
_SECONDS = 30.0


def _receive(connection: socket.socket, count: int) -> bytearray:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), _PART))
        if not part:
            raise OSError("the other host closed the connection")
        parts += part
    return parts


def answer(listener: socket.socket, token: bytes) -> None:
    """Serves one measurement: echoes pings, then swallows bytes."""
    with listener:
        listener.settimeout(_SECONDS)
        connection, _ = listener.accept()
    with connection:
        connection.settimeout(_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not hmac.compare_digest(_receive(connection, len(token)), token):
            return
        for _ in range(PINGS):
            connection.sendall(_receive(connection, 8))
        left = BULK
        while left:
            left -= len(_receive(connection, min(left, _PART)))
        connection.sendall(b"all here")


def measure(address: str, port: int, token: bytes) -> dict[str, float]:
    """Half a round trip (median, microseconds) and megabytes per second."""
    with socket.create_connection((address, port), timeout=10) as connection:
        connection.settimeout(_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(token)
        trips = []
        for _ in range(PINGS):
            begin = time.perf_counter()
            connection.sendall(b"12345678")
            _receive(connection, 8)
            trips.append(time.perf_counter() - begin)
        part = bytes(_PART)
        begin = time.perf_counter()
        for _ in range(BULK // _PART):
            connection.sendall(part)
        _receive(connection, 8)
        seconds = time.perf_counter() - begin
    return {
        "latency_us": round(sorted(trips)[PINGS // 2] / 2 * 1e6, 1),
        "megabytes_per_s": round(BULK / seconds / 1e6, 1),
    }


def _reply(message: Message) -> dict[str, Any]:
    ask = message.get("ask")
    if ask == "look":
        return {"findings": [vars(each) for each in findings.look(int(message["port"]))]}
    if ask == "time":
        return {"time": time.time()}
    if ask == "listen":
        words = os.environ.get("SSH_CONNECTION", "").split()
        address = str(message["address"]) or (words[2] if len(words) == 4 else "")
        listener = addresses.listen(addresses.own_address(address), 0)
        token = secrets.token_bytes(32)
        threading.Thread(target=answer, args=(listener, token), daemon=True).start()
        name = listener.getsockname()
        return {"address": name[0], "port": name[1], "token": token.hex()}
    if ask == "measure":
        token = bytes.fromhex(message["token"])
        return dict(measure(str(message["address"]), int(message["port"]), token))
    raise ValueError(f"unknown question {ask}")


def main() -> int:
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions: queue.Queue[Message] = queue.Queue()
    link = Link(source, sink, questions.put)
    sink.write(GREETING)
    sink.flush()
    link.begin()
    while not link.lost():
        try:
            message = questions.get(timeout=0.2)
        except queue.Empty:
            continue
        try:
            reply = _reply(message)
        except (OSError, ValueError, addresses.AddressError) as error:
            reply = {"problem": str(error)}
        link.send(answers=message.get("number"), **reply)
    return 0


if __name__ == "__main__":
    sys.exit(main())
