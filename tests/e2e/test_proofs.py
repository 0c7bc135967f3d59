"""Bar 3, small: mutations of real plans. `./dev long verifier` takes every plan of bar 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.plan_scale import measure
from tests.e2e.proofs import kinds, misjudged, mutate


@pytest.mark.parametrize(
    ("model", "layout"), [("mlp", "dp2_tp2"), ("mlp", "pp2_acc4"), ("resnet", "dp2_pp2_acc4")]
)
def test_harm_is_refused_by_name_and_harmless_changes_are_accepted(
    model: str, layout: str, tmp_path: Path
) -> None:
    verdicts = mutate(model, layout, tmp_path, seed=1, per_kind=2)
    assert not misjudged(verdicts)
    assert kinds(verdicts, harmful=True) >= 8
    assert kinds(verdicts, harmful=False) >= 4


@pytest.mark.parametrize("case", ["dp-8", "tp-8", "pp-8"])
def test_one_rank_of_a_transformer_is_proved(case: str) -> None:
    # Its views of heads cut across the shares of rings, whose other parts come from other ranks.
    assert measure(case)["tasks"] > 500
