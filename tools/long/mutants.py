"""Negative controls: every mutant of tests/mutants/ must turn its test red.

For each patch: a worktree of HEAD in a temporary folder, build, run the test (it must pass), apply the
patch, build again, run the test again (it must fail). Each test is run unmutated once. Arguments choose
mutants by part of their name. A run that was cut short goes on where it stopped: what was red at this
commit is not run again, unless `--again` is given; `--workers N` judges N at a time, in N copies.
tests/mutants/README.md describes a patch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools import process, results

COST = "one incremental build and two test runs per mutant: 1-3 minutes each on 2 cores"
ROOT = results.ROOT
MUTANTS = ROOT / "tests" / "mutants"
LOGS = ROOT / "build" / "mutants"
FIELD = re.compile(r"^(Breaks|Bar|Build|Test): *(.+)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One patch and what its header says."""

    name: str
    patch: Path
    breaks: str
    bar: str
    build: list[str]
    test: str


def read_mutant(patch: Path) -> Mutant:
    """Reads the header of a patch. Raises ValueError if a field is missing."""
    header = patch.read_text().split("\n--- ", 1)[0].split("\ndiff ", 1)[0]
    fields = dict(FIELD.findall(header))
    if missing := {"Breaks", "Bar", "Build", "Test"} - fields.keys():
        raise ValueError(f"{patch.name}: no line '{min(missing)}: ...' before the patch")
    build = fields["Build"].split()
    return Mutant(patch.stem, patch, fields["Breaks"], fields["Bar"], build, fields["Test"])


class Worktree:
    """A copy of HEAD with a release build of its own; the compiler cache is shared with this tree.

    Used by one thread at a time. `jobs`: compilers that may run at once.
    """

    def __init__(self, number: int, jobs: int) -> None:
        self._jobs = jobs
        self.path = Path(tempfile.mkdtemp(prefix="oneflow-mutants-")) / "tree"
        git("worktree", "add", "--detach", "--quiet", str(self.path), "HEAD")
        cmake = shutil.which("cmake", path="/usr/bin") or "cmake"
        self._build_folder = self.path / "build" / "release"
        self._run(
            f"configure-{number}",
            [
                *(cmake, "-G", "Ninja", "-B", str(self._build_folder), "-DONEFLOW_INPLACE=ON"),
                *(f"-DCMAKE_PREFIX_PATH={ROOT}/.venv", f"-DPython3_EXECUTABLE={sys.executable}"),
            ],
        )
        self._cmake = cmake

    def close(self) -> None:
        git("worktree", "remove", "--force", str(self.path))
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def _run(self, name: str, command: list[str]) -> None:
        log = LOGS / f"{name}.log"
        if process.run(command, 2400, cwd=self.path, log=log):
            raise RuntimeError(f"{name} failed, see {log.relative_to(ROOT)}")

    def build(self, name: str, targets: list[str]) -> None:
        command = [self._cmake, "--build", str(self._build_folder), "-j", str(self._jobs)]
        command += ["--target", *targets]
        self._run(f"{name}-build", command)

    def test(self, name: str, test: str) -> int:
        command = test.format(python=sys.executable, build=self._build_folder)
        env = {"PYTHONPATH": f"{self.path}:{self.path}/python", "OMP_NUM_THREADS": "1"}
        log = LOGS / f"{name}.log"
        return process.run(shlex.split(command), 900, cwd=self.path, env=env, log=log)

    def apply(self, patch: Path, reverse: bool = False) -> None:
        flags = ["--reverse"] if reverse else []
        subprocess.run(["git", "apply", *flags, str(patch)], cwd=self.path, check=True, timeout=60)


def git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, timeout=120)


def is_red(test: str, code: int) -> bool:
    """Whether exit code `code` of `test` is a failed assertion, not a test that could not run."""
    if "pytest" in test:
        return code == 1  # 2 to 5: interrupted, internal error, wrong usage, nothing collected
    return code not in (0, 126, 127, process.OUT_OF_TIME)


def judge(tree: Worktree, mutant: Mutant, green: dict[str, bool]) -> str:
    """What became of `mutant`: `red` is what it must be; anything else says what went wrong."""
    try:
        if mutant.test not in green:
            tree.build(f"{mutant.name}-before", mutant.build)
            green[mutant.test] = tree.test(f"{mutant.name}-before", mutant.test) == 0
        if not green[mutant.test]:
            return "the test fails without the mutant"
        tree.apply(mutant.patch)
    except subprocess.CalledProcessError:
        return "the patch does not apply"
    except RuntimeError as error:
        return str(error)
    try:
        tree.build(f"{mutant.name}-after", mutant.build)
        code = tree.test(f"{mutant.name}-after", mutant.test)
        return "red" if is_red(mutant.test, code) else f"SURVIVED (exit code {code})"
    except RuntimeError as error:
        return f"does not build: {error}"
    finally:
        tree.apply(mutant.patch, reverse=True)


class Outcomes:
    """What became of each mutant at this commit, kept in build/mutants/ so that a run can go on. Threads: any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path = LOGS / "outcomes.json"
        self._commit, self._tree_changed = results.commit()
        self.by_name: dict[str, str] = {}
        if self._path.exists():
            kept = json.loads(self._path.read_text())
            if kept["commit"] == self._commit and not self._tree_changed:
                self.by_name = kept["outcomes"]

    def add(self, name: str, outcome: str) -> None:
        with self._lock:
            self.by_name[name] = outcome
            LOGS.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({"commit": self._commit, "outcomes": self.by_name}))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev long mutants")
    parser.add_argument("--again", action="store_true", help="also those that were red")
    parser.add_argument("--workers", type=int, default=1, help="mutants at a time")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args(arguments)
    mutants = [read_mutant(patch) for patch in sorted(MUTANTS.glob("*.patch"))]
    chosen = [
        m for m in mutants if not options.names or any(name in m.name for name in options.names)
    ]
    if not chosen:
        print("no mutant of that name", file=sys.stderr)
        return 2
    known = Outcomes()
    left = [m for m in chosen if options.again or known.by_name.get(m.name) != "red"]
    workers = min(options.workers, len(left))

    def work(number: int) -> None:
        tree = Worktree(number, max(1, (os.cpu_count() or 1) // workers))
        green: dict[str, bool] = {}
        try:
            while True:
                try:
                    mutant = left.pop(0)
                except IndexError:
                    return
                start = time.monotonic()
                known.add(mutant.name, judge(tree, mutant, green))
                print(
                    f"{known.by_name[mutant.name]:10} {mutant.name}: {mutant.breaks} "
                    f"({time.monotonic() - start:.0f} s)",
                    flush=True,
                )
        finally:
            tree.close()

    with ThreadPoolExecutor(max(1, workers)) as pool:
        list(pool.map(work, range(workers)))
    outcomes = {m.name: known.by_name[m.name] for m in chosen}
    red = sum(outcome == "red" for outcome in outcomes.values())
    code = 0 if red == len(chosen) else 1
    results.append(
        "mutants",
        counts={"mutants": len(chosen), "red": red},
        figures={"outcomes": outcomes},
        exit_code=code,
    )
    print(f"{red} of {len(chosen)} mutants turned their test red")
    return code
