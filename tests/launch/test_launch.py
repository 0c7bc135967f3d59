"""oneflow-launch: prefixes, exit codes, root cause, no orphans. Ranks here are plain Python programs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LAUNCH = [sys.executable, "-m", "oneflow.launch"]


def launch(*arguments: str, timeout: float = 60, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAUNCH, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        **options,
    )


def script(folder: Path, text: str) -> str:
    path = folder / "program.py"
    path.write_text("import os, sys, time, json, signal\nrank = int(os.environ['RANK'])\n" + text)
    return str(path)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_every_rank_gets_its_environment_and_its_lines_a_prefix(tmp_path):
    program = script(
        tmp_path,
        "job = os.environ['ONEFLOW_JOB_DIR']\n"
        "secret = os.path.join(job, 'secret')\n"
        "print('mode', oct(os.stat(secret).st_mode & 0o777), len(open(secret, 'rb').read()))\n"
        "print(os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK'], sys.argv[1:], file=sys.stderr)\n",
    )
    # `--log` begins like two flags of the launcher; behind the program it is the program's own.
    result = launch("--nproc-per-node", "3", program, "--lr", "0.1", "--log", "x")
    assert result.returncode == 0, result.stderr
    for rank in range(3):
        assert f"[rank{rank}]: mode 0o600 32\n" in result.stdout
        assert f"[rank{rank}]: 3 {rank} ['--lr', '0.1', '--log', 'x']\n" in result.stderr


def test_one_failure_ends_all_and_the_root_cause_is_last_and_once(tmp_path):
    program = script(
        tmp_path,
        "if rank == 1:\n"
        "    time.sleep(0.3)\n"
        "    report = dict(type='ShapeError', message='bad shape', location='mlp.py:7', peer=False, time=1.0)\n"
        "    json.dump(report, open(os.environ['ONEFLOW_JOB_DIR'] + '/error.1.json', 'w'))\n"
        "    sys.exit(3)\n"
        "if rank == 2:\n"
        "    report = dict(type='PeerError', message='rank 1 left', location='', peer=True, time=0.5)\n"
        "    json.dump(report, open(os.environ['ONEFLOW_JOB_DIR'] + '/error.2.json', 'w'))\n"
        "    sys.exit(1)\n"
        "time.sleep(600)\n",
    )
    result = launch("--nproc-per-node", "3", program)
    assert result.returncode == 3
    last = result.stderr.strip().splitlines()[-1]
    assert last == "oneflow-launch: root cause: rank 1: ShapeError at mlp.py:7: bad shape"
    assert result.stderr.count("root cause") == 1


def test_a_killed_rank_is_named_with_its_signal(tmp_path):
    program = script(
        tmp_path, "if rank == 0: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(600)\n"
    )
    result = launch("--nproc-per-node", "2", program)
    assert result.returncode == 128 + signal.SIGKILL
    assert "root cause: rank 0: killed by signal 9 (SIGKILL)" in result.stderr


def test_a_rank_that_ignores_sigterm_is_killed(tmp_path):
    program = script(
        tmp_path,
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif rank == 0: sys.exit(5)\ntime.sleep(600)\n",
    )
    assert launch("--nproc-per-node", "2", program).returncode == 5


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_orphan_outlives_the_launcher(tmp_path, how):
    program = script(
        tmp_path,
        f"open({str(tmp_path)!r} + f'/pid{{rank}}', 'w').write(str(os.getpid()))\ntime.sleep(600)\n",
    )
    launcher = subprocess.Popen(
        [*LAUNCH, "--nproc-per-node", "2", program],
        stderr=subprocess.DEVNULL,
    )
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    assert wait_until(lambda: all(f.exists() and f.read_text() for f in files))
    pids = [int(f.read_text()) for f in files]
    assert all(alive(pid) for pid in pids)
    os.kill(launcher.pid, how)
    launcher.wait(timeout=30)
    assert wait_until(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_of_ranks_and_the_secret_go_with_the_launcher(tmp_path, how):
    program = script(
        tmp_path,
        "import subprocess\n"
        "sleeper = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "child = subprocess.Popen(sleeper, start_new_session=True)\n"
        f"open({str(tmp_path)!r} + f'/job', 'w').write(os.environ['ONEFLOW_JOB_DIR'])\n"
        f"open({str(tmp_path)!r} + f'/pid', 'w').write(str(child.pid))\n"
        "time.sleep(600)\n",
    )
    launcher = subprocess.Popen([*LAUNCH, program], stderr=subprocess.DEVNULL)
    pid = tmp_path / "pid"
    assert wait_until(lambda: pid.exists() and pid.read_text())
    folder = Path((tmp_path / "job").read_text())
    assert alive(int(pid.read_text())) and (folder / "secret").exists()
    os.kill(launcher.pid, how)
    launcher.wait(timeout=30)
    assert wait_until(lambda: not alive(int(pid.read_text())) and not folder.exists())


def test_closed_output_ends_the_job_in_order(tmp_path):
    program = script(
        tmp_path,
        f"open({str(tmp_path)!r} + f'/pid{{rank}}', 'w').write(str(os.getpid()))\n"
        "while True:\n"
        "    print('x' * 1000, flush=True)\n"
        "    time.sleep(0.001)\n",
    )
    launcher = subprocess.Popen(
        [*LAUNCH, "--nproc-per-node", "2", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert launcher.stdout is not None and launcher.stderr is not None
    assert launcher.stdout.readline().startswith(b"[rank")
    launcher.stdout.close()  # as `| head -1` does
    assert launcher.wait(timeout=30) == 128 + signal.SIGPIPE
    assert launcher.stderr.read().strip().splitlines() == [
        b"oneflow-launch: its output was closed; all ranks ended"
    ]
    launcher.stderr.close()
    # The other rank may have been ended before it wrote its number.
    pids = [int(text) for path in tmp_path.glob("pid*") if (text := path.read_text())]
    assert pids and not any(alive(pid) for pid in pids)


def write_error(**report) -> str:
    return f"json.dump({report!r}, open(os.environ['ONEFLOW_JOB_DIR'] + f'/error.{{rank}}.json', 'w'))\n"


ECHO = {"type": "PeerError", "message": "lost rank 1", "location": "", "peer": True, "blames": 1}


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        ("os._exit(0)", "rank 1: ended with exit code 0 while other ranks still needed it"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "rank 1: stopped (SIGSTOP"),
        ("time.sleep(600)", "rank 1: does not answer the other ranks, though it runs"),
    ],
)
def test_a_rank_that_others_blame_is_named_by_what_became_of_it(tmp_path, fate, words):
    program = script(
        tmp_path,
        f"if rank == 1: {fate}\ntime.sleep(0.5)\n{write_error(**ECHO, time=1.0)}sys.exit(1)\n",
    )
    result = launch("--nproc-per-node", "3", program)
    assert result.returncode == 1
    assert f"root cause: {words}" in result.stderr.splitlines()[-1], result.stderr


def test_rank_0_inherits_a_socket_that_listens_at_the_jobs_port(tmp_path):
    program = script(
        tmp_path,
        "import socket\n"
        "if rank == 0:\n"
        "    listener = socket.socket(fileno=int(os.environ['ONEFLOW_LISTENER']))\n"
        "    assert listener.getsockname() == ('127.0.0.1', int(os.environ['MASTER_PORT']))\n"
        "    listener.accept()[0].sendall(b'x')\n"
        "else:\n"
        "    assert 'ONEFLOW_LISTENER' not in os.environ\n"
        "    peer = socket.create_connection(('127.0.0.1', int(os.environ['MASTER_PORT'])))\n"
        "    assert peer.recv(1) == b'x'\n",
    )
    result = launch("--nproc-per-node", "2", program)
    assert result.returncode == 0, result.stderr


def test_logs_are_written_per_rank(tmp_path):
    program = script(tmp_path, "print('hello', rank)\nprint('oh', rank, file=sys.stderr)\n")
    assert (
        launch("--nproc-per-node", "2", "--log-dir", str(tmp_path / "logs"), program).returncode
        == 0
    )
    lines = (tmp_path / "logs" / "rank1.log").read_text().splitlines()
    assert sorted(lines) == ["hello 1", "oh 1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nproc-per-node", "none", "x.py"], "neither a number nor `auto`"),
        (["--nproc-per-node", "0", "x.py"], "from 1 to 1024"),
        (["--nnodes", "2", "x.py"], "give --node-rank 0 to 1"),
        (["--master-addr", "198.51.100.7", "x.py"], "no address of this host"),
        (["--no-python", "no-such-program"], "cannot start `no-such-program`"),
    ],
)
def test_bad_arguments_are_explained(arguments, words):
    result = launch(*arguments)
    assert result.returncode not in (0, None)
    assert words in result.stderr


def test_dry_run_starts_nothing(tmp_path):
    result = launch("--nproc-per-node", "2", "--dry-run", "-m", "pkg.train", "--x")
    assert result.returncode == 0
    assert "[rank1]: " in result.stdout and "-m pkg.train --x" in result.stdout


def test_json_reports_that_are_damaged_do_not_hide_the_failure(tmp_path):
    program = script(
        tmp_path,
        "open(os.environ['ONEFLOW_JOB_DIR'] + '/error.0.json', 'w').write('{')\nsys.exit(4)\n",
    )
    result = launch("--nproc-per-node", "1", program)
    assert result.returncode == 4
    assert "root cause: rank 0: exit code 4" in result.stderr
