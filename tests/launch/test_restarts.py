"""--max-restarts: a job that is killed again and again ends with the bits of one that was left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch import restarts

STEPS = 60
LAUNCH = [sys.executable, "-m", "oneflow.launch"]


def test_ten_kills_change_no_bit(tmp_path: Path) -> None:
    kills = restarts.draw(seed=1, kills=10)
    undisturbed = restarts.run(tmp_path / "quiet", STEPS, [])
    disturbed = restarts.run(tmp_path / "killed", STEPS, kills)
    assert disturbed.restarts >= 8  # kills that the job did not outrun
    assert (
        sorted(undisturbed.ledger) == list(undisturbed.ledger) and len(undisturbed.ledger) == STEPS
    )
    restarts.assert_same(disturbed, undisturbed)


def test_a_start_that_is_killed_while_it_claims_the_folder_is_made_again(tmp_path: Path) -> None:
    """Rank 0's first events are its claim's: a file and its folder are forced onto the disk."""
    kills = [(0, 20), (0, 2), (0, 4), (0, 3), (1, 9)]
    undisturbed = restarts.run(tmp_path / "quiet", 6, [])
    disturbed = restarts.run(tmp_path / "killed", 6, kills)
    assert disturbed.restarts == len(kills)
    restarts.assert_same(disturbed, undisturbed)


def test_a_job_that_fails_for_ever_is_given_up(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\nprint('epoch', os.environ['ONEFLOW_EPOCH'])\nsys.exit(6 if os.environ['RANK'] == '1' else 0)\n"
    )
    command = [*LAUNCH, "--nproc-per-node", "2", "--max-restarts", "2", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 6
    assert sorted(result.stdout.split("\n"))[1:] == [
        f"[rank{r}]: epoch {e}" for r in (0, 1) for e in range(3)
    ]
    lines = result.stderr.strip().splitlines()
    assert lines[-3] == "oneflow-launch: given up after 2 restart(s)."
    assert lines[-1].startswith("oneflow-launch: root cause: rank 1: exit code 6")
    assert result.stderr.count("root cause") == 1


@pytest.mark.parametrize("number", ["-1", "x"])
def test_restarts_are_a_number(number: str) -> None:
    result = subprocess.run([*LAUNCH, f"--max-restarts={number}", "x"], capture_output=True)
    assert result.returncode == 2


def test_tee_and_logs_and_cores_by_rank(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "print('out', sorted(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])\n"
        "print('err', file=sys.stderr)\n"
    )
    logs = tmp_path / "logs"
    command = [*LAUNCH, "--nproc_per_node=2", "--pin", "--tee", "0:1,1:2", f"--log_dir={logs}"]
    result = subprocess.run([*command, str(program)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "[rank0]: out" in result.stdout and "[rank1]: out" not in result.stdout
    assert result.stderr == "[rank1]: err\n"
    cores = []
    for rank in (0, 1):
        out, err = sorted((logs / f"rank{rank}.log").read_text().splitlines(), reverse=True)
        assert err == "err"
        cores.append(out.removeprefix("out ").rsplit(" ", 1))
    if cores[0][1] != cores[1][1] or cores[0][0] != cores[1][0]:
        assert cores[0][0] != cores[1][0]
    assert all(int(count) == len(listed.split(",")) for listed, count in cores)
