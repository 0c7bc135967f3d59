"""The runner counts what GoogleTest printed, and takes a crash or a hang for a failure."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tools import process
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
