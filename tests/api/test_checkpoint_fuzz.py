"""The reader of checkpoints against 2,000 drawn changes and a corpus; `./dev long checkpoint-reader` draws millions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.fuzz.checkpoint_reader import Target, corpus, shape_of


def test_drawn_changes_are_refused_or_harmless(tmp_path: Path) -> None:
    target = Target(tmp_path)
    kinds: Counter[str] = Counter()
    said = set()
    drawn = [target.change(seed) for seed in range(2000)]
    for seed, change in enumerate(drawn):
        assert change == target.change(seed), "a seed's input depends on those drawn before"
        said.add(shape_of(target.read(change)))
        kinds[change.kind] += 1
    assert len(kinds) == 10 and min(kinds.values()) > 150, kinds
    assert len(said) > 30, sorted(said)


def test_the_corpus_is_refused_or_harmless(tmp_path: Path) -> None:
    target = Target(tmp_path)
    entries = corpus()
    assert len(entries) >= 30
    said = {shape_of(target.read(change)) for change in entries}
    assert len(said) > len(entries) // 2, sorted(said)
