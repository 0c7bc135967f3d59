"""ONEFLOW_CUDA_ALGORITHMS: what it may be, and where measured algorithms are kept."""

from __future__ import annotations

import oneflow as flow
import pytest
from oneflow import environment


def test_by_default_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "heuristics"):
        monkeypatch.setenv("ONEFLOW_CUDA_ALGORITHMS", value)
        assert environment.cuda_algorithms() == {"measures": False, "algorithms": ""}


def test_measured_ones_are_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEFLOW_CUDA_ALGORITHMS", "measured")
    monkeypatch.setenv("HOME", "/home/me")
    for cache, path in (("/c", "/c"), ("", "/home/me/.cache"), ("relative", "/home/me/.cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        wanted = {"measures": True, "algorithms": f"{path}/oneflow/algorithms.txt"}
        assert environment.cuda_algorithms() == wanted
    monkeypatch.setenv("ONEFLOW_CUDA_ALGORITHMS", "measured:/d/file")
    assert environment.cuda_algorithms() == {"measures": True, "algorithms": "/d/file"}


@pytest.mark.parametrize("value", ["fast", "measured:", "heuristics:/d/file"])
def test_other_values_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ONEFLOW_CUDA_ALGORITHMS", value)
    with pytest.raises(flow.Error, match="it may be heuristics, measured or"):
        environment.cuda_algorithms()
