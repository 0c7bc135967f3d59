"""What joins launchers: messages under MACs, the door of the first host, and who is turned away there."""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest
from oneflow import addresses
from oneflow.launch import admission, link
from oneflow.launch.link import Link, Message

SECRET = b"s" * 32
KEYS = (b"there" * 8, b"back" * 8)


def wait_until(condition: Callable[[], object], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


class Pair:
    """A link whose lines pass through `change` on their way to the other one."""

    def __init__(self, change: Callable[[bytes], list[bytes]]) -> None:
        near, into = socket.socketpair()
        out, far = socket.socketpair()
        self.sockets = [near, into, out, far]
        self.got: list[Message] = []
        self.sender = Link(near.makefile("rb"), near.makefile("wb"), lambda m: None, KEYS)
        self.reader = Link(far.makefile("rb"), far.makefile("wb"), self.got.append, KEYS[::-1])

        def carry() -> None:
            source, sink = into.makefile("rb"), out.makefile("wb")
            for line in source:
                for each in change(line):
                    sink.write(each)
                    sink.flush()

        threading.Thread(target=carry, daemon=True).start()
        self.sender.begin()
        self.reader.begin()

    def close(self) -> None:
        for each in self.sockets:
            each.shutdown(socket.SHUT_RDWR)


def test_messages_come_whole_and_in_order() -> None:
    pair = Pair(lambda line: [line])
    for number in range(300):
        pair.sender.send(said="line", number=number, text="\udcff\n\0ü")
    assert wait_until(lambda: len(pair.got) == 300)
    assert [message["number"] for message in pair.got] == list(range(300))
    assert pair.got[7]["text"] == "\udcff\n\0ü" and pair.reader.lost() == ""
    pair.close()
    assert wait_until(pair.reader.lost)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: [line.replace(b"end", b"eat")],  # changed on the way
        lambda line: [line, line],  # said twice
        lambda line: [b'{"do": "end"}\n'],  # put in
        lambda line: [] if b"first" in line else [line],  # left out
        lambda line: [line[:70] + b" 7\n"],  # no object
    ],
)
def test_a_message_that_was_touched_loses_the_link(change: Callable[[bytes], list[bytes]]) -> None:
    pair = Pair(change)
    pair.sender.send(do="first")
    pair.sender.send(do="end")
    assert wait_until(pair.reader.lost)
    assert "it broke the protocol" in pair.reader.lost()
    assert {"do": "eat"} not in pair.got and pair.got.count({"do": "end"}) == 0
    pair.close()


def test_silence_loses_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "SILENCE_SECONDS", 0.3)
    pair = Pair(lambda line: [])
    assert wait_until(pair.reader.lost)
    assert "no sign of life" in pair.reader.lost()
    pair.close()


def test_who_was_stopped_itself_gives_the_other_side_another_period(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "SILENCE_SECONDS", 1.0)
    pair = Pair(lambda line: [])
    assert pair.reader.lost() == ""
    hour = time.monotonic() + 3600
    monkeypatch.setattr(link.time, "monotonic", lambda: hour)
    assert pair.reader.lost() == ""
    monkeypatch.setattr(link.time, "monotonic", lambda: hour + 1.5)
    assert "no sign of life" in pair.reader.lost()  # and this time it has looked meanwhile
    monkeypatch.undo()
    pair.close()


class House:
    """A door at a free port, and whoever came in."""

    def __init__(self) -> None:
        listener = addresses.listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.listener = listener
        self.door = admission.Door(listener, SECRET)

    def knock(self, secret: bytes = SECRET) -> Link:
        return admission.knock("127.0.0.1", self.port, secret, lambda m: None, 0.0, lambda: False)

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def guest(self) -> Message | None:
        try:
            return self.door.arrived.get(timeout=10).hello
        except queue.Empty:
            return None


def test_a_launcher_with_the_secret_comes_in_though_strangers_stand_there() -> None:
    house = House()
    silent = [house.dial() for _ in range(20)]
    own = house.knock()
    own.begin()
    own.send(host=1)
    assert house.guest() == {"host": 1}
    for connection in silent:
        connection.close()


def test_a_proof_that_is_none_and_a_replayed_one_open_nothing() -> None:
    house = House()
    hello = struct.pack("<II", 0x4F464C43, 1) + os.urandom(32)
    answer = b""
    for proof in (os.urandom(32), None):
        connection = house.dial()
        connection.sendall(hello)
        answer = connection.recv(64, socket.MSG_WAITALL)
        connection.sendall(proof or answer[32:])  # the second: the door's own proof
        connection.sendall(b"0" * 64 + b' {"host": 1}\n')
        assert connection.recv(1) == b""
        connection.close()
    assert house.door.arrived.empty()


def test_who_listens_must_know_the_secret() -> None:
    house = House()
    with pytest.raises(admission.Refused, match="does not know the secret"):
        house.knock(b"x" * 32)
    house.listener.close()


def test_addresses_that_others_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses.own_address("127.0.0.5") == "127.0.0.5"
    with pytest.raises(addresses.AddressError, match="every address"):
        addresses.own_address("0.0.0.0")
    with pytest.raises(addresses.AddressError, match="has no address here"):
        addresses.own_address("no-such-host.invalid")
    # As Debian's /etc/hosts has it: the host's own name is a loopback address.
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: [(2, 1, 6, "", ("127.0.1.1", 0))])
    monkeypatch.setattr(addresses, "interfaces", lambda: {"eth0": "10.0.0.7"})
    assert addresses.own_address("me") == "10.0.0.7"
    monkeypatch.setattr(addresses, "interfaces", lambda: {"eth0": "10.0.0.7", "ib0": "10.1.0.7"})
    with pytest.raises(addresses.AddressError, match=r"10.0.0.7 \(eth0\), 10.1.0.7 \(ib0\)"):
        addresses.own_address("me")
