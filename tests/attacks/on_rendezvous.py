"""Attacks on ranks that look for each other. The job must start, or say why not."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable

from tests.attacks import wire
from tests.attacks.job import GREETING, Job
from tests.attacks.table import AT_ONCE, assert_fails, attack

Strike = Callable[[Job], object]


def assert_starts_under(job: Job, strike: Strike) -> None:
    """Rank 0 waits, the attacker strikes, rank 1 comes: both find each other nevertheless."""
    zero = job.rank(0, GREETING)
    strike(job)
    one = job.rank(1, GREETING)
    since = time.monotonic()
    for process in (zero, one):
        assert process.end() == 0, process.text()
        assert process.out == ["rank 0, rank 1"]
    assert time.monotonic() - since < AT_ONCE


def assert_shut_out(connection: socket.socket) -> None:
    assert wire.is_closed(connection), "the attacker got an answer"


@attack(fast=True)
def silent_connections(job: Job) -> None:
    """40 connections that never say a word."""
    assert_starts_under(job, lambda job: [job.dial() for _ in range(40)])


@attack()
def more_silent_connections_than_places(job: Job) -> None:
    """300: the oldest make room."""
    assert_starts_under(job, lambda job: [job.dial() for _ in range(300)])


@attack(fast=True)
def garbage(job: Job) -> None:
    def strike(job: Job) -> None:
        for size in (1, 95, 96, 97, 5000):
            connection = job.dial()
            with contextlib.suppress(OSError):
                connection.sendall(os.urandom(size))

    assert_starts_under(job, strike)


@attack()
def a_slow_hello(job: Job) -> None:
    """A byte now and then, for as long as rank 0 bears it."""

    def drip(connection: socket.socket, hello: bytes) -> None:
        with contextlib.suppress(OSError):
            for byte in hello:
                connection.sendall(bytes([byte]))
                time.sleep(0.2)

    def strike(job: Job) -> None:
        for _ in range(20):
            arguments = (job.dial(), job.claim().hello())
            threading.Thread(target=drip, args=arguments, daemon=True).start()

    assert_starts_under(job, strike)


@attack(fast=True)
def a_proof_that_is_none(job: Job) -> None:
    """Rank 1's hello to the letter, and a proof of the secret that is random."""

    def strike(job: Job) -> None:
        for purpose in (wire.TO_DATA, wire.TO_BEATS):
            connection = job.dial()
            connection.sendall(job.claim(purpose=purpose).hello())
            wire.read_exactly(connection, 64)
            connection.sendall(os.urandom(32))
            assert_shut_out(connection)

    assert_starts_under(job, strike)


@attack()
def the_acceptors_own_proof(job: Job) -> None:
    """What rank 0 has just said, sent back as the connector's proof."""

    def strike(job: Job) -> None:
        connection = job.dial()
        connection.sendall(job.claim().hello())
        connection.sendall(wire.read_exactly(connection, 64)[32:])
        assert_shut_out(connection)

    assert_starts_under(job, strike)


@attack()
def the_proof_of_an_empty_secret(job: Job) -> None:
    def strike(job: Job) -> None:
        connection = job.dial()
        hello = job.claim().hello()
        connection.sendall(hello)
        answer = wire.read_exactly(connection, 64)
        connection.sendall(wire.mac(b"", b"connector" + hello + answer))
        assert_shut_out(connection)

    assert_starts_under(job, strike)


@attack(fast=True)
def a_replayed_handshake(job: Job) -> None:
    """Everything that a rank of this job once said, said again."""

    def strike(job: Job) -> None:
        recorded = job.dial()
        hello = job.claim(epoch=7).hello()  # refused, so that rank 1's place stays free
        recorded.sendall(hello)
        answer = wire.read_exactly(recorded, 64)
        proof = wire.mac(job.secret, b"connector" + hello + answer)
        again = job.dial()
        again.sendall(hello)
        wire.read_exactly(again, 64)
        again.sendall(proof)
        assert_shut_out(again)

    assert_starts_under(job, strike)


@attack()
def a_proof_for_another_acceptor(job: Job) -> None:
    """A proof that rank 1 would take, brought to rank 0: the hello under the proof names the acceptor."""

    def strike(job: Job) -> None:
        refusal = wire.introduce(job.dial(), job.claim(peer=1, rank=0))
        assert b"asked for rank 1, this is rank 0" in refusal, refusal

    assert_starts_under(job, strike)


@attack()
def a_hello_that_is_changed_after_the_proof(job: Job) -> None:
    """A man in the middle turns rank 1's hello into rank 0's: the proofs cover it."""

    def strike(job: Job) -> None:
        connection = job.dial()
        hello = bytearray(job.claim().hello())
        sent = bytes(hello[:12]) + struct.pack("<I", 0) + bytes(hello[16:])
        connection.sendall(sent)
        answer = wire.read_exactly(connection, 64)
        connection.sendall(wire.mac(job.secret, b"connector" + bytes(hello) + answer))
        assert_shut_out(connection)

    assert_starts_under(job, strike)


@attack(fast=True)
def a_rank_of_another_epoch(job: Job) -> None:
    """The right secret, from a job before: dropped, and the job goes on."""

    def strike(job: Job) -> None:
        refusal = wire.introduce(job.dial(), job.claim(epoch=7))
        assert b"has epoch 7 but rank 0 has 0" in refusal, refusal

    assert_starts_under(job, strike)


@attack()
def a_rank_of_another_job(job: Job) -> None:
    def strike(job: Job) -> None:
        claim = job.claim()
        claim.job = "another"
        refusal = wire.introduce(job.dial(), claim)
        assert b"belongs to another job id" in refusal, refusal

    assert_starts_under(job, strike)


@attack()
def a_rank_out_of_range(job: Job) -> None:
    def strike(job: Job) -> None:
        for rank in (0, 2, 0xFFFFFFFF):
            refusal = wire.introduce(job.dial(), job.claim(rank=rank))
            assert b"taken or out of range for world size 2" in refusal, refusal

    assert_starts_under(job, strike)


@attack()
def an_unknown_purpose(job: Job) -> None:
    def strike(job: Job) -> None:
        refusal = wire.introduce(job.dial(), job.claim(purpose=9))
        assert b"unknown purpose 9" in refusal, refusal

    assert_starts_under(job, strike)


@attack()
def half_a_handshake(job: Job) -> None:
    """Connections that are closed, half-closed or reset at every point of the handshake."""

    def strike(job: Job) -> None:
        for size in (10, 96):
            for how in ("close", "half", "reset"):
                connection = job.dial()
                connection.sendall(job.claim().hello()[:size])
                if size == 96:
                    wire.read_exactly(connection, 64)
                if how == "half":
                    connection.shutdown(socket.SHUT_WR)
                    continue
                if how == "reset":
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.close()

    assert_starts_under(job, strike)


@attack()
def a_flood_of_connections(job: Job) -> None:
    """1,000 connections that come and go while the ranks meet."""
    ended = threading.Event()

    def strike(job: Job) -> None:
        job.dial()

        def flood() -> None:
            for _ in range(1000):
                with contextlib.suppress(OSError):
                    wire.dial(job.port).close()
                if ended.is_set():
                    return

        threading.Thread(target=flood, daemon=True).start()

    try:
        assert_starts_under(job, strike)
    finally:
        ended.set()


@attack(fast=True)
def a_twin_while_ranks_gather(job: Job) -> None:
    """Two processes with RANK=1: the second hears that it is the twin."""
    zero = job.rank(0, GREETING, world=3)
    connections = [job.dial(), job.dial()]
    for purpose, connection in enumerate(connections):
        claim = job.claim(purpose=purpose, world_size=3)
        assert wire.introduce(connection, claim) == wire.WELCOME
    twin = job.rank(1, GREETING, world=3)
    assert_fails(twin, "this process is a twin: another one is rank 1", time.monotonic())
    assert zero.process.poll() is None, zero.text()


@attack()
def a_twin_of_a_job_that_runs(job: Job) -> None:
    pausing = GREETING + "import time\ntime.sleep(3)\n"
    pair = [job.rank(rank, pausing) for rank in range(2)]
    for process in pair:
        process.wait_for("rank 0, rank 1")
    twin = job.rank(1, GREETING)
    assert_fails(twin, "this process is a twin: another one is rank 1", time.monotonic())
    assert [process.end() for process in pair] == [0, 0]


@attack(fast=True, secret=b"")
def an_empty_secret(job: Job) -> None:
    for rank in range(2):
        since = time.monotonic()
        assert_fails(job.rank(rank, GREETING), "the job's secret has 0 bytes", since)


@attack()
def another_world_size(job: Job) -> None:
    """Not an attack but a mistake: all ranks end with both values."""
    since = time.monotonic()
    ranks = [job.rank(0, GREETING), job.rank(1, GREETING, world=3)]
    for process in ranks:
        assert_fails(process, "rank 1 has world size 3 but rank 0 has 2", since)


@attack()
def another_version(job: Job) -> None:
    zero = job.rank(0, GREETING)
    refusal = wire.introduce(job.dial(), job.claim(version=1))
    assert b"has protocol version 1 but rank 0 has %d" % wire.VERSION in refusal, refusal
    assert_fails(zero, "protocol version 1", time.monotonic())


@attack()
def a_port_that_another_job_has(job: Job) -> None:
    """Whoever answers at the job's address must prove that it knows the secret."""
    with socket.create_server(("127.0.0.1", job.port)) as impostor:
        one = job.rank(1, GREETING)
        connection, _ = impostor.accept()
        wire.read_exactly(connection, 96)
        connection.sendall(os.urandom(64))
        assert_fails(one, "does not know the job's secret", time.monotonic())
        connection.close()


@attack()
def a_rank_that_leaves_before_the_table(job: Job) -> None:
    zero = job.rank(0, GREETING)
    for purpose in (wire.TO_DATA, wire.TO_BEATS):
        connection = job.dial()
        assert wire.introduce(connection, job.claim(purpose=purpose)) == wire.WELCOME
        connection.shutdown(socket.SHUT_RDWR)
    assert_fails(zero, "rank 1 left while ranks were gathering", time.monotonic())
