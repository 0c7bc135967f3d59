"""Runs the fast suite and counts it: C++ tests, pytest, and the core's tests under sanitizers.

Every step runs in a process group of its own under a time limit, so that nothing can hang. The last
line is exactly `N passed, N failed, N skipped`, summed over the cases of GoogleTest and pytest; a
binary that crashes, runs out of time or does not build counts as one failure. Logs: build/test-logs/.

Called by ./run_tests (everything) and ./dev test [FILTER] (release only).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools import cuda_resources, process

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "test-logs"
# Sanitizers cost three times a release build, so the fast suite gives them to the concurrent core, and
# AddressSanitizer to the CUDA kernels as the host compiles them, whose bounds guards see only in part; to
# ThreadSanitizer of these one call of each way in which the threads of a block meet.
# `plan` has no threads.
SANITIZED = {
    "asan": ("base", "plan", "comm", "runtime", "kernels/cuda"),
    "tsan": ("base", "comm", "runtime", "kernels/cuda/races"),
}
# Of the release build what pytest runs or loads; the last is run by tools/gpu_check.sh, which pytest tests.
NEEDED_BY_PYTEST = (
    "_core",
    "plan_tool",
    "plan_attack",
    "oneflow_soft_cuda_plugin",
    "oneflow_cudnn_graphs",
    "oneflow_no_driver",
    "oneflow_cuda_benchmark",
    "oneflow_cuda_layers_benchmark",
    "oneflow_kernels_test",
)
# liboneflow_cuda.so is compiled by nvcc for this compute capability, where it is at hand; for others by
# `./dev long cuda-architectures`.
CUDA_ARCHITECTURE = "90"
# Those in which a peer waits for another only so long: they are not run at a lower priority.
HURRIED = ("comm", "runtime")
CASE = re.compile(r"^\[\s+(RUN|OK|FAILED|SKIPPED)\s+\] (\S+?)(?:,.*)?(?: \(\d+ ms\))?$")


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: Counts) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def run(
    name: str,
    command: list[str],
    limit: float,
    env: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Runs `command` with a log named `name`; returns its exit code and its output."""
    log = LOGS / f"{name}.log"
    code = process.run(command, limit, cwd=ROOT, env=env, log=log)
    return code, log.read_text(errors="replace")


def count_cases(output: str, code: int) -> tuple[Counts, list[str]]:
    """Counts GoogleTest cases from the output; a case that began and did not end has failed."""
    state: dict[str, str] = {}
    for line in output.splitlines():
        if match := CASE.match(line):
            state[match[2]] = match[1]
    failed = sorted(case for case, end in state.items() if end in ("RUN", "FAILED"))
    ends = list(state.values())
    counts = Counts(ends.count("OK"), len(failed), ends.count("SKIPPED"))
    if code != 0 and not failed:
        counts.failed += 1
        failed.append("out of time" if code == 124 else f"exit code {code}")
    return counts, failed


def report(name: str, counts: Counts, seconds: float, failed: list[str], output: str) -> None:
    print(f"{'FAILED' if failed else 'ok':6} {name}: {counts} ({seconds:.1f} s)", flush=True)
    for case in failed:
        print(f"       {case}")
    if failed:
        interesting = [
            line for line in output.splitlines() if not line.startswith(("[ RUN", "[       OK"))
        ]
        print("\n".join(f"    | {line[:180]}" for line in interesting[-60:]), flush=True)


def without_address_randomisation(command: list[str]) -> list[str]:
    """GCC 12's ThreadSanitizer cannot map its shadow where the kernel randomises with more than 28 bits."""
    wrapper = ["setarch", os.uname().machine, "--addr-no-randomize"]
    if (
        shutil.which("setarch")
        and subprocess.run([*wrapper, "true"], capture_output=True).returncode == 0
    ):
        return [*wrapper, *command]
    return command


def run_binaries(
    preset: str,
    folders: list[str],
    case_filter: str | None,
    limit: float = 600,
    *,
    nice: bool = False,
) -> Counts:
    total = Counts()
    environment = {
        "OMP_NUM_THREADS": "1",
        "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "second_deadlock_stack=1",
    }
    for folder in folders:
        binary = ROOT / "build" / preset / folder / f"oneflow_{Path(folder).name}_test"
        if not binary.exists():
            continue
        command = [str(binary), "--gtest_brief=0", "--gtest_color=no"]
        if case_filter:
            command.append(f"--gtest_filter=*{case_filter}*")
        if preset == "tsan":
            command = without_address_randomisation(command)
        if nice:
            command = ["nice", *command]
        start = time.monotonic()
        code, output = run(f"{preset}-{folder.replace('/', '-')}", command, limit, environment)
        counts, failed = count_cases(output, code)
        if case_filter and not counts.passed + counts.failed + counts.skipped:
            continue
        report(f"{preset} {folder}", counts, time.monotonic() - start, failed, output)
        total.add(counts)
    return total


def run_pytest(arguments: list[str], limit: float, none_is_failure: bool) -> Counts:
    results = LOGS / "pytest.xml"
    LOGS.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-rfEs", f"--junitxml={results}", *arguments]
    code = process.run(command, limit, cwd=ROOT, env={"OMP_NUM_THREADS": "1"})
    if code == 5:  # nothing collected
        return Counts(failed=int(none_is_failure))
    counts = Counts()
    try:
        suites = ElementTree.parse(results).getroot().iter("testsuite")
        for suite in suites:
            bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped = int(suite.get("skipped", 0))
            counts.add(Counts(int(suite.get("tests", 0)) - bad - skipped, bad, skipped))
    except (OSError, ElementTree.ParseError):
        print(f"FAILED pytest left no results (exit code {code})", flush=True)
    if code != 0 and not counts.failed:
        counts.failed = 1
    return counts


def build(preset: str, folders: list[str], *, nice: bool = False) -> Counts:
    """Builds all of a preset, or the test binaries of `folders`."""
    targets = [
        f"oneflow_{Path(folder).name}_test"
        for folder in folders
        if any((ROOT / folder).rglob("*_test.cc"))
    ]
    return build_targets(preset, targets, nice=nice)


def build_targets(preset: str, targets: Sequence[str], *, nice: bool = False) -> Counts:
    """Builds `targets` of a preset, all if none is named; prints the log only on failure."""
    start = time.monotonic()
    command = ["./dev", "build", preset, *targets]
    code, output = run(f"build-{preset}", ["nice", *command] if nice else command, 2400)
    if code == 0:
        print(f"ok     build {preset} ({time.monotonic() - start:.0f} s)", flush=True)
        return Counts()
    errors = [line for line in output.splitlines() if "error:" in line or "FAILED" in line]
    print(
        f"FAILED build {preset} (build/test-logs/build-{preset}.log)\n" + "\n".join(errors[:40]),
        flush=True,
    )
    return Counts(failed=1)


def compile_cuda() -> Counts:
    """A case for each file of CUDA kernels, and one for the library of all: it loads, and none spills a register."""
    start = time.monotonic()
    name = f"nvcc sm_{CUDA_ARCHITECTURE}"
    if why := cuda_resources.missing():
        print(f"{name}: skipped, {why}", flush=True)
        return Counts(skipped=1)
    command = ["nice", sys.executable, "-m", "tools.cuda_resources", CUDA_ARCHITECTURE]
    code, output = run("cuda-resources", command, 1800)
    failed = re.findall(r"^FAILED (sm_\w+ \w+)", output, re.MULTILINE)
    if code and not failed:
        failed = ["out of time" if code == process.OUT_OF_TIME else f"exit code {code}"]
    counts = Counts(len(re.findall(r"^ok ", output, re.MULTILINE)), len(failed))
    report(name, counts, time.monotonic() - start, failed, output)
    return counts


def install() -> Counts:
    """What only the tests need; most of it is PyTorch. ./run_tests has installed what the build needs."""
    code, output = run("setup", ["./dev", "setup", "test"], 1800)
    print(output, end="", flush=True)
    return Counts(failed=int(code != 0))


def run_release(folders: list[str], chosen: str | None) -> Counts:
    """The tests of the release build: all, or those of a folder, of a path of pytest, of a name."""
    total = Counts()
    if not chosen:
        total.add(run_binaries("release", folders, None))
        total.add(run_pytest([], 1500, none_is_failure=True))
    elif chosen in folders:
        total.add(run_binaries("release", [chosen], None))
        total.add(run_pytest(["-k", chosen], 1500, none_is_failure=False))
    elif (ROOT / chosen.split("::")[0]).exists():
        total.add(run_pytest([chosen], 1500, none_is_failure=True))
    else:
        total.add(run_binaries("release", folders, chosen))
        total.add(run_pytest(["-k", chosen], 1500, none_is_failure=False))
    return total


def run_all(folders: list[str]) -> Counts:
    """The fast suite, so that two cores have work from its first minute to its last.

    First what pytest needs is built, while what only tests need is installed. Then pytest runs; beside it, at a lower
    priority, the other builds follow each other, and beside those the tests of what is built that may take their
    time. The hurried ones come when pytest is over: two at once where no build goes on any more.
    """
    presets = {"release": tuple(folders), **SANITIZED}

    def unhurried(preset: str, built: Future[Counts]) -> Counts:
        chosen = [folder for folder in presets[preset] if folder not in HURRIED]
        return run_binaries(preset, [] if built.result().failed else chosen, None, nice=True)

    def hurried(preset: str, at_once: int) -> Counts:
        counts = Counts()
        with ThreadPoolExecutor(at_once) as pool:
            for each in pool.map(lambda folder: run_binaries(preset, [folder], None), HURRIED):
                counts.add(each)
        return counts

    total = Counts()
    with ThreadPoolExecutor(1) as aside:
        installed = aside.submit(install)
        total.add(build_targets("release", NEEDED_BY_PYTEST))
        total.add(installed.result())
    # One build at a time: each takes all cores.
    with ThreadPoolExecutor(1) as builds, ThreadPoolExecutor(1) as tests:
        built = {
            preset: builds.submit(
                build, preset, [] if preset == "release" else list(chosen), nice=True
            )
            for preset, chosen in presets.items()
        }
        tested = [tests.submit(unhurried, *each) for each in built.items()]
        tested.append(builds.submit(compile_cuda))
        total.add(run_pytest([], 2000, none_is_failure=True))
        for preset, each in built.items():
            total.add(each.result())
            if not each.result().failed:
                total.add(hurried(preset, 2 if preset == list(presets)[-1] else 1))
        for other in tested:
            total.add(other.result())
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "filter", nargs="?", help="a folder, a path of pytest, or part of a test's name"
    )
    parser.add_argument(
        "--all", action="store_true", help="build first, and run everything, the sanitizers too"
    )
    options = parser.parse_args()
    if options.all and options.filter:
        parser.error("--all runs everything")
    folders = sorted(p.parent.name for p in ROOT.glob("*/CMakeLists.txt"))
    total = Counts()
    if options.all:
        total.add(run_all(folders))
    else:
        total.add(run_release(folders, options.filter))
    print(total)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
