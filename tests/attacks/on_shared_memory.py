"""Attacks on the memory that two ranks of a host share: somebody writes into rank 0's inbox as if he were rank 1.

Any process of the same user can; rank 1 is such a process. Rank 0 must name rank 1 and what was wrong, and neither
crash nor wait. Rank 1 is stopped meanwhile, so that the attacker's notices are the next.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.attacks.job import PROGRAM, Job
from tests.attacks.table import AT_ONCE, assert_fails, attack

BROKE = "rank 0 lost rank 1 (it broke the protocol: {}"
PLACES = 4096
FIRST_PLACE = 64  # bytes; before it the words of the reader
CREDIT = 1 << 31


class Inbox:
    """Where a rank reads the notices of the other one, as docs/wire_format.md lays it out."""

    def __init__(self, pid: int) -> None:
        for descriptor in sorted(Path(f"/proc/{pid}/fd").iterdir()):
            with suppress(OSError):
                if not os.readlink(descriptor).startswith("/memfd:oneflow-inbox"):
                    continue
                own = os.open(descriptor, os.O_RDWR)
                self.memory = mmap.mmap(own, FIRST_PLACE + 8 * PLACES)
                os.close(own)
        # Those of the attacker follow the last one that is there.
        self.next = max(self.place(i)[0] for i in range(PLACES))

    def place(self, i: int) -> tuple[int, int]:
        """Number of the notice there (from 1), and what it says."""
        said, number = struct.unpack_from("<II", self.memory, FIRST_PLACE + 8 * i)
        return number, said

    def last(self, credit: bool) -> int:
        """The channel of the last notice of that kind."""
        places = sorted((self.place(i) for i in range(PLACES)), reverse=True)
        return next(
            said & ~CREDIT for number, said in places if number and bool(said & CREDIT) == credit
        )

    def write(self, number: int, said: int) -> None:
        struct.pack_into(
            "<Q", self.memory, FIRST_PLACE + 8 * ((number - 1) % PLACES), number << 32 | said
        )

    def say(self, said: int) -> None:
        self.next += 1
        self.write(self.next, said)


def run(job: Job, blow: Callable[[Inbox], None], words: str) -> None:
    job.path = "shm"
    zero = job.rank(0, PROGRAM, "1000000", "pass")
    one = job.rank(1, PROGRAM, "1000000", "pass")
    for rank in (zero, one):
        rank.wait_for("running")
    inbox = Inbox(zero.process.pid)
    os.kill(one.process.pid, signal.SIGSTOP)
    time.sleep(0.3)  # rank 0 takes what is there, then sleeps
    inbox.next = max(inbox.place(i)[0] for i in range(PLACES))
    since = time.monotonic()
    blow(inbox)
    os.kill(one.process.pid, signal.SIGCONT)  # and its next notice rings the bell
    assert_fails(zero, words, since, AT_ONCE)
    assert one.end() == 1, one.text()
    assert any("PeerError" in line for line in one.err), one.text()


@attack(fast=True)
def garbage_in_the_inbox(job: Job) -> None:
    def blow(inbox: Inbox) -> None:
        for i in range(PLACES):
            struct.pack_into("<Q", inbox.memory, FIRST_PLACE + 8 * i, 0xDEADBEEF_DEADBEEF)

    run(job, blow, BROKE.format("what it wrote into its inbox here is no notice"))


@attack()
def a_notice_that_is_left_out(job: Job) -> None:
    def blow(inbox: Inbox) -> None:
        # Rank 1 still writes the one before, and may write over some: rank 0 looks when it gets the core.
        for ahead in range(2, 52):
            inbox.write(inbox.next + ahead + PLACES, 0)

    run(job, blow, BROKE.format("what it wrote into its inbox here is no notice"))


@attack(fast=True)
def notices_without_a_slot(job: Job) -> None:
    def blow(inbox: Inbox) -> None:
        channel = inbox.last(credit=False)
        for _ in range(50):
            inbox.say(channel)

    run(job, blow, BROKE.format("a message on channel `"))


@attack(fast=True)
def a_flood_of_credits_in_the_inbox(job: Job) -> None:
    def blow(inbox: Inbox) -> None:
        channel = inbox.last(credit=True)
        for _ in range(100):
            inbox.say(CREDIT | channel)

    run(job, blow, BROKE.format("more credits on channel `"))


@attack()
def a_notice_for_an_unknown_channel(job: Job) -> None:
    def blow(inbox: Inbox) -> None:
        for _ in range(50):  # rank 1 still writes over the first
            inbox.say(0x7FFFFFFF)

    run(job, blow, BROKE.format("a message for channel 2147483647, which it has no part in"))


@attack()
def words_of_the_reader_that_lie(job: Job) -> None:
    """How far the reader is, and whether it sleeps, in rank 0's inbox: what rank 1 believes of it."""

    def blow(inbox: Inbox) -> None:
        # Rank 1 finds no room, and says by TCP what it has to say; then notices that nobody awaits.
        struct.pack_into("<IxxxxQ", inbox.memory, 0, 0, 0xFFFFFFFF_FFFFFFFF)
        for _ in range(50):  # rank 1 still writes over the first
            inbox.say(0x7FFFFFFF)

    run(job, blow, BROKE.format("a message for channel 2147483647, which it has no part in"))
