"""Each example program, once over processes and once over hosts, gives the bits of one process; `./dev long
examples-on-hosts` does so under every layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.cluster import Cluster, needs_namespaces, why_not
from tests.launch.examples_on_hosts import Bench, Case, cases

SMALL = [
    Case("gpt", "dp2_tp2", 4, hosts=True),
    Case("bert", "dp4_uneven", 4, hosts=False),
    Case("resnet", "pp2_acc4", 2, hosts=True),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("examples")
    if why_not():
        yield Bench(folder, None)
        return
    with Cluster() as cluster:
        yield Bench(folder, cluster)


@pytest.mark.parametrize("case", [case for case in SMALL if not case.hosts], ids=str)
def test_processes_give_the_bits_of_one(bench: Bench, case: Case) -> None:
    pytest.importorskip("sklearn")
    assert bench.difference(case) == ""


@needs_namespaces
@pytest.mark.parametrize("case", [case for case in SMALL if case.hosts], ids=str)
def test_hosts_give_the_bits_of_one_process(bench: Bench, case: Case) -> None:
    pytest.importorskip("sklearn")
    assert bench.difference(case) == ""


def test_the_table_has_every_layout_over_processes_and_hosts() -> None:
    table = {(case.example, case.layout, case.processes, case.hosts) for case in cases()}
    assert len(table) == 3 * 2 * (10 + 1 + 6)
    for example in ("resnet", "bert", "gpt"):
        assert {(example, "dp2_pp2_acc4", 4, True), (example, "tp2", 2, False)} <= table
