"""Attacks on the bytes between two ranks that train: a man in the middle changes what rank 1 says to rank 0.

Rank 0 must name rank 1 and what was wrong; rank 1 must hear that rank 0 has given it up.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Callable

from tests.attacks import wire
from tests.attacks.job import PROGRAM, Job
from tests.attacks.proxy import Pipe, Proxy
from tests.attacks.table import AFTER_SILENCE, AT_ONCE, assert_fails, attack

LOST = "rank 0 lost rank 1 ({}"
BROKE = "rank 0 lost rank 1 (it broke the protocol: {}"
# Long after both ranks have begun to train.
LATER = 20

Blow = Callable[[Pipe, wire.Frame], None]


def unchanged(part: bytes) -> bytes:
    return part


def run(
    job: Job,
    blow: Blow,
    words: str,
    *,
    beats: Callable[[bytes], bytes] = unchanged,
    limit: float = AT_ONCE,
) -> None:
    """Trains with the man in the middle, who strikes once at the LATER-th message."""
    struck: list[float] = []

    def tamper(pipe: Pipe, frame: wire.Frame) -> None:
        if frame.type == wire.DATA and pipe.data_frames == LATER and not struck:
            struck.append(time.monotonic())
            blow(pipe, frame)
        else:
            pipe.send(frame)

    job.path = "tcp"  # the rest of a job's bytes are in frames anyway
    proxy = Proxy(job.port, tamper, lambda part: beats(part) if struck else part)
    job.at_end(proxy.close)
    zero = job.rank(0, PROGRAM, "1000000", "pass")
    one = job.rank(1, PROGRAM, "1000000", "pass", port=proxy.port)
    assert_fails(zero, words, struck[0] if struck else time.monotonic(), limit)
    assert one.end() == 1, one.text()
    assert "PeerError" in one.err[-1] or any("PeerError" in line for line in one.err), one.text()


def sends(change: Callable[[wire.Frame], wire.Frame]) -> Blow:
    return lambda pipe, frame: pipe.send(change(frame))


@attack(fast=True)
def a_short_payload(job: Job) -> None:
    short = sends(lambda frame: wire.Frame(wire.DATA, frame.channel, frame.payload[:-4]))
    run(job, short, BROKE.format("a message of "))


@attack()
def a_long_payload(job: Job) -> None:
    long = sends(lambda frame: wire.Frame(wire.DATA, frame.channel, frame.payload + b"\0" * 4))
    run(job, long, BROKE.format("a message of "))


@attack()
def an_empty_payload(job: Job) -> None:
    empty = sends(lambda frame: wire.Frame(wire.DATA, frame.channel))
    run(job, empty, BROKE.format("a message of 0 bytes"))


def flip(at: int) -> Blow:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        encoded = pipe.encoded(frame)
        encoded[at] ^= 4
        pipe.raw(bytes(encoded))

    return blow


@attack(fast=True)
def a_flipped_bit_in_a_payload(job: Job) -> None:
    run(job, flip(24 + 5), BROKE.format("the payload of a frame of type 1"))


@attack()
def a_flipped_bit_in_a_checksum(job: Job) -> None:
    run(job, flip(-1), BROKE.format("the payload of a frame of type 1"))


@attack()
def a_flipped_bit_in_a_header(job: Job) -> None:
    run(job, flip(5), BROKE.format("a frame's header arrived damaged"))


@attack()
def a_frame_that_comes_twice(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        encoded = bytes(pipe.encoded(frame))
        pipe.raw(encoded + encoded)

    run(job, blow, BROKE.format("frame "))


@attack()
def a_frame_that_is_lost(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.encoded(frame)
        pipe.send(wire.Frame(wire.CONTROL, 999))

    run(job, blow, BROKE.format("frame "))


@attack(fast=True)
def a_flood_of_credits(job: Job) -> None:
    """On a channel that rank 1 may give credits for: the last one that it has given one for."""

    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.send(frame)
        for _ in range(100):
            pipe.send(wire.Frame(wire.CREDIT, pipe.credited[-1]))

    run(job, blow, BROKE.format("more credits on channel `"))


@attack()
def credits_for_channels_of_others(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.send(wire.Frame(wire.CREDIT, frame.channel))  # rank 0 reads there, it grants

    run(job, blow, BROKE.format("a credit for channel "))


@attack(fast=True)
def word_of_a_message_that_was_not_sent(job: Job) -> None:
    """Its messages are short ones, of which nothing is lent."""

    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.send(frame)
        pipe.send(wire.Frame(wire.TAKEN, pipe.credited[-1]))

    run(job, blow, BROKE.format("word of a message that was not sent"))


def stop_word(word: int, number: int) -> Blow:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.send(wire.Frame(wire.STOP, word, struct.pack("<Q", number)))
        pipe.send(frame)

    return blow


@attack(fast=True)
def a_follower_that_says_where_to_stop(job: Job) -> None:
    run(job, stop_word(3, 1), BROKE.format("the word 3 of where to stop"))


@attack()
def a_count_of_steps_that_nobody_has_asked_for(job: Job) -> None:
    run(job, stop_word(2, 2**64 - 1), BROKE.format("the word 2 of where to stop"))


@attack()
def a_stop_word_without_its_number(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.send(wire.Frame(wire.STOP, 0))

    run(job, blow, BROKE.format("a word of where to stop without its number"))


@attack()
def messages_without_a_slot(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        for _ in range(50):
            pipe.send(frame)

    run(job, blow, BROKE.format("a message on channel `"))


@attack()
def an_unknown_channel(job: Job) -> None:
    unknown = sends(lambda frame: wire.Frame(wire.DATA, 4_000_000_000, frame.payload))
    run(job, unknown, BROKE.format("a message for channel 4000000000, which it has no part in"))


@attack()
def an_unknown_type(job: Job) -> None:
    run(job, sends(lambda frame: wire.Frame(99, 0)), BROKE.format("a frame of the unknown type 99"))


@attack(fast=True)
def a_huge_control_frame(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.raw(wire.header_only(wire.CONTROL, 0, 32 << 20, pipe.sequence))

    run(job, blow, BROKE.format("a control frame of 33554432 bytes"))


@attack()
def a_header_that_promises_for_ever(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.raw(wire.header_only(wire.DATA, frame.channel, (1 << 64) - 1, pipe.sequence))

    run(job, blow, BROKE.format("a message of 18446744073709551615 bytes"))


@attack()
def control_frames_that_nobody_awaits(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        for number in range(24):
            pipe.send(wire.Frame(wire.CONTROL, 1000 + number, b"x" * 1000))

    run(job, blow, BROKE.format("it is 16 pieces"))


@attack()
def a_long_abort(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.raw(wire.header_only(wire.ABORT, 0xFFFFFFFF, 1 << 20, pipe.sequence))

    run(job, blow, BROKE.format("an abort of 1048576 bytes"))


@attack()
def a_farewell_in_the_middle(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.send(wire.Frame(wire.BYE, 0))

    run(job, blow, "rank 1 ended and owes")


@attack()
def a_frame_after_the_farewell(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.send(frame)
        pipe.send(wire.Frame(wire.BYE, 0))
        pipe.send(frame)

    run(job, blow, "rank 1 ended and owes")


@attack(fast=True, racy=True)
def an_abort_and_then_a_reset(job: Job) -> None:
    """The abort was received: it must not be lost behind a write that fails."""

    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.send(wire.Frame(wire.ABORT, 0xFFFFFFFF, b"ShapeError at mlp.py:7"))
        reset(pipe)

    run(job, blow, "stopped because rank 1 failed: ShapeError at mlp.py:7")


def reset(pipe: Pipe) -> None:
    """Sends a RST at once: to connect to no family dissolves a connection, whoever else reads from it."""
    nowhere = struct.pack("<H14x", socket.AF_UNSPEC)
    assert ctypes.CDLL(None).connect(pipe.target.fileno(), nowhere, len(nowhere)) == 0
    raise EOFError


@attack(racy=True)
def a_reset_connection(job: Job) -> None:
    run(job, lambda pipe, frame: reset(pipe), LOST.format(""))


@attack(racy=True)
def a_half_closed_connection(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.target.shutdown(socket.SHUT_WR)

    run(job, blow, LOST.format("it closed the connection"))


@attack(racy=True)
def a_connection_cut_in_a_payload(job: Job) -> None:
    def blow(pipe: Pipe, frame: wire.Frame) -> None:
        pipe.raw(bytes(pipe.encoded(frame)[:40]))
        pipe.target.shutdown(socket.SHUT_WR)

    run(job, blow, LOST.format("it closed the connection"))


@attack()
def silent_heartbeats(job: Job) -> None:
    words = LOST.format("no heartbeat for 5 s")
    run(job, lambda pipe, frame: pipe.send(frame), words, beats=lambda _: b"", limit=AFTER_SILENCE)


@attack()
def heartbeats_of_garbage(job: Job) -> None:
    words = LOST.format("it broke the protocol: what came over the heartbeat's connection")
    run(job, lambda pipe, frame: pipe.send(frame), words, beats=lambda _: b"garbage!")


@attack()
def a_slow_connection(job: Job) -> None:
    """Frames in pieces of three bytes: slower, and the same numbers."""

    def tamper(pipe: Pipe, frame: wire.Frame) -> None:
        if pipe.data_frames == 3:
            encoded = bytes(pipe.encoded(frame))
            for at in range(0, min(len(encoded), 600), 3):
                pipe.raw(encoded[at : at + 3])
            pipe.raw(encoded[600:])
        else:
            pipe.send(frame)

    job.path = "tcp"  # the rest of a job's bytes are in frames anyway
    proxy = Proxy(job.port, tamper, unchanged)
    job.at_end(proxy.close)
    zero = job.rank(0, PROGRAM, "8", "pass")
    one = job.rank(1, PROGRAM, "8", "pass", port=proxy.port)
    assert (zero.end(), one.end()) == (0, 0), zero.text() + one.text()
    assert zero.wait_for("loss") == one.wait_for("loss")
