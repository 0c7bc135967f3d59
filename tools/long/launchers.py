"""Open MPI and Slurm for real, and hosts that come back: ranks and launchers killed, ended, started again, on two hosts.

Hosts are network namespaces with a slurmd each (tests/launch/cluster.py); needs root. Arguments: parts of the names of cases.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable

from tests.launch.cluster import Cluster, end, output_of, wait_for
from tests.launch.test_hosts import PROGRAM
from tools import results

COST = "about 2 minutes"
SECRET = secrets.token_hex(32)
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-x", "ONEFLOW_SECRET"]
LAUNCH = [sys.executable, "-m", "oneflow.launch"]

GREETING = """
from oneflow import environment as e
said = e.transport().all_gather(b"r%d" % e.rank())
print(f"I am {e.rank()} {e.local_rank()} {b' '.join(said).decode()}", flush=True)
"""

SLURM = """
ClusterName=namespaces
SlurmctldHost=h1(10.50.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=h1 NodeAddr=10.50.0.1 CPUs=4
NodeName=h2 NodeAddr=10.50.0.2 CPUs=4
PartitionName=all Nodes=h1,h2 Default=YES
"""
CGROUP = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n"


class Site:
    """Two hosts with Slurm. Use as a context."""

    def __init__(self) -> None:
        self.cluster = Cluster(hosts=2)
        self.folder = self.cluster.folder
        self.folder.chmod(0o755)
        (self.folder / "greet.py").write_text(GREETING)
        (self.folder / "train.py").write_text(PROGRAM)

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.__exit__()

    def script(self, name: str) -> str:
        return str(self.folder / name)

    def start(self, *command: str) -> subprocess.Popen[str]:
        return self.cluster.start(
            1, list(command), ONEFLOW_SECRET=SECRET, SLURM_CONF=str(self.folder / "slurm.conf")
        )

    def serve_slurm(self) -> None:
        (self.folder / "slurm.conf").write_text(SLURM.format(folder=self.folder))
        (self.folder / "cgroup.conf").write_text(CGROUP)
        (self.folder / "state").mkdir()
        key = self.folder / "munge" / "key"
        key.parent.mkdir(mode=0o755)
        key.write_bytes(secrets.token_bytes(64))
        subprocess.run(["chown", "-R", "munge", str(key.parent)], check=True)
        key.chmod(0o400)
        place = [f"--{name}={key.parent / name}" for name in ("socket", "pid-file", "log-file")]
        place += [f"--seed-file={key.parent}/seed", f"--key-file={key}", "--foreground"]
        self.start("runuser", "-u", "munge", "--", "munged", *place)
        conf = str(self.folder / "slurm.conf")
        self.start("slurmctld", "-D", "-f", conf)
        for number in (1, 2):
            self.cluster.start(number, ["slurmd", "-D", "-f", conf, "-N", f"h{number}"])
        deadline = time.monotonic() + 60
        while True:
            code, lines = end(self.start("sinfo", "-h", "-o", "%T %D"))
            if code == 0 and lines == ["idle 2"]:
                return
            assert time.monotonic() < deadline, (lines, self._logs())
            time.sleep(0.5)

    def _logs(self) -> str:
        return "\n".join(
            path.read_text()[-1500:] for path in sorted(self.folder.glob("slurm*.log"))
        )

    def programs(self) -> dict[int, str]:
        """Processes of the job on both hosts, without those of Slurm."""
        both = {**self.cluster.processes(1), **self.cluster.processes(2)}
        return {pid: line for pid, line in both.items() if "greet.py" in line or "train.py" in line}

    def assert_nothing_runs(self) -> None:
        deadline = time.monotonic() + 60
        while left := self.programs():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)


def assert_greet(process: subprocess.Popen[str], count: int) -> None:
    code, lines = end(process)
    assert code == 0, lines
    everybody = " ".join(f"r{rank}" for rank in range(count))
    ranks = {int(match[1]) for line in lines if (match := re.search(r"I am (\d+) \d+ (.*)", line))}
    assert ranks == set(range(count)) and sum(everybody in line for line in lines) == count, lines


def mpirun_starts_ranks(site: Site) -> None:
    assert_greet(site.start(*MPIRUN, "-n", "3", sys.executable, site.script("greet.py")), 3)


def mpirun_starts_a_launcher(site: Site) -> None:
    command = [*LAUNCH, "--nproc-per-node", "2", site.script("greet.py")]
    assert_greet(site.start(*MPIRUN, "-n", "1", *command), 2)


def srun_starts_ranks(site: Site) -> None:
    srun = ["srun", "-N2", "-n4", "--overcommit", "--kill-on-bad-exit=1"]
    assert_greet(site.start(*srun, sys.executable, site.script("greet.py")), 4)


def srun_starts_launchers(site: Site) -> None:
    srun = ["srun", "-N2", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    command = [*LAUNCH, "--nproc-per-node", "2", site.script("greet.py")]
    assert_greet(site.start(*srun, *command), 4)


def a_rank_is_killed_under_srun(site: Site) -> None:
    srun = ["srun", "-N2", "--ntasks-per-node=1"]
    job = site.start(*srun, *LAUNCH, site.script("train.py"), "1000000")
    text = wait_for(job, "running", 2)
    pids = {int(r): int(pid) for r, pid in re.findall(r"running (\d+) (\d+)", text)}
    os.kill(pids[1], signal.SIGKILL)
    code, _ = end(job)
    text = output_of(job)
    assert code == 128 + signal.SIGKILL, (code, text)
    assert text.count("root cause") == 1
    assert "root cause: rank 1 on host h2: killed by signal 9" in text
    site.assert_nothing_runs()


def a_batch_job_is_cancelled(site: Site) -> None:
    script = site.folder / "job.sbatch"
    out = site.folder / "job.out"
    launch = " ".join(LAUNCH)
    script.write_text(
        f"#!/bin/bash\nsrun --ntasks-per-node=1 {launch} {site.script('train.py')} 1000000\n"
    )
    sbatch = ["sbatch", "--parsable", "-N2", "--ntasks-per-node=1", f"--output={out}"]
    code, lines = end(site.start(*sbatch, str(script)))
    assert code == 0, lines
    deadline = time.monotonic() + 60
    while not out.exists() or out.read_text().count("running") < 2:
        assert time.monotonic() < deadline, out.read_text() if out.exists() else "never began"
        time.sleep(0.1)
    end(site.start("scancel", lines[0]))
    site.assert_nothing_runs()
    assert "root cause" not in out.read_text().replace("root cause: the launcher", "")


def a_lost_host_comes_back_by_ssh(site: Site) -> None:
    """Everything of a job on h2 is killed, and ssh with it: 20 s later h2 has a new launcher, and the job goes on."""
    words = [site.cluster.serve_ssh(number) for number in (1, 2)][0]
    for number in (1, 2):
        site.cluster.wait_for_ssh(number, from_host=3 - number)
    arguments = ["--ssh", words, "--hosts", "10.50.0.1,10.50.0.2", "--max-restarts", "1"]
    job = site.start(*LAUNCH, *arguments, site.script("train.py"), "3000")
    wait_for(job, "running", 2)
    _kill_launchers(site, 2)
    code, lines = end(job)
    assert code == 0, lines
    assert sum("restart 1 of 1, because of host 10.50.0.2" in line for line in lines) == 1, lines
    assert sum("]: loss 0x" in line for line in lines) == 2, lines
    site.assert_nothing_runs()


def a_lost_host_comes_back_as_a_pod_does(site: Site) -> None:
    """As above, and a scheduler starts the launcher of that host again."""
    rest = ["--nnodes", "2", "--master-addr", "h1", "--max-restarts", "1"]
    rest += [site.script("train.py"), "3000"]
    first = site.start(*LAUNCH, "--node-rank", "0", *rest)
    other = [*LAUNCH, "--node-rank", "1", *rest]
    site.cluster.start(2, other, ONEFLOW_SECRET=SECRET)
    wait_for(first, "running", 1)
    _kill_launchers(site, 2)
    again = site.cluster.start(2, other, ONEFLOW_SECRET=SECRET)
    code, lines = end(first)
    assert code == 0, lines
    assert any("restart 1 of 1, because of host h2" in line for line in lines), lines
    assert end(again)[0] == 0
    site.assert_nothing_runs()


def _kill_launchers(site: Site, number: int) -> None:
    for pid, line in site.cluster.processes(number).items():
        if "oneflow.launch" in line:
            os.kill(pid, signal.SIGKILL)


HOST_CASES = (a_lost_host_comes_back_by_ssh, a_lost_host_comes_back_as_a_pod_does)
MPI_CASES = (mpirun_starts_ranks, mpirun_starts_a_launcher)
SLURM_CASES = (
    srun_starts_ranks,
    srun_starts_launchers,
    a_rank_is_killed_under_srun,
    a_batch_job_is_cancelled,
)


def main(arguments: list[str]) -> int:
    if os.geteuid() != 0:
        print("needs root: hosts are network namespaces with a slurmd each", file=sys.stderr)
        return 2
    failed = []
    chosen: list[Callable[[Site], None]] = [
        case
        for case in (*HOST_CASES, *MPI_CASES, *SLURM_CASES)
        if not arguments or any(part in case.__name__ for part in arguments)
    ]
    with Site() as site:
        if any(case in SLURM_CASES for case in chosen):
            site.serve_slurm()
        for case in chosen:
            begin = time.monotonic()
            try:
                case(site)
                verdict = "as expected"
            except Exception:
                verdict = traceback.format_exc()
                failed.append(case.__name__)
            print(f"{case.__name__:32} {time.monotonic() - begin:5.1f} s: {verdict}", flush=True)
    code = 1 if failed or not chosen else 0
    results.append(
        "launchers",
        counts={"cases": len(chosen), "failed": len(failed)},
        figures={"failed": failed, "mpirun": _version("mpirun"), "slurm": _version("slurmd", "-V")},
        exit_code=code,
    )
    return code


def _version(program: str, flag: str = "--version") -> str:
    ran = subprocess.run([program, flag], capture_output=True, text=True)
    return (ran.stdout.splitlines() or [""])[0]
