"""Worker processes: the same batches, errors with their place, no hang and no orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow.data import DataLoader

from tests.data.samples import FailsAt, Noise, Squares, Stream, fails_in_init


def epoch(loader: Any) -> list[list[int]]:
    return [batch["y"].tolist() for batch in loader]


def gone(pid: int) -> bool:
    """True once the process has ended; a zombie has."""
    for _ in range(600):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_give_the_same_batches_in_the_same_order(workers: int) -> None:
    alone = DataLoader(Squares(), 3, shuffle=True, seed=0)
    loader = DataLoader(Squares(), 3, shuffle=True, seed=0, num_workers=workers)
    for _ in range(2):
        expected, got = list(alone), list(loader)
        assert [b["y"].tolist() for b in got] == [b["y"].tolist() for b in expected]
        assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(got, expected, strict=True))


def test_randomness_does_not_depend_on_the_workers() -> None:
    def values(**options: Any) -> dict[int, tuple[int, float]]:
        loader = DataLoader(Noise(6), seed=2, **options)
        return {
            int(index): (int(own), float(shared))
            for b in loader
            for index, own, shared in zip(b["index"], b["own"], b["global"], strict=True)
        }

    one, two = values(batch_size=2, num_workers=1), values(batch_size=3, num_workers=2)
    assert one == two  # global generators are seeded per sample
    assert len({shared for _, shared in one.values()}) == 6
    assert {i: v[0] for i, v in values(batch_size=4).items()} == {i: v[0] for i, v in one.items()}


def test_a_stream_is_dealt_out() -> None:
    loader = DataLoader(Stream(9), 2, num_workers=2)
    assert [b.tolist() for b in loader] == [[0, 2], [1, 3], [4, 6], [5, 7], [8]]
    loader.load_state_dict({"epoch": 0, "batch": 3, "seed": loader.seed})
    assert [b.tolist() for b in loader] == [[5, 7], [8]]


def test_resuming_with_workers() -> None:
    expected = epoch(DataLoader(Squares(), 2, shuffle=True, seed=1))
    loader = DataLoader(Squares(), 2, shuffle=True, seed=1, num_workers=2)
    batches = iter(loader)
    assert [next(batches)["y"].tolist() for _ in range(2)] == expected[:2]
    state = loader.state_dict()
    batches.close()  # type: ignore[attr-defined]
    again = DataLoader(Squares(), 2, shuffle=True, seed=1, num_workers=1)
    again.load_state_dict(state)
    assert epoch(again) == expected[2:]


def test_an_error_has_the_workers_traceback_and_the_sample() -> None:
    batches = iter(DataLoader(FailsAt("raises"), 2, num_workers=2))
    assert [next(batches)["y"].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="no such picture") as caught:
        next(batches)
    assert any("sample 5 was read in worker 0" in note for note in caught.value.__notes__)
    assert "samples.py" in str(caught.value.__cause__) and "__getitem__" in str(
        caught.value.__cause__
    )


def test_an_error_that_cannot_be_sent() -> None:
    with pytest.raises(flow.DataError, match="NeedsTwo: a and b") as caught:
        list(DataLoader(FailsAt("odd error"), 2, num_workers=1))
    assert "samples.py" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "how, message", [("is killed", "killed by SIGKILL.*memory"), ("exits", "exit code 3")]
)
def test_a_dead_worker_is_an_error_and_no_hang(how: str, message: str) -> None:
    with pytest.raises(flow.DataError, match=rf"worker 0 \(pid \d+\) .*{message}.*\[4, 5\]") as e:
        list(DataLoader(FailsAt(how), 2, num_workers=2))
    assert e.value.location is not None and e.value.location.file == __file__


def test_a_worker_that_takes_too_long() -> None:
    with pytest.raises(flow.DataError, match=r"worker 0 .*timeout=0.3 seconds; it reads \[4, 5\]"):
        list(DataLoader(FailsAt("hangs"), 2, num_workers=2, timeout=0.3))


def test_what_cannot_be_sent_to_a_worker() -> None:
    class Local(Squares):
        pass

    with pytest.raises(flow.DataError, match="top level of a module.*num_workers=0") as caught:
        list(DataLoader(Local(), 2, num_workers=1))
    assert caught.value.location is not None and caught.value.location.file == __file__


def test_worker_init_fn_may_fail() -> None:
    with pytest.raises(RuntimeError, match="no licence for worker 0"):
        list(DataLoader(Squares(), 2, num_workers=2, worker_init_fn=fails_in_init))


PROGRAM = """
import sys
import time
import multiprocessing

import oneflow as flow
from tests.data.samples import FailsAt, Squares

if __name__ == "__main__":
    loader = flow.data.DataLoader({dataset}, 1, num_workers=2, prefetch={prefetch})
    batches = iter(loader)
    next(batches)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    while True:
        next(batches)
        time.sleep(0.05)
        batches = batches if {endless} else iter(loader)
"""


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("dataset", ["Squares(10**6)", "FailsAt('hangs')"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_orphans(tmp_path: Path, dataset: str, prefetch: int, number: signal.Signals) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(dataset=dataset, prefetch=prefetch, endless=True))
    run = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    workers = [int(pid) for pid in run.stdout.readline().split()]
    assert len(workers) == 2
    time.sleep(0.5)
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as the terminal does
    else:
        run.send_signal(number)
    _, text = run.communicate(timeout=60)
    assert run.returncode == -number, text
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in text
    assert all(gone(pid) for pid in workers)


def test_a_program_without_a_guard_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import oneflow as flow\n"
        "from tests.data.samples import Squares\n"
        "for batch in flow.data.DataLoader(Squares(), 2, num_workers=1):\n"
        "    print(batch['y'].tolist())\n"
    )
    run = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 1
    assert "if __name__ == '__main__'" in run.stderr and "ended with exit code" in run.stderr
