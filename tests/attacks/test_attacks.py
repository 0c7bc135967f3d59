"""The fast part of the table of attacks; `./dev long attacks` runs all of it."""

from __future__ import annotations

import pytest

from tests.attacks import on_frames, on_launcher, on_rendezvous, on_shared_memory
from tests.attacks.job import Job
from tests.attacks.table import ATTACKS, Attack

FAST = [attack for attack in ATTACKS.values() if attack.fast]


@pytest.mark.parametrize("attack", FAST, ids=lambda attack: attack.name)
def test_attack(attack: Attack) -> None:
    with Job(attack.secret, attack.path) as job:
        attack.run(job)


def test_the_table_is_whole() -> None:
    for module in (on_frames, on_launcher, on_rendezvous, on_shared_memory):
        assert any(attack.run.__module__ == module.__name__ for attack in ATTACKS.values())
    assert len(ATTACKS) >= 70
    assert sum(attack.racy for attack in ATTACKS.values()) >= 8
