"""The files of examples/launch: the host file parses, the batch script runs, the manifest fits Kubernetes and the launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from oneflow.launch import options, ssh

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "launch"

# Starts its command for two tasks, as srun does with two hosts of one task each.
SRUN = """#!/bin/sh
case "$ONEFLOW_SECRET" in *[!0-9a-f]*|"") exit 3;; esac
while [ "${1#-}" != "$1" ]; do shift; done
export SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=2 SLURM_LOCALID=0
export SLURM_STEP_NODELIST=localhost 'SLURM_STEP_TASKS_PER_NODE=1(x2)'
SLURM_PROCID=1 SLURM_NODEID=1 "$@" & other=$!
SLURM_PROCID=0 SLURM_NODEID=0 "$@"; code=$?
wait $other && exit $code
"""


def test_the_host_file() -> None:
    assert ssh.parse_hostfile(EXAMPLES / "hostfile") == [
        ssh.Target("node1", 8),
        ssh.Target("node2", 8, 2222),
        ssh.Target("me@10.0.0.7", 4),
    ]


def test_the_batch_script(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import os, sys\n"
        "print('I am', os.environ['RANK'], os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK'], sys.argv[1:])\n"
    )
    launcher = f'#!/bin/sh\nexec "{sys.executable}" -m oneflow.launch "$@"\n'
    for name, text in (("srun", SRUN), ("oneflow-launch", launcher)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_CPUS_PER_TASK": "4",
        "SLURM_JOB_NAME": "train",
    }
    ran = subprocess.run(
        ["bash", str(EXAMPLES / "train.sbatch"), "--lr", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    for rank in range(16):
        assert f"[rank{rank}]: I am {rank} 16 {rank % 8} ['--lr', '1']\n" in ran.stdout
        assert (tmp_path / "logs" / str(os.getpid()) / f"rank{rank}.log").exists()


# Fields of the API as Kubernetes 1.21 and later have it, of the kinds that the manifest uses: (required, allowed).
FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "Service": ({"apiVersion", "kind", "metadata", "spec"}, set()),
    "Service.metadata": ({"name"}, {"labels", "namespace"}),
    "Service.spec": ({"selector"}, {"clusterIP", "publishNotReadyAddresses", "ports"}),
    "Job": ({"apiVersion", "kind", "metadata", "spec"}, set()),
    "Job.metadata": ({"name"}, {"labels", "namespace"}),
    "Job.spec": (
        {"template", "completions", "parallelism", "completionMode"},
        {"backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"},
    ),
    "Job.spec.template": ({"spec"}, {"metadata"}),
    "Job.spec.template.spec": (
        {"containers", "restartPolicy"},
        {"subdomain", "volumes", "nodeSelector", "tolerations"},
    ),
    "Job.spec.template.spec.containers[]": (
        {"name", "image", "command"},
        {"env", "resources", "volumeMounts", "args"},
    ),
    "Job.spec.template.spec.containers[].env[]": ({"name"}, {"value", "valueFrom"}),
    "Job.spec.template.spec.containers[].volumeMounts[]": ({"name", "mountPath"}, {"readOnly"}),
    "Job.spec.template.spec.volumes[]": ({"name"}, {"emptyDir", "persistentVolumeClaim"}),
}


def check_fields(path: str, value: Any) -> None:
    """Every mapping that the table knows has what it must have, and nothing that Kubernetes would reject."""
    if isinstance(value, list):
        for each in value:
            check_fields(f"{path}[]", each)
    elif isinstance(value, dict):
        if path in FIELDS:
            required, allowed = FIELDS[path]
            assert required <= value.keys() <= required | allowed, (path, sorted(value))
        for name, each in value.items():
            check_fields(f"{path}.{name}", each)


def test_the_manifest_of_an_indexed_job() -> None:
    service, job = yaml.safe_load_all((EXAMPLES / "indexed_job.yaml").read_text())
    for each, version in ((service, "v1"), (job, "batch/v1")):
        check_fields(each["kind"], each)
        assert each["apiVersion"] == version
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    assert pod["restartPolicy"] in ("Never", "OnFailure")
    # Pod 0 is JOB-0.SERVICE, while it starts, too.
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert pod["subdomain"] == service["metadata"]["name"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    secret = {entry["name"]: entry for entry in container["env"]}["ONEFLOW_SECRET"]
    assert "secretKeyRef" in secret["valueFrom"] and "value" not in secret
    program, *arguments = container["command"]
    assert program == "oneflow-launch"
    environ = {"JOB_COMPLETION_INDEX": "1"}
    chosen = options.parser(environ).parse_args(arguments)
    where = options.place(chosen, environ)
    assert (where.hosts, where.number) == (spec["completions"], 1)
    assert where.address == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
