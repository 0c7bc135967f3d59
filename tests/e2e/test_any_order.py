"""Bar 4, small: random delays in virtual time change the order of events and no bit; planted faults show.

`./dev long any-order` runs 2,000 seeds.
"""

from __future__ import annotations

import oneflow as flow
import pytest

from tests.e2e.any_order import PLANS, bits, make_case, with_a_credit_too_many

SEEDS = 25


@pytest.mark.parametrize(("model", "layout", "ranks"), PLANS)
def test_any_order_gives_the_same_bits(model: str, layout: str, ranks: int) -> None:
    case = make_case(model, layout, ranks)
    runtime = case.load()
    first = bits(case.run(runtime, 0))
    orders = set()
    for seed in range(SEEDS):
        result = case.run(runtime, seed)
        assert bits(result) == first, f"seed {seed}"
        orders.add(result["event_order_hash"])
    assert len(orders) == SEEDS


@pytest.mark.parametrize("layout", ["pp2_acc4", "dp3"])
def test_a_credit_too_many_is_found(layout: str) -> None:
    case = make_case("mlp", layout, 1)
    right = bits(case.run(case.load(), 0))
    found = []
    planted = 0
    for name, plan in with_a_credit_too_many(case.plans[0]):
        planted += 1
        case.plans = [plan]
        runtime = case.load(verify=False)
        if any(bits(case.run(runtime, seed)) != right for seed in range(10)):
            found.append(name)
        if len(found) == 3:
            break
    assert len(found) == 3, f"{len(found)} of {planted} planted credits gave wrong bits"


def test_the_verifier_refuses_what_was_planted() -> None:
    case = make_case("mlp", "pp2_acc4", 1)
    refused = 0
    plans = [plan for _, plan in with_a_credit_too_many(case.plans[0])][:5]
    for plan in plans:
        case.plans = [plan]
        with pytest.raises(flow.Error, match="register"):
            case.load()
        refused += 1
    assert refused == 5
