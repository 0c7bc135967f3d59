"""What a block of the training-cost benchmark times."""

from __future__ import annotations

import pytest

from benchmarks import training_cost


def test_a_block_ends_with_its_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    # The loss arrives before the last backward pass; a parameter that was read, only behind the update.
    monkeypatch.setitem(training_cost.MODELS, "mlp", ((2, 1024), 1024, 1))
    run = training_cost.our_step("mlp")
    run(2)
    assert any(parameter.cell.is_on_host for parameter in run.net.parameters())
