"""The runner counts what GoogleTest printed, and takes a crash or a hang for a failure."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools import process, run_tests
from tools.run_tests import Counts, count_cases

OUTPUT = """\
[ RUN      ] Shape.Prints
[       OK ] Shape.Prints (0 ms)
[ RUN      ] Shape.Parses
shape_test.cc:3: Failure
[  FAILED  ] Shape.Parses (1 ms)
[ RUN      ] Shapes/Each.Works/2
[       OK ] Shapes/Each.Works/2 (0 ms)
[ RUN      ] Shape.NeedsMore
[  SKIPPED ] Shape.NeedsMore (0 ms)
[  FAILED  ] 1 test, listed below:
[  FAILED  ] Shape.Parses
"""


def test_cases_are_counted() -> None:
    assert count_cases(OUTPUT, 1) == (Counts(2, 1, 1), ["Shape.Parses"])


def test_case_that_began_and_did_not_end_has_failed() -> None:
    counts, failed = count_cases(OUTPUT + "[ RUN      ] Shape.Crashes\n", -11)
    assert counts == Counts(2, 2, 1)
    assert failed == ["Shape.Crashes", "Shape.Parses"]


def test_exit_code_without_a_failed_case_is_a_failure() -> None:
    # A sanitizer's report after the last case ends the process with another code.
    passing = OUTPUT.splitlines()[:2]
    assert count_cases("\n".join(passing), 66) == (Counts(1, 1, 0), ["exit code 66"])


def test_value_parameters_are_no_part_of_the_name() -> None:
    output = "[ RUN      ] A/B.C/0\n[  FAILED  ] A/B.C/0, where GetParam() = 8 (0 ms)\n"
    assert count_cases(output, 1) == (Counts(0, 1, 0), ["A/B.C/0"])


def test_what_hangs_is_ended(tmp_path: Path) -> None:
    # The grandchild would keep the output open if it were not killed with its group.
    script = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    start = time.monotonic()
    assert process.run([sys.executable, "-c", script], 1.0, cwd=tmp_path) == process.OUT_OF_TIME
    assert time.monotonic() - start < 60


class Suite:
    """The steps of the fast suite, which only say that they begin and end; builds in `broken` fail."""

    def __init__(self, patch: pytest.MonkeyPatch, broken: Sequence[str] = ()) -> None:
        self.log: list[str] = []
        self.broken = broken
        self.pytest_runs = threading.Event()
        self.release_is_built = threading.Event()
        patch.setattr(run_tests, "install", lambda: self.step("install"))
        patch.setattr(run_tests, "build_targets", self.build)
        patch.setattr(run_tests, "run_binaries", self.binaries)
        patch.setattr(run_tests, "run_pytest", self.pytest)
        patch.setattr(
            run_tests, "compile_cuda", lambda: self.step("cuda", counts=Counts(passed=10000))
        )

    def step(self, name: str, counts: Counts | None = None) -> Counts:
        self.log += [f"+{name}", f"-{name}"]
        return counts or Counts()

    def build(self, preset: str, targets: Sequence[str], *, nice: bool = False) -> Counts:
        name = "needed" if "_core" in targets else preset
        self.log.append(f"+{name}")
        if name == "release":  # beside pytest, or both would wait here
            assert self.pytest_runs.wait(60)
            self.release_is_built.set()
        self.log.append(f"-{name}")
        return Counts(failed=int(name in self.broken))

    def binaries(
        self, preset: str, folders: Sequence[str], case_filter: str | None, *, nice: bool = False
    ) -> Counts:
        for folder in folders:
            self.step(f"{preset} {folder}")
        return Counts(passed=len(folders))

    def pytest(self, arguments: list[str], limit: float, none_is_failure: bool) -> Counts:
        self.log.append("+pytest")
        self.pytest_runs.set()
        assert self.release_is_built.wait(60)
        self.log.append("-pytest")
        return Counts(passed=1000)


FOLDERS = ["base", "comm", "kernels", "plan", "runtime"]
TESTED = {"release": FOLDERS, **run_tests.SANITIZED}


def test_every_folder_is_tested_once_in_each_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Suite(monkeypatch)
    counts = run_tests.run_all(FOLDERS)
    tested = Counter(event[1:] for event in suite.log if event[0] == "+" and " " in event)
    assert tested == Counter(f"{preset} {folder}" for preset in TESTED for folder in TESTED[preset])
    tests = sum(len(folders) for folders in TESTED.values())
    assert counts == Counts(passed=11000 + tests)
    assert suite.log.index("+cuda") > suite.log.index(f"-{list(TESTED)[-1]}")  # as builds follow


def test_what_may_be_late_to_nothing_waits_until_pytest_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = Suite(monkeypatch)
    run_tests.run_all(FOLDERS)
    over = suite.log.index("-pytest")
    for preset in TESTED:
        for folder in run_tests.HURRIED:
            assert suite.log.index(f"+{preset} {folder}") > over
    # Tests follow their build, and builds follow each other.
    order = [event for event in suite.log if event[1:] in ("needed", *TESTED)]
    assert order == [f"{sign}{name}" for name in ("needed", *TESTED) for sign in "+-"]
    for preset, folders in TESTED.items():
        assert all(
            suite.log.index(f"+{preset} {f}") > suite.log.index(f"-{preset}") for f in folders
        )


def test_each_file_of_cuda_kernels_is_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = (1, "ok     sm_90 norms: 9 kernels (3.0 s)\nFAILED sm_90 pool: 8 kernels (2.0 s)\n")
    monkeypatch.setattr(run_tests.cuda_resources, "missing", lambda: "")
    monkeypatch.setattr(run_tests, "run", lambda *_: printed)
    assert run_tests.compile_cuda() == Counts(1, 1, 0)
    printed = (process.OUT_OF_TIME, "ok     sm_90 norms: 9 kernels (3.0 s)\n")
    assert run_tests.compile_cuda() == Counts(1, 1, 0)
    printed = (0, "ok     sm_90 norms: 9 kernels (3.0 s)\nok     sm_90 library: loaded (1.0 s)\n")
    assert run_tests.compile_cuda() == Counts(2, 0, 0)
    monkeypatch.setattr(run_tests.cuda_resources, "missing", lambda: "no nvcc")
    assert run_tests.compile_cuda() == Counts(0, 0, 1)


def test_what_was_not_built_is_one_failure_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Suite(monkeypatch, broken=["asan"])
    counts = run_tests.run_all(FOLDERS)
    assert counts.failed == 1
    assert not [event for event in suite.log if event.startswith("+asan ")]
    assert [event for event in suite.log if event.startswith("+tsan ")]
