"""tools/gpu_check.sh runs where there is no GPU, so that it works on the day when there is one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools import gpu_report

ROOT = Path(__file__).resolve().parents[2]


def test_a_part_of_it_runs_on_software_cuda(tmp_path: Path) -> None:
    command = [str(ROOT / "tools" / "gpu_check.sh"), "soft-part", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["checks"].values()) == {"passed"}
    counts = report["counts"]
    assert counts["conformance"] > 3 and counts["layouts"] > 0
    names = [row["name"] for row in report["benchmarks"]]
    assert len(names) == len(set(names)) > 40
    for wanted in ("copy", "matmul bf16", "layer_norm bf16", "conv2d 3x3", "attention_grad bf16"):
        assert any(name.startswith(wanted) for name in names), wanted
    # Software CUDA says nothing about times.
    assert "median_ms" not in json.dumps(report) and "software CUDA" in done.stdout + json.dumps(
        report
    )
    if "torch" in report["torch"]:  # with PyTorch at hand, nearly every figure has one beside it
        assert counts["beside"] > 40


def test_without_a_gpu_it_says_what_to_do() -> None:
    done = subprocess.run(
        [str(ROOT / "tools" / "gpu_check.sh")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "soft" in done.stdout and "pack DIR" in done.stdout


def written(folder: Path, name: str, *rows: dict[str, Any]) -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


COPY = {"name": "copy", "median_ms": 2.0, "least_ms": 1.0, "most_ms": 3.0, "rate": 3.0}
LOSS = {"name": "losses", "largest_relative_difference": 1e-7, "bound": 1e-5}


def test_each_figure_stands_beside_pytorchs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, "kernels.jsonl", {"device": "one"}, COPY, LOSS, {"name": "mine"} | SPREAD)
    written(tmp_path, "torch_kernels.jsonl", {"torch": "2"}, {**COPY, "median_ms": 3.0})
    (tmp_path / "conformance.log").write_text("[  PASSED  ] 12 tests.\n")
    (tmp_path / "layouts.log").write_text("41 passed in 3.20s\n")
    assert gpu_report.main([str(tmp_path), "--on", "gpu", "--check", "all=passed"]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["copy", "2.0000", "3.0000", "1.50"] in shown
    assert ["mine", "1.0000", "-", "-"] in shown
    assert ["losses", "held"] in shown
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"] == {"benchmarks": 3, "beside": 1, "conformance": 12, "layouts": 41}
    assert report["about"] == {"device": "one"} and report["torch"] == {"torch": "2"}


SPREAD = {"median_ms": 1.0, "least_ms": 1.0, "most_ms": 1.0}


@pytest.mark.parametrize(
    ("ours", "theirs", "check", "told"),
    [
        ([COPY], [], "layouts=failed", "layouts: failed"),
        ([], [], "layouts=passed", "no benchmark printed a figure"),
        ([COPY], [{**COPY, "name": "cpoy"}], "layouts=passed", "only PyTorch has 'cpoy'"),
        ([{**LOSS, "largest_relative_difference": 1.0}], [], "a=passed", "losses does not hold"),
    ],
)
def test_what_failed_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ours: list[dict[str, Any]],
    theirs: list[dict[str, Any]],
    check: str,
    told: str,
) -> None:
    written(tmp_path, "kernels.jsonl", *ours)
    written(tmp_path, "torch_kernels.jsonl", *theirs)
    assert gpu_report.main([str(tmp_path), "--on", "software", "--check", check]) == 1
    assert f"FAILED {told}" in capsys.readouterr().out
