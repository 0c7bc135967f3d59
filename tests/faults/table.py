"""The table of faults: where each may strike, and what must come of it.

A fault is a function of a Trial and of the digest of an undisturbed run; it starts the job, strikes, and asserts the
end of every launcher, the last lines, and that nothing is left. What does not end a job must not change its bits.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from oneflow.launch import guardian

from tests.api import stored
from tests.faults.job import RANKS, STAGES, STEPS, Trial, digest
from tests.launch.cluster import DISK_BYTES, output_of

# Classes of time, from the blow to the end of all launchers. Coarse, for machines with other load; what hangs takes
# 120 s or for ever. What was measured is in the records of ./dev long faults.
AT_ONCE = 20.0
AFTER_SILENCE = 40.0
HOST_LOST, CANNOT_START = 69, 127
# Who comes later than the end finds nobody, and waits as for a rank that is late.
LISTENING, CONNECTED = STAGES[:-1], STAGES[3:-1]
NFT = (
    "nft -f - <<'END'\nadd table inet fault\nadd chain inet fault in "
    "{{ type filter hook input priority 0; }}\nadd rule inet fault in meta l4proto tcp counter\n"
    "add rule inet fault in meta l4proto tcp numgen random mod 1000 < {0} counter drop\nEND"
)
# Segmentation by the device (1 or 0, as ethtool -K eth0 tso, gso, gro): with it 64 KiB travel as one packet.
OFFLOADS = """python3 - <<'END'
import array, fcntl, socket, struct
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for command in (0x1f, 0x24, 0x2c):  # ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO
    value = array.array("I", [command, {0}])
    fcntl.ioctl(probe, 0x8946, struct.pack("16sP16x", b"eth0", value.buffer_info()[0]))
END"""
GREETING = """
from oneflow import environment
environment.transport().all_gather(b"hello")
"""


@dataclass(frozen=True)
class Fault:
    """A row of the table."""

    name: str
    run: Callable[[Trial, str], None]
    stages: tuple[str, ...]
    victims: tuple[int, ...]
    first_checkpoints: int


FAULTS: dict[str, Fault] = {}


def fault(
    *,
    stages: tuple[str, ...] = STAGES,
    victims: tuple[int, ...] = (0, 1, 2),
    first_checkpoints: int = 4,
) -> Callable[[Callable[[Trial, str], None]], Callable[[Trial, str], None]]:
    def add(run: Callable[[Trial, str], None]) -> Callable[[Trial, str], None]:
        name = run.__name__.replace("_", "-")
        FAULTS[name] = Fault(name, run, stages, victims, first_checkpoints)
        return run

    return add


def assert_failed(trial: Trial, code: int, cause: str, limit: float) -> None:
    """The first launcher ends with this code and this root cause, said once; the others say who it was."""
    codes = trial.end()
    seconds = time.monotonic() - trial.struck
    lines = trial.lines(1)
    assert lines[-1].startswith(f"oneflow-launch: root cause: {cause}"), trial.text()
    assert sum("root cause" in line for line in lines) == 1, trial.text()
    assert codes[0] == code, (codes, trial.text())
    who = cause.split(":")[0]
    for host in range(2, RANKS + 1):
        assert codes[host - 1] != 0, (codes, trial.text())
        said = trial.lines(host)[-1]
        is_told = f"because {who} failed" in said or f"host h{host}: " in cause
        assert is_told or "lost the launcher that leads the job" in said, trial.text()
    assert seconds < limit, f"it took {seconds:.1f} s\n{trial.text()}"
    trial.assert_all_gone(AT_ONCE)


def assert_same_bits(trial: Trial, bits: str) -> None:
    codes = trial.end()
    assert codes == [0] * RANKS, (codes, trial.text())
    trial.assert_all_gone(AT_ONCE)
    for rank in range(RANKS):
        assert digest(trial.folder, rank) == bits, f"other bits\n{trial.text()}"


@fault()
def rank_killed(trial: Trial, bits: str) -> None:
    with trial.at_event() as pid:
        os.kill(pid, signal.SIGKILL)
    cause = f"rank {trial.victim} on host h{trial.host}: killed by signal 9"
    assert_failed(trial, 128 + signal.SIGKILL, cause, AT_ONCE)


@fault()
def rank_stopped(trial: Trial, bits: str) -> None:
    with trial.at_event() as pid:
        os.kill(pid, signal.SIGSTOP)
    cause = f"rank {trial.victim} on host h{trial.host}: stopped (SIGSTOP"
    codes = trial.end()
    assert codes[0] in (1, 128 + signal.SIGKILL), (codes, trial.text())
    assert_failed(trial, codes[0], cause, AFTER_SILENCE)


@fault()
def host_cut_off(trial: Trial, bits: str) -> None:
    trial.heal.append((0, "up"))
    with trial.at_event():
        trial.cluster.plug(trial.host, "down")
    if trial.host > 1:
        cause = f"host h{trial.host}: no sign of life"
        assert_failed(trial, HOST_LOST, cause, AFTER_SILENCE)
        return
    # The first host's launcher cannot tell that it is the one who is alone: to it, another is gone.
    codes = trial.end()
    seconds = time.monotonic() - trial.struck
    assert codes == [HOST_LOST] * RANKS, (codes, trial.text())
    for host in range(2, RANKS + 1):
        assert "lost the launcher that leads the job" in trial.lines(host)[-1], trial.text()
    last = trial.lines(1)[-1]
    assert "root cause: host h" in last and "no sign of life" in last, trial.text()
    assert seconds < AFTER_SILENCE, f"it took {seconds:.1f} s\n{trial.text()}"
    trial.assert_all_gone(AT_ONCE)


def _lossy(trial: Trial, bits: str, per_mille: int) -> None:
    """Packets to the victim's host are dropped at random, as long ones as go over a wire."""
    for host in range(1, RANKS + 1):
        trial.heal.append((host, OFFLOADS.format(1)))
        trial.cluster.check(host, OFFLOADS.format(0))
    with trial.at_event():
        trial.heal.append((trial.host, "nft delete table inet fault"))
        trial.cluster.check(trial.host, NFT.format(per_mille))
    assert_same_bits(trial, bits)
    rules = trial.cluster.check(trial.host, "nft list table inet fault")
    came, dropped = map(int, re.findall(r"packets (\d+)", rules))
    trial.figures = {"packets": came, "dropped": dropped}
    if trial.stage in STAGES[:4]:  # most of the job was still to come
        assert came > 1000 and 300 * dropped > came * per_mille / 10, trial.figures


@fault()
def packets_lost_1_percent(trial: Trial, bits: str) -> None:
    _lossy(trial, bits, 10)


@fault()
def packets_lost_5_percent(trial: Trial, bits: str) -> None:
    _lossy(trial, bits, 50)


@fault()
def link_slow(trial: Trial, bits: str) -> None:
    with trial.at_event():
        trial.heal.append((trial.host, "tc qdisc del dev eth0 root"))
        slow = "tc qdisc add dev eth0 root tbf rate 10mbit burst 32kb latency 400ms"
        trial.cluster.check(trial.host, slow)
    assert_same_bits(trial, bits)


def _intruder(trial: Trial, bits: str, words: str, **environment: str) -> None:
    """Another process comes as the victim, is turned away with these words, and harms nobody."""
    with trial.at_event() as pid:
        other = trial.run_as(pid, GREETING, **environment)
        try:
            code = other.wait(timeout=60)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the intruder waits\n{trial.text()}") from None
        assert code != 0 and words in output_of(other), trial.text()
    assert_same_bits(trial, bits)


@fault(stages=CONNECTED, victims=(1, 2), first_checkpoints=3)
def rank_twice(trial: Trial, bits: str) -> None:
    _intruder(trial, bits, f"another one is rank {trial.victim} of this job already")


@fault(stages=LISTENING, victims=(1, 2), first_checkpoints=3)
def rank_of_an_old_epoch(trial: Trial, bits: str) -> None:
    trial.options |= {"epoch": 1, "crash": trial.random.randrange(RANKS)}
    trial.flags = ["--max-restarts", "1"]
    _intruder(trial, bits, "epoch", ONEFLOW_EPOCH="0")


@fault(stages=LISTENING, victims=(1, 2), first_checkpoints=3)
def wrong_secret(trial: Trial, bits: str) -> None:
    with trial.at_event() as pid:
        job = Path(trial.environment_of(pid)["ONEFLOW_JOB_DIR"])
        copy = trial.folder / "strange" / job.name
        copy.mkdir(parents=True)
        (copy / "secret").write_bytes(trial.random.randbytes(32))
        other = trial.run_as(pid, GREETING, ONEFLOW_JOB_DIR=str(copy))
        assert other.wait(timeout=60) != 0, trial.text()
        assert "secret" in output_of(other), trial.text()
    assert_same_bits(trial, bits)


@fault(stages=("compile",))
def another_program(trial: Trial, bits: str) -> None:
    trial.options |= {"count": 0, "odd": trial.random.choice(["op", "width", "batch"])}
    trial.struck = time.monotonic()
    trial.start()
    cause = f"rank {trial.victim} on host h{trial.host}: "
    assert_failed(trial, 1, cause, AFTER_SILENCE)
    assert "run different programs" in trial.lines(1)[-1], trial.text()


@fault(stages=("rendezvous",))
def port_taken(trial: Trial, bits: str) -> None:
    address = trial.random.choice(["0.0.0.0", "10.50.0.1"])
    hold = f"import socket, time; s = socket.create_server(({address!r}, 29500)); print('held', flush=True); time.sleep(90)"
    other = trial.cluster.start(1, ["python3", "-c", hold])
    trial.others.append(other)
    while "held" not in output_of(other):
        assert other.poll() is None, trial.text()
        time.sleep(0.01)
    trial.flags = ["--join-timeout", "1"]
    trial.struck = time.monotonic()
    trial.start()
    assert trial.launchers[0].wait(timeout=AFTER_SILENCE) == CANNOT_START, trial.text()
    said = trial.lines(1)[-1]
    assert "root cause: cannot listen on 10.50.0.1:29500" in said and "in use" in said, trial.text()
    assert f"by process {other.pid} (python3)" in said, trial.text()
    for host, code in enumerate(trial.end()[1:], 2):
        assert code == HOST_LOST and "h1:29500" in trial.lines(host)[-1], trial.text()
    other.kill()
    other.wait()
    trial.assert_all_gone(AT_ONCE)


@fault(stages=("rendezvous",))
def name_not_resolvable(trial: Trial, bits: str) -> None:
    trial.flags = ["--join-timeout", "4"]
    trial.struck = time.monotonic()
    trial.start(**{f"h{trial.host}": ["--master-addr", "no-such-host.invalid"]})
    codes = trial.end()
    assert time.monotonic() - trial.struck < AFTER_SILENCE, trial.text()
    assert 0 not in codes, (codes, trial.text())
    assert "no-such-host.invalid" in trial.lines(trial.host)[-1], trial.text()
    if trial.host > 1:
        assert f"host(s) {trial.victim} of {RANKS} did not come" in trial.lines(1)[-1], trial.text()
    trial.assert_all_gone(AT_ONCE)


def _fill_disk(trial: Trial) -> None:
    """Leaves between nothing and one checkpoint's worth."""
    left = trial.random.randrange(0, 260_000)
    where = trial.cluster.disk
    for _ in range(20):
        # Never another disk than the small one.
        kind, free = trial.cluster.check(1, f"stat -f -c '%T %a %S' {where}").split(" ", 1)
        blocks, size = map(int, free.split())
        assert kind == "tmpfs" and blocks * size <= DISK_BYTES, (kind, blocks * size)
        if blocks * size <= left:
            return
        try:
            trial.cluster.check(1, f"fallocate -l {blocks * size - left} {where}/filler")
            return
        except subprocess.CalledProcessError as error:
            # A thread that does not stand has written since, so there is less room than that.
            if "No space left" not in error.stderr:
                raise
    raise AssertionError(f"the disk is never as full as it shall be\n{trial.text()}")


def _saved(trial: Trial) -> tuple[list[str], list[str]]:
    """Names in the folder of checkpoints, which hosts alone see; copies it to where all do. And which are whole."""
    seen, copy = trial.folder / "checkpoints", trial.folder / "copy"
    trial.cluster.check(
        1, f"cp -r {trial.cluster.disk}/checkpoints {copy}; rm -r {trial.cluster.disk}/*"
    )
    seen.unlink()
    copy.rename(seen)
    names = stored.names(seen)
    whole = []
    for name in names:
        expected = {"model": 70_000, "optimizer": 140_000, "manifest": 1_000}
        sizes = {
            kind: sum(path.stat().st_size for path in (seen / name).glob(f"{kind}*"))
            for kind in expected
        }
        if all(sizes[kind] > least for kind, least in expected.items()):
            whole.append(name)
    return names, whole


def _on_small_disk(trial: Trial) -> None:
    (trial.folder / "checkpoints").symlink_to(trial.cluster.disk / "checkpoints")
    trial.cluster.check(1, f"rm -rf {trial.cluster.disk}/*; mkdir {trial.cluster.disk}/checkpoints")
    with trial.at_event():
        _fill_disk(trial)


def _refused_to_begin(trial: Trial, codes: list[int]) -> bool:
    """Whether the disk was full when the run claimed its folder: it says what it needs, and trains nothing."""
    last = trial.lines(1)[-1]
    if "MiB more than it has there" not in last:
        return False
    assert "root cause: rank 0 on host h1: CheckpointError" in last, trial.text()
    assert codes[0] == 1 and 0 not in codes, (codes, trial.text())
    assert _saved(trial)[0] == [], trial.text()
    trial.assert_all_gone(AT_ONCE)
    return True


@fault(stages=("checkpoint",), victims=(0,), first_checkpoints=2)
def disk_full_for_a_while(trial: Trial, bits: str) -> None:
    _on_small_disk(trial)
    failed = trial.wait_for("failed") is not None
    if failed:
        trial.cluster.check(1, f"rm {trial.cluster.disk}/filler")
        trial.release("failed")
    codes = trial.end()
    if _refused_to_begin(trial, codes):
        return
    assert codes == [0] * RANKS, (codes, trial.text())
    names, whole = _saved(trial)
    assert names == whole == [f"step-{n:08d}" for n in (STEPS - 6, STEPS)] or failed, trial.text()
    assert names == whole and f"step-{STEPS:08d}" in whole, (names, whole, trial.text())
    told = [line for line in trial.lines(1) if "no checkpoint at step" in line]
    assert len(told) == failed, trial.text()
    assert all("No space left" in line and "MiB are free" in line for line in told), trial.text()
    trial.assert_all_gone(AT_ONCE)
    assert digest(trial.folder, 1) == bits, trial.text()


@fault(stages=("checkpoint",), victims=(0,))
def disk_full(trial: Trial, bits: str) -> None:
    (trial.folder / "failed.struck").touch()
    _on_small_disk(trial)
    codes = trial.end()
    if _refused_to_begin(trial, codes):
        return
    names, whole = _saved(trial)
    assert names == whole, (names, whole, trial.text())
    told = [line for line in trial.lines(1) if "no checkpoint at step" in line]
    saved = [n for n in range(6, STEPS + 1, 6) if not any(f"at step {n}:" in line for line in told)]
    assert whole == [f"step-{n:08d}" for n in saved[-2:]], (whole, trial.text())
    if f"step-{STEPS:08d}" in whole:  # there was room for it
        assert codes == [0] * RANKS and digest(trial.folder, 1) == bits, trial.text()
    else:
        assert told and codes[0] == 1, (codes, trial.text())
        last = trial.lines(1)[-1]
        assert "root cause: rank 0 on host h1: CheckpointError" in last, trial.text()
        assert f"step-{STEPS:08d} cannot be written: " in last and "No space left" in last, (
            trial.text()
        )
    trial.assert_all_gone(AT_ONCE)


def _preempted(trial: Trial, bits: str, hosts: list[int]) -> None:
    """SIGTERM to the launchers of these hosts: a step of all ranks is saved if one has begun, and the next start
    goes on there."""
    with trial.at_event():
        for host in hosts:
            trial.launchers[host - 1].send_signal(signal.SIGTERM)  # nsenter has become the launcher
    codes = trial.end()
    assert time.monotonic() - trial.struck < AT_ONCE, trial.text()
    trial.assert_all_gone(AT_ONCE)
    ended = 128 + signal.SIGTERM
    # A job may be over by then; and a host that leaves by itself is lost to the first one.
    allowed = {0, ended} if 1 in hosts else {0, HOST_LOST}
    assert codes[0] in allowed and all(codes[host - 1] in (0, ended) for host in hosts), (
        codes,
        trial.text(),
    )
    said = re.findall(r"ends at step (\d+), as SIGTERM asked", trial.text())
    assert len(said) <= 1, trial.text()
    if trial.stage in ("first step", "mid step", "checkpoint"):
        assert said, trial.text()
    if said:
        assert (trial.folder / "checkpoints" / f"step-{int(said[0]):08d}").exists(), trial.text()
    trial.options |= {"count": 0}
    trial.launchers.clear()
    trial.start()
    assert_same_bits(trial, bits)
    if said and int(said[0]) < STEPS:
        assert f"resumes at step {said[0]} " in trial.text(), trial.text()


@fault()
def job_preempted(trial: Trial, bits: str) -> None:
    _preempted(trial, bits, [1, 2, 3])


@fault()
def host_preempted(trial: Trial, bits: str) -> None:
    _preempted(trial, bits, [trial.host])


@fault(stages=CONNECTED, first_checkpoints=3)
def stale_run(trial: Trial, bits: str) -> None:
    """The whole job stands, launchers too; another one goes on from its checkpoints to the end; the first continues."""
    trial.flags = ["--max-restarts", "1"]
    with trial.at_event():
        pids = [pid for host in range(1, RANKS + 1) for pid in trial.cluster.processes(host)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        stale = list(trial.launchers)
        trial.launchers.clear()
        trial.options |= {"count": 0}
        trial.flags = ["--master-port", "29600"]
        trial.start()
        codes = trial.end()
        assert codes == [0] * RANKS, (codes, trial.text())
        before = _bytes_of(trial.folder / "checkpoints")
    trial.launchers[:0] = stale
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    codes = trial.end()[:RANKS]
    assert time.monotonic() - trial.struck < AFTER_SILENCE, trial.text()
    trial.assert_all_gone(AT_ONCE)
    after = _bytes_of(trial.folder / "checkpoints")
    if max(_claims(after)) > max(_claims(before)):
        # It stood while it claimed the folder, so it is the newer run, and all that it was started for is done.
        claims = _claims(before) | _claims(after)
        before, after = ({n: b for n, b in of.items() if n not in claims} for of in (before, after))
        first = "\n".join(trial.lines(1))
        assert f"resumes at step {STEPS} " in first and "starts anew" not in first, trial.text()
        assert codes == [0] * RANKS and after == before, (codes, trial.text())
    else:
        assert after == before, trial.text()
        assert 0 not in codes, (codes, trial.text())
        assert "StaleRunError" in trial.lines(1)[-1], trial.text()
        assert "epoch 1 of " in trial.lines(1)[-1], trial.text()
    for rank in range(RANKS):
        assert digest(trial.folder, rank) == bits, f"other bits\n{trial.text()}"


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _claims(files: dict[str, bytes]) -> set[str]:
    return {name for name in files if name.endswith(".claim")}


@fault()
def launcher_killed(trial: Trial, bits: str) -> None:
    with trial.at_event():
        first = trial.launchers[trial.victim].pid  # nsenter has become the launcher
        work = [
            pid
            for pid, line in trial.cluster.processes(trial.host).items()
            if "oneflow.launch" in line and guardian.state_of(pid)[1] == first
        ]
        os.kill(trial.random.choice([first, *work]), signal.SIGKILL)
    codes = trial.end()
    seconds = time.monotonic() - trial.struck
    assert 0 not in codes, (codes, trial.text())
    if trial.host > 1:
        assert f"root cause: host h{trial.host}: " in trial.lines(1)[-1], trial.text()
        assert codes[0] == HOST_LOST, (codes, trial.text())
    else:
        for host in range(2, RANKS + 1):
            assert "launcher" in trial.lines(host)[-1], trial.text()
    assert seconds < AT_ONCE, f"it took {seconds:.1f} s\n{trial.text()}"
    trial.assert_all_gone(AT_ONCE)
