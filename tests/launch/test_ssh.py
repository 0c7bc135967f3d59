"""Hosts reached by ssh: a real sshd in namespaces, and a program in place of ssh where that is enough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from oneflow.launch import ssh

from tests.launch.cluster import LAUNCH, Cluster, end, needs_sshd, wait_for
from tests.launch.test_hosts import PROGRAM

# Runs the remote command here, in a session of its own as sshd does, and ends when its input does.
FAKE = """#!/bin/sh
printf '%s\\n' "$@" >> "$FAKE_LOG"
for last; do :; done
echo "Welcome to this host"
exec setsid -w sh -c "$last"
"""
HOSTILE = [
    "--x",
    "$(touch hacked)",
    "`touch hacked`",
    "a b",
    "'",
    '"',
    "; touch hacked",
    "*",
    "ä\n",
    "",
]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "ssh"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    monkeypatch.chdir(tmp_path)
    return program


def launch(fake: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAUNCH, "--ssh", str(fake), "--master-addr", "127.0.0.1", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_hosts_get_the_program_as_it_was_typed(fake: Path) -> None:
    program = fake.parent / "program.py"
    program.write_text(
        "import os, sys\n"
        "print(sys.argv[1:] == eval(os.environ['EXPECTED']), os.getcwd(), os.environ['WORLD_SIZE'])\n"
        "print('oh', file=sys.stderr)\n"
    )
    result = launch(
        fake, "--hosts", "a,b:2", "--env", f"EXPECTED={HOSTILE!r}", str(program), *HOSTILE
    )
    assert result.returncode == 0, result.stderr
    for rank in range(3):
        assert f"[rank{rank}]: True {fake.parent} 3\n" in result.stdout
        assert f"[rank{rank}]: oh\n" in result.stderr
    assert not (fake.parent / "hacked").exists()
    seen = (fake.parent / "log").read_text()
    assert "program.py" not in seen and "EXPECTED" not in seen and "hacked" not in seen


def test_what_a_host_says_of_a_failure_comes_last(fake: Path) -> None:
    program = fake.parent / "program.py"
    program.write_text(
        "import os, sys, time\n"
        "if os.environ['RANK'] == '1':\n    print('last words', file=sys.stderr)\n    sys.exit(9)\n"
        "time.sleep(600)\n"
    )
    result = launch(fake, "--hosts", "a,b", str(program))
    assert result.returncode == 9
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("oneflow-launch: root cause: rank 1 on host b: exit code 9")
    assert "[rank1]: last words" in lines[:-1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--hosts", "a,a"], 2, "a stands twice"),
        (["--hosts=-oProxyCommand=x"], 2, "no name of a host"),
        (["--hosts", "a;b"], 2, "no name of a host"),
        (["--hosts", "a", "--nnodes", "2"], 2, "but 1 hosts are listed"),
        (["--hosts", "a", "--remote-python", "/no such"], 69, "root cause: host a: ssh ended"),
        (["--hosts", "a", "--ssh", "false"], 69, "root cause: host a: ssh ended with exit code 1"),
        (["--hosts", "a", "--nproc-per-node", "gpu", "--env", "X=1"], 127, "no NVIDIA GPU"),
        (["--hosts", "a", "--no-python"], 127, "ranks on host a: cannot start `x.py`"),
        (["--hosts", "a", "--master-addr", "198.51.100.7"], 127, "no address of this host"),
    ],
)
def test_what_goes_wrong_is_explained(
    fake: Path, arguments: list[str], code: int, words: str
) -> None:
    result = launch(fake, *arguments, "x.py")
    assert result.returncode == code and words in result.stderr, result.stderr


def test_no_rank_outlives_a_killed_ssh_or_launcher(fake: Path) -> None:
    program = fake.parent / "program.py"
    program.write_text(
        "import os, time\nprint('running', os.getpid(), flush=True)\ntime.sleep(600)\n"
    )
    command = [*LAUNCH, "--ssh", str(fake), "--master-addr", "127.0.0.1", "--hosts", "a,b"]
    launcher = subprocess.Popen(
        [*command, str(program)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert launcher.stdout is not None
    pids = [int(launcher.stdout.readline().split()[-1]) for _ in range(2)]
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    launcher.stdout.close()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_host_files(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(
        "# ours\nnode1 slots=4\n\nme@10.0.0.7 port=2222 slots=2  # behind the wall\nfd00::1\n"
    )
    assert ssh.parse_hostfile(path) == [
        ssh.Target("node1", 4),
        ssh.Target("me@10.0.0.7", 2, 2222),
        ssh.Target("fd00::1"),
    ]
    for text, words in (
        ("node1 slots=x\n", "hosts:1: slots=x"),
        ("a\nnode1 gpus=2\n", "hosts:2: `gpus=2` is neither"),
        ("$(x)\n", "no name of a host"),
        ("# nothing\n", "no host stands there"),
        ("a port=70000", "1 to 65535"),
    ):
        path.write_text(text)
        with pytest.raises(ssh.HostFileError, match=words.replace("$", r"\$").replace("(", r"\(")):
            ssh.parse_hostfile(path)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(hosts=3) as made:
        (made.folder / "train.py").write_text(PROGRAM)
        yield made


@needs_sshd
def test_real_ssh(cluster: Cluster) -> None:
    """From h3 onto h1 and h2: they train; nothing secret is in a command line; ssh dies, and all are ended."""
    words = [cluster.serve_ssh(number) for number in (1, 2)][0]
    for number in (1, 2):
        cluster.wait_for_ssh(number, from_host=3)
    start = [
        *LAUNCH,
        "--ssh",
        words,
        "--hosts",
        "root@h1,root@h2",
        "--env",
        "ONEFLOW_PEER_SECONDS=30",
    ]
    program = str(cluster.folder / "train.py")
    code, lines = end(cluster.start(3, [*start, program, "5"]))
    assert code == 0 and sum("loss" in line for line in lines) == 2, lines
    launcher = cluster.start(3, [*start, program, "1000000"])
    wait_for(launcher, "running", 2)
    clients = [pid for pid, line in cluster.processes(3).items() if line.startswith("ssh ")]
    assert len(clients) == 2
    agents = [line for line in cluster.processes(2).values() if "launch.agent" in line]
    assert agents and all(f"{sys.executable} -u -m oneflow.launch.agent" in line for line in agents)
    os.kill(clients[-1], signal.SIGKILL)
    code, lines = end(launcher)
    assert code == 69 and "root cause: host root@h" in lines[-1], lines
    cluster.assert_nothing_runs(1, 2, 3)
