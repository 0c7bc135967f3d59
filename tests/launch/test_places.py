"""Who a process is, from what Slurm, MPI, Kubernetes and Kubeflow set; which flags that completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from oneflow import schedulers
from oneflow.launch import options, pinning

SRUN = {  # of `srun -N2 -n8`, as Slurm 22.05 sets it for task 5
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_JOB_NAME": "train",
}
ONE_PER_HOST = {
    **SRUN,
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}
MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_NAMESPACE": "1234",
}


def where(environ: dict[str, str], *arguments: str) -> options.Where:
    return options.place(options.parser(environ).parse_args([*arguments, "x.py"]), environ)


def test_lists_of_hosts() -> None:
    assert schedulers.expand_hosts("n[1-3,07],login,r[09-11]x") == (
        ["n1", "n2", "n3", "n07", "login", "r09x", "r10x", "r11x"]
    )


def test_ranks_of_srun_and_mpirun() -> None:
    place = schedulers.rank_of(SRUN)
    assert place is not None
    assert (place.number, place.count, place.local_number, place.local_count) == (5, 8, 1, 4)
    assert place.address == "gpu07" and place.job == "slurm-77.0"
    other = schedulers.rank_of({**SRUN, "SLURM_STEP_ID": "1"})
    assert other is not None and other.port != place.port
    place = schedulers.rank_of(MPIRUN)
    assert place is not None
    assert (place.number, place.count, place.local_number, place.address) == (3, 4, 1, "")
    place = schedulers.rank_of({**MPIRUN, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"})
    assert place is not None and place.address == "127.0.0.1"
    place = schedulers.rank_of({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0"})
    assert place is not None and (place.number, place.local_number) == (1, 0)


def test_what_only_looks_like_a_rank() -> None:
    batch_script = {name: value for name, value in SRUN.items() if "STEP" not in name}
    assert schedulers.rank_of(batch_script) is None
    assert schedulers.rank_of({**SRUN, "SLURM_JOB_NAME": "bash"}) is None
    assert schedulers.rank_of({**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None


def test_hosts_of_schedulers() -> None:
    place = where(ONE_PER_HOST)
    assert (place.hosts, place.number, place.address) == (2, 1, "gpu07")
    place = where({"JOB_COMPLETION_INDEX": "2"}, "--nnodes", "4", "--master-addr", "train-0.train")
    assert (place.hosts, place.number, place.address, place.port) == (4, 2, "train-0.train", 29500)
    pet = {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "a", "PET_MASTER_PORT": "7"}
    assert where(pet) == options.Where(2, 1, "a", 7)
    assert where(pet, "--master-addr", "b", "--node_rank=0") == options.Where(2, 0, "b", 7)
    pytorchjob = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "m", "MASTER_PORT": "23456"}
    place = where(pytorchjob)
    assert (place.hosts, place.number, place.address, place.port) == (3, 1, "m", 23456)
    assert where({**pytorchjob, "LOCAL_RANK": "0"}).hosts == 1  # started by a launcher, not a pod
    assert where(ONE_PER_HOST, "--standalone").hosts == 1
    assert where({}, "--nnodes=2", "--node-rank=1", "--rdzv-endpoint", "c:5") == (
        options.Where(2, 1, "c", 5)
    )


@pytest.mark.parametrize(
    ("environ", "arguments", "words"),
    [
        (SRUN, [], "started 4 launchers on this host.*ntasks-per-node=1"),
        ({}, ["--nnodes", "2", "--master-addr", "a"], "give --node-rank 0 to 1"),
        ({}, ["--nnodes", "2", "--node-rank", "0"], "give --master-addr"),
        ({}, ["--nnodes", "2", "--node-rank", "2", "--master-addr", "a"], "0 to 1"),
        ({}, ["--node-rank", "1"], "give --nnodes too"),
    ],
)
def test_what_is_unclear_is_asked_for(
    environ: dict[str, str], arguments: list[str], words: str
) -> None:
    with pytest.raises(options.Unclear, match=words):
        where(environ, *arguments)


def test_cores_are_shared_out_with_their_hyperthreads(tmp_path: Path) -> None:
    # Two sockets of two cores of two threads, numbered as Linux does: threads of core i are i and i + 4.
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "core_id").write_text(str(cpu % 2))
        (folder / "physical_package_id").write_text(str(cpu % 4 // 2))
        (tmp_path / f"cpu{cpu}" / f"node{cpu % 4 // 2}").mkdir()
    cpus = set(range(8))
    assert pinning.shares(2, tmp_path, cpus) == [{0, 4, 1, 5}, {2, 6, 3, 7}]
    assert pinning.shares(4, tmp_path, cpus) == [{0, 4}, {1, 5}, {2, 6}, {3, 7}]
    assert pinning.shares(3, tmp_path, cpus) == [{0, 4}, {1, 5}, {2, 6, 3, 7}]
    assert pinning.shares(8, tmp_path, cpus) == [{0}, {4}, {1}, {5}, {2}, {6}, {3}, {7}]
    assert pinning.shares(2, tmp_path, {3, 5}) == [{5}, {3}]  # what a scheduler has left us
    assert pinning.shares(9, tmp_path, cpus) == [cpus] * 9


def run_ranks(folder: Path, environments: list[dict[str, str]], **more: str) -> list[str]:
    """The same greeting as ranks of these environments; what each prints."""
    program = folder / "greet.py"
    program.write_text(
        "from oneflow import environment as e\n"
        "print(e.rank(), e.local_rank(), e.transport().all_gather(b'r%d' % e.rank()))\n"
    )
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("SLURM", "OMPI", "PM"))}
    started = [
        subprocess.Popen(
            [sys.executable, str(program)],
            env={**clean, "OMP_NUM_THREADS": "1", **environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for environment in environments
    ]
    return [process.communicate(timeout=60)[0] for process in started]


def test_a_program_started_once_per_rank_by_srun_or_mpirun(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("ab" * 32 + "\n")
    mpirun = [
        {**MPIRUN, "OMPI_COMM_WORLD_RANK": r, "OMPI_COMM_WORLD_LOCAL_RANK": r}
        | {"OMPI_COMM_WORLD_SIZE": "2", "PMIX_NAMESPACE": tmp_path.name}
        for r in ("0", "1")
    ]
    srun = [
        {**SRUN, "SLURM_PROCID": r, "SLURM_LOCALID": r, "SLURM_STEP_NUM_TASKS": "2"}
        | {"SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_TASKS_PER_NODE": "2"}
        | {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NUM_NODES": "1", "SLURM_NODEID": "0"}
        for r in ("0", "1")
    ]
    for environments in (mpirun, srun):
        said = run_ranks(tmp_path, environments, ONEFLOW_SECRET=f"@{secret}")
        assert said == ["0 0 [b'r0', b'r1']\n", "1 1 [b'r0', b'r1']\n"]
    for given, words in (("", "there is no secret"), ("short", "too few to keep anybody out")):
        assert words in run_ranks(tmp_path, mpirun[1:], ONEFLOW_SECRET=given)[0]
