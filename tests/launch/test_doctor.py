"""oneflow-launch doctor, on this host and over hosts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from oneflow.launch import doctor, findings
from oneflow.launch.findings import Finding

from tests.launch.cluster import LAUNCH, Cluster, end, needs_sshd, output_of
from tests.launch.test_ssh import FAKE


def run(*arguments: str) -> tuple[int, str]:
    ran = subprocess.run(
        [*LAUNCH, "doctor", *arguments], capture_output=True, text=True, timeout=120
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_this_host_is_fit() -> None:
    code, text = run("--json")
    assert code == 0, text
    found = {each["name"]: each for each in json.loads(text)["hosts"]["this host"]}
    for name in ("oneflow", "python", "core", "cores", "memory", "gpus", "nccl", "cudnn", "rdma"):
        assert found[name]["status"] == "ok", found[name]
    assert {"open files", "locked memory", "disk", "/dev/shm", "own name", "port"} <= set(found)


def test_what_is_wrong_comes_with_advice(tmp_path: Path) -> None:
    import resource
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        limited = subprocess.run(
            [*LAUNCH, "doctor", "--master-port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
        )
    assert limited.returncode == 1
    assert "fail open files" in limited.stdout and "-> ulimit -n 65536" in limited.stdout
    assert "warn port" in limited.stdout and "--master-port another one" in limited.stdout


def test_a_look_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("no such file")

    monkeypatch.setattr(findings, "_nccl", broken)
    broken_one = [each for each in findings.look(0) if each.status == "fail"]
    assert [each.value for each in broken_one] == ["RuntimeError: no such file"]


def test_a_gpu_without_cudnn_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.setattr(findings, "_library", lambda name: False)
    monkeypatch.setattr(findings.counting, "gpus", lambda: 1)
    (missing,) = findings._cudnn()
    assert missing.status == "warn" and "nvidia-cudnn-cu13" in missing.advice
    file = tmp_path / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9"
    file.parent.mkdir(parents=True)
    file.touch()
    assert [(each.status, each.value) for each in findings._cudnn()] == [("ok", str(file))]


def test_hosts_that_differ_are_told_apart() -> None:
    found = {
        "a": [Finding("oneflow", "ok", "1.0"), Finding("numpy", "ok", "2.1")],
        "b": [Finding("oneflow", "ok", "1.1"), Finding("numpy", "ok", "2.1")],
    }
    pairs = [
        {"from": "a", "to": "b", "latency_us": 9.0, "megabytes_per_s": 1000.0},
        {"from": "b", "to": "a", "latency_us": 9.0, "megabytes_per_s": 100.0},
        {"from": "a", "to": "c", "problem": "refused"},
    ]
    compared = doctor._compare(found, {"a": 0.0, "b": 3.0}, pairs)
    assert [(each.name, each.status) for each in compared] == [
        ("oneflow", "fail"),
        ("clocks", "warn"),
        ("connection", "fail"),
        ("slow link", "warn"),
    ]
    assert doctor._compare({"a": found["a"], "c": found["a"]}, {"a": 0.0, "c": 0.1}, []) == [
        Finding("clocks", "ok", "100.0 ms between the hosts")
    ]
    assert len(doctor._pairs(4)) == 12 and len(doctor._pairs(20)) == 20


def test_a_host_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh"
    program.write_text(
        FAKE.replace("exec", '[ "$last" = x ] || { echo no route >&2; exit 255; }\nexec')
    )
    program.chmod(0o755)
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    code, text = run("--hosts", "a", "--ssh", str(program))
    assert code == 1 and "fail ssh" in text and "no route" in text and "`ssh a true`" in text


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(hosts=2) as made:
        yield made


@needs_sshd
def test_a_cluster_by_ssh(cluster: Cluster) -> None:
    words = [cluster.serve_ssh(number) for number in (1, 2)][0]
    for number in (1, 2):
        cluster.wait_for_ssh(number, from_host=3 - number)
    start = cluster.start(
        1, [*LAUNCH, "doctor", "--hosts", "10.50.0.1,10.50.0.2", "--json", "--ssh", words]
    )
    code, _ = end(start)
    report = json.loads(output_of(start))
    assert code == 0, report
    pairs = {(pair["from"], pair["to"]): pair for pair in report["pairs"]}
    assert set(pairs) == {("10.50.0.1", "10.50.0.2"), ("10.50.0.2", "10.50.0.1")}
    assert all(pair["latency_us"] > 0 and pair["megabytes_per_s"] > 0 for pair in pairs.values())
    assert [each["name"] for each in report["cluster"]][:1] == ["clocks"]
    cluster.assert_nothing_runs()
