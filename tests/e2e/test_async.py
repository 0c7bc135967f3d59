"""Bar "async device", small: devices that answer later give the bits of CPU devices, with threads and in
virtual time; an edge that is told too early is refused, and shows when it runs all the same.

`./dev long async` runs every layout and 500 seeds.
"""

from __future__ import annotations

import oneflow as flow
import pytest

from tests.e2e.any_order import bits, make_case
from tests.e2e.async_device import finite, told_too_early, trained, wrong_seeds


@pytest.mark.parametrize(
    ("model", "layout"), [("mlp", "dp2_tp2"), ("mlp", "pp2_acc4"), ("resnet", "dp2_pp2_acc4")]
)
def test_sessions_give_the_bits_of_a_cpu(model: str, layout: str) -> None:
    right = trained(model, layout, "cpu", steps=3)
    assert finite(right)
    assert trained(model, layout, "async", steps=3) == right


@pytest.mark.parametrize(
    ("model", "layout", "ranks"), [("mlp", "dp3", 1), ("mlp", "dp2_pp2_acc4", 2)]
)
def test_any_order_gives_the_bits_of_a_cpu(model: str, layout: str, ranks: int) -> None:
    cpu = make_case(model, layout, ranks)
    right = bits(cpu.run(cpu.load(), 0))
    assert wrong_seeds(make_case(model, layout, ranks, "async"), right, seeds=25) == 0


def test_what_is_told_too_early_is_refused_and_shows() -> None:
    case = make_case("mlp", "dp2_tp2", 1, "async")
    right = bits(case.run(case.load(), 0))
    planted = list(told_too_early(case.plans[0]))
    assert len(planted) > 20
    for name, plan in planted:
        case.plans = [plan]
        with pytest.raises(flow.Error, match=r"completions: .* but needs it finished"):
            case.load()
            pytest.fail(f"{name} was not refused")
    # A device holds works apart by events whatever the edge says; what the host reads too early shows.
    seen = 0
    for _, plan in planted:
        case.plans = [plan]
        seen += bits(case.run(case.load(verify=False), 0)) != right
    assert seen > 0


def test_a_mesh_of_unknown_devices_is_refused() -> None:
    with pytest.raises(flow.ShardingError, match="there are no 'sync' devices here"):
        flow.mesh("sync", dp=2)
