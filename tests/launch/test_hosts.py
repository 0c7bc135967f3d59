"""Several hosts: the launcher started on each of them. Hosts are network namespaces."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api import stored
from tests.launch.cluster import (
    LAUNCH,
    Cluster,
    end,
    needs_namespaces,
    output_of,
    wait_for,
)

pytestmark = needs_namespaces
SECRET = "0f" * 32

# One device per rank; says who it is, trains, and goes on until `steps`.
PROGRAM = """
import os, sys, time
import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

steps = int(sys.argv[1])
flow.manual_seed(0)
model = nn.Linear(16, 4)
step = flow.train_step(lambda x, y: F.cross_entropy(model(x), y), model=model,
                       optimizer=flow.optim.SGD(model.parameters(), lr=0.1), mesh=flow.mesh("cpu"))
x = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
y = np.arange(8) % 4
for i in range(steps):
    loss = float(step(x, y)["loss"])
    if i == 1:
        print("running", flow.rank(), os.getpid(), flush=True)
    if steps > 500:
        time.sleep(0.002)
print("loss", loss.hex(), flush=True)
"""

# The same, with a run that keeps checkpoints in a folder of its second argument.
SAVING = (
    PROGRAM.split("for i in")[0]
    + """
kept = flow.Checkpoint(sys.argv[2], every=10**6)
for metrics in step.run(flow.data.DataLoader(flow.data.TensorDataset(x, y), 8), steps, checkpoint=kept):
    if int(metrics["step"]) == 1:
        print("running", flow.rank(), os.getpid(), flush=True)
    time.sleep(0.002 * (1 + flow.rank()))
"""
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        (made.folder / "train.py").write_text(PROGRAM)
        (made.folder / "saving.py").write_text(SAVING)
        yield made


def launch(
    cluster: Cluster,
    *arguments: str,
    hosts: int = 4,
    steps: str = "5",
    ranks: int = 1,
    program: tuple[str, ...] = ("train.py",),
    **env: str,
) -> list[subprocess.Popen[str]]:
    """The launcher on each host; the first one's first."""
    return [
        cluster.start(
            number + 1,
            [*LAUNCH, "--nnodes", str(hosts), "--node_rank", str(number), "--master-addr", "h1"]
            + ["--nproc_per_node", str(ranks), *arguments, str(cluster.folder / program[0]), steps]
            + [*program[1:]],
            ONEFLOW_SECRET=SECRET,
            **env,
        )
        for number in range(hosts)
    ]


def rank_pids(launchers: list[subprocess.Popen[str]], per_host: int = 1) -> dict[int, int]:
    """Process id by rank, once all train."""
    text = "".join(wait_for(launcher, "running", per_host) for launcher in launchers)
    return {int(r): int(pid) for r, pid in re.findall(r"running (\d+) (\d+)", text)}


def test_four_hosts_train_and_agree(cluster: Cluster) -> None:
    launchers = launch(cluster, steps="501", ranks=1)
    pids = rank_pids(launchers)
    assert sorted(pids) == [0, 1, 2, 3]
    for number in range(1, 5):
        for pid, line in cluster.processes(number).items():
            assert SECRET not in line
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert SECRET.encode() not in environment or pid not in pids.values()
        # Nothing listens on all addresses, nor on an address that other hosts cannot reach.
        listening = cluster.check(number, "cat /proc/net/tcp").splitlines()[1:]
        local = [row.split()[1] for row in listening if row.split()[3] == "0A"]
        assert bool(local) == (number == 1), local  # the others only knock
        assert all(place.startswith(f"0{number}00320A:") for place in local), local
    ends = [end(launcher) for launcher in launchers]
    assert [code for code, _ in ends] == [0] * 4, ends
    losses = {line.split()[-1] for _, lines in ends for line in lines if "]: loss" in line}
    assert len(losses) == 1
    cluster.assert_nothing_runs()


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_hosts_meet_at_an_ipv6_address_and_talk_over_it(cluster: Cluster) -> None:
    for number in (1, 2):
        cluster.check(number, f"ip addr add fd50::{number}/64 dev eth0 nodad")
    launchers = launch(
        cluster, "--master-addr", "fd50::1", hosts=2, steps="501", ONEFLOW_TRANSPORT="tcp"
    )
    rank_pids(launchers)
    for number in (1, 2):
        for family, width in (("tcp", 8), ("tcp6", 32)):
            rows = cluster.check(number, f"cat /proc/net/{family}").splitlines()[1:]
            local = {row.split()[1][:width] for row in rows if row.split()[3] in ("01", "0A")}
            own = {f"000050FD{'0' * 16}0{number}000000"} if family == "tcp6" else set()
            assert local == own, (number, rows)
    ends = [end(launcher) for launcher in launchers]
    assert [code for code, _ in ends] == [0, 0], ends
    losses = {line.split()[-1] for _, lines in ends for line in lines if "]: loss" in line}
    assert len(losses) == 1
    cluster.assert_nothing_runs()


def test_a_killed_rank_ends_all_hosts_and_is_named_once(cluster: Cluster) -> None:
    launchers = launch(cluster, steps="1000000", ranks=2, hosts=2)
    pids = rank_pids(launchers, 2)
    os.kill(pids[3], signal.SIGKILL)
    (first, lines), (other, others) = (end(launcher) for launcher in launchers)
    assert first == other == 128 + signal.SIGKILL
    assert lines[-1].startswith(
        "oneflow-launch: root cause: rank 3 on host h2: killed by signal 9 (SIGKILL)"
    )
    assert "\n".join(lines + others).count("root cause") == 1
    assert "because rank 3 on host h2 failed" in others[-1]
    cluster.assert_nothing_runs()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_launcher_leaves_no_rank_on_any_host(cluster: Cluster, victim: int) -> None:
    launchers = launch(cluster, steps="1000000", hosts=2)
    rank_pids(launchers)
    for pid, line in cluster.processes(victim + 1).items():
        if "oneflow.launch" in line:
            os.kill(pid, signal.SIGKILL)
    code, lines = end(launchers[1 - victim])
    assert code == 69, lines
    words = "lost the launcher that leads the job" if victim == 0 else "root cause: host h2: "
    assert words in lines[-1]
    cluster.assert_nothing_runs()


def test_a_host_whose_launcher_dies_is_named_though_all_ranks_stop_in_order(
    cluster: Cluster,
) -> None:
    folder = cluster.folder / "launcher_dies"
    launchers = launch(cluster, steps="1000000", hosts=2, program=("saving.py", str(folder)))
    rank_pids(launchers)
    launchers[1].kill()  # the one that the user started; its work ends the rank with SIGTERM
    end(launchers[1])
    code, lines = end(launchers[0])
    assert code == 69, lines
    assert "root cause: host h2: its launcher was ended by SIGHUP" in lines[-1], lines
    assert len(stored.names(folder)) == 1, lines
    cluster.assert_nothing_runs()


def test_a_host_that_is_cut_off_is_named_and_both_sides_end(cluster: Cluster) -> None:
    launchers = launch(cluster, steps="1000000", hosts=2)
    rank_pids(launchers)
    cluster.plug(2, "down")
    try:
        (code, lines), (other, others) = (end(launcher) for launcher in launchers)
    finally:
        cluster.plug(2, "up")
    assert code == 69 and other != 0
    assert "root cause: host h2: no sign of life" in lines[-1], lines
    cluster.assert_nothing_runs()


def test_a_twin_is_turned_away_and_an_interrupt_ends_all(cluster: Cluster) -> None:
    launchers = launch(cluster, steps="1000000", hosts=2)
    rank_pids(launchers)
    twin = [*LAUNCH, "--nnodes", "2", "--node-rank", "1", "--master-addr", "h1", "x.py"]
    code, lines = end(cluster.start(2, twin, ONEFLOW_SECRET=SECRET))
    assert code == 69 and "host 1 is here already" in lines[-1], lines
    launchers[0].send_signal(signal.SIGTERM)  # nsenter has become the launcher
    (code, lines), (other, _) = (end(launcher) for launcher in launchers)
    assert code == other == 128 + signal.SIGTERM
    assert lines[-1] == "oneflow-launch: interrupted by SIGTERM; all ranks ended"
    cluster.assert_nothing_runs()


@pytest.mark.parametrize("signalled", [(0,), (1,), (0, 1)], ids=str)
def test_sigterm_to_the_launcher_of_any_host_saves_one_step_of_all(
    cluster: Cluster, signalled: tuple[int, ...]
) -> None:
    folder = cluster.folder / f"run{signalled}"
    program = ("saving.py", str(folder))
    launchers = launch(cluster, steps="1000000", hosts=2, ranks=2, program=program)
    rank_pids(launchers, 2)
    for number in signalled:
        launchers[number].send_signal(signal.SIGTERM)
    ends = [end(launcher) for launcher in launchers]
    # A host that leaves by itself is one that the job has lost: it may be started again without it.
    assert ends[0][0] == (69 if signalled == (1,) else 128 + signal.SIGTERM), ends
    assert ends[1][0] == 128 + signal.SIGTERM, ends
    said = [line for _, lines in ends for line in lines if "as SIGTERM asked" in line]
    match = re.search(r"ends at step (\d+), ", "".join(said))
    assert len(said) == 1 and match, ends
    assert stored.names(folder) == [f"step-{int(match[1]):08}"]
    if signalled == (1,):
        assert "host h2: its launcher was ended by SIGTERM" in ends[0][1][-1], ends
    cluster.assert_nothing_runs()


def test_a_stranger_and_a_wrong_secret_stay_outside(cluster: Cluster) -> None:
    wait = [*LAUNCH, "--nnodes", "2", "--master-addr", "h1", "--join-timeout", "4"]
    program = str(cluster.folder / "train.py")
    first = cluster.start(1, [*wait, "--node-rank", "0", program, "2"], ONEFLOW_SECRET=SECRET)
    garbage = "import socket; s = socket.create_connection(('h1', 29500)); s.sendall(b'x' * 200); print(s.recv(1))"
    again = f"import time\nwhile True:\n try:\n  exec({garbage!r}); break\n except ConnectionRefusedError: time.sleep(0.05)\n except ConnectionResetError: break"
    stranger = cluster.start(2, ["python3", "-c", again])
    assert stranger.wait(timeout=60) == 0 and output_of(stranger).strip() in ("b''", "")
    wrong = cluster.start(2, [*wait, "--node-rank", "1", program, "2"], ONEFLOW_SECRET="e" * 32)
    code, lines = end(wrong)
    assert code == 69 and "does not know the secret of this job" in lines[-1]
    code, lines = end(first)
    assert code == 69 and "host(s) 1 of 2 did not come within 4 s" in lines[-1]
    cluster.assert_nothing_runs()


def test_a_job_starts_again_on_all_hosts(cluster: Cluster) -> None:
    launchers = launch(cluster, "--max-restarts", "1", steps="501", hosts=2)
    pids = rank_pids(launchers)
    os.kill(pids[1], signal.SIGKILL)
    (code, lines), (other, _) = (end(launcher) for launcher in launchers)
    assert code == other == 0, lines
    assert any("restart 1 of 1, because of rank 1 on host h2: killed" in line for line in lines)
    cluster.assert_nothing_runs()
