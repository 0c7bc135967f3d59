"""Two trials of each fault; `./dev long faults` runs as many as are asked for."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.faults.job import STAGES, Trial, undisturbed
from tests.faults.table import FAULTS
from tests.launch.cluster import Cluster, needs_namespaces

pytestmark = [
    needs_namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="nft, tc and mounts on hosts need root"),
]


WORKERS = 4  # most of a trial is waiting


def drawn() -> list[tuple[str, int]]:
    """Two trials of each fault, spread over the stages."""
    return [
        (name, index + 5 + turn * max(1, len(FAULTS[name].stages) // 2))
        for index, name in enumerate(FAULTS)
        for turn in (0, 1)
    ]


@pytest.fixture(scope="module")
def trials(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, int], Future[None]]]:
    """Those that this run has chosen, some of them at a time, each on a cluster of its own."""
    folder = tmp_path_factory.mktemp("faults")
    chosen = [
        (item.callspec.params["name"], item.callspec.params["number"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module is request.module
        and hasattr(item, "callspec")
    ]
    bits = undisturbed(folder / "quiet")
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(WORKERS) as pool:
        free: queue.Queue[Cluster] = queue.Queue()
        for _ in range(min(WORKERS, len(chosen))):
            free.put(stack.enter_context(Cluster(hosts=3)))

        def run(name: str, number: int) -> None:
            fault = FAULTS[name]
            stage = fault.stages[number % len(fault.stages)]
            where = folder / f"{name}-{number}"
            cluster = free.get()
            try:
                with Trial(
                    cluster, where, stage, number, fault.victims, fault.first_checkpoints
                ) as trial:
                    fault.run(trial, bits)
            finally:
                free.put(cluster)

        yield {each: pool.submit(run, *each) for each in chosen}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("name", "number"), drawn(), ids=str)
def test_a_fault_ends_as_it_must(
    trials: dict[tuple[str, int], Future[None]], name: str, number: int
) -> None:
    trials[name, number].result()


def test_the_table_has_every_stage() -> None:
    assert len(FAULTS) >= 18
    assert {stage for fault in FAULTS.values() for stage in fault.stages} == set(STAGES)
    struck = {FAULTS[name].stages[number % len(FAULTS[name].stages)] for name, number in drawn()}
    assert struck == set(STAGES)
