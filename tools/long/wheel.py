"""Wheels for every Python 3.10 to 3.13 of this machine install into an empty environment without a compiler, import in
at most 0.5 s, need neither GPU nor PyTorch, and run what the tutorial and the README show.

All of it is judged from a folder outside the tree, so that nothing of the source tree is seen; what a wheel loads of
Protobuf and Abseil must be its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools import process, results, wheels
from tools.examples_of_pages import program_of
from tools.run_tests import LOGS, ROOT

COST = "a release build for the first Python, the bindings for each more: 8-15 minutes"
PAGES = ("README.md", "docs/tutorial.md")
IMPORT_S = 0.5
# Prints the seconds of the import and the libraries of ours that lie outside the environment.
PROBE = """
import json, shutil, sys, time
start = time.perf_counter()
import oneflow
seconds = time.perf_counter() - start
assert "torch" not in sys.modules
assert oneflow.__file__.startswith(sys.prefix), oneflow.__file__
assert not any(map(shutil.which, ("cc", "c++", "gcc", "g++", "cmake", "ninja")))
maps = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
print(json.dumps([seconds, [p for p in maps if "proto" in p or "absl" in p]]))
"""


def judge(version: str, interpreter: Path, wheel: Path) -> tuple[dict[str, Any], str]:
    """Figures of one wheel, and what is wrong with it."""
    with tempfile.TemporaryDirectory(prefix="oneflow-wheel-") as folder:
        home = Path(folder)
        python = home / "venv" / "bin" / "python"
        subprocess.run(
            [str(interpreter), "-m", "venv", str(python.parent.parent)], check=True, timeout=300
        )
        bare = {"PATH": str(python.parent), "CC": "/bin/false", "CXX": "/bin/false"}
        install = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
        install += ["--only-binary=:all:", str(wheel)]
        log = LOGS / f"wheel-install-{version}.log"
        if process.run(install, 600, cwd=home, log=log, env=bare):
            return {}, f"does not install ({log.relative_to(ROOT)})"
        seconds: list[float] = []
        for _ in range(3):
            probe = subprocess.run(
                [str(python), "-I", "-c", PROBE],
                cwd=home,
                env=bare,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            if probe.returncode:
                return {}, f"does not import: {probe.stderr}"
            spent, loaded = json.loads(probe.stdout)
            seconds.append(round(spent, 3))
            foreign = [path for path in loaded if not path.startswith(str(home))]
            if foreign or not loaded:
                return {}, f"takes libraries from outside: {foreign}"
        figures = {"import_s": seconds, "mb": round(wheel.stat().st_size / 1e6, 1)}
        if min(seconds) > IMPORT_S:
            return figures, f"import takes {min(seconds)} s, at most {IMPORT_S} s are allowed"
        launch = [str(python.parent / "oneflow-launch"), "--help"]
        log = LOGS / f"wheel-launch-{version}.log"
        if process.run(launch, 60, cwd=home, log=log, env=bare):
            return figures, f"oneflow-launch --help fails ({log.relative_to(ROOT)})"
        for page in PAGES:
            program = home / f"{Path(page).stem}.py"
            program.write_text(program_of(ROOT / page))
            log = LOGS / f"wheel-{Path(page).stem}-{version}.log"
            # -I: neither PYTHONPATH nor the folder of the program is on the path.
            command = [str(python), "-I", str(program)]
            if process.run(command, 600, cwd=home, log=log, env=bare):
                return figures, f"the program of {page} fails ({log.relative_to(ROOT)})"
        return figures, ""


def main(arguments: list[str]) -> int:
    """Arguments: versions, else all that are found."""
    code = process.run([str(ROOT / "dev"), "wheel", *arguments], 6000, cwd=ROOT)
    figures: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for version, interpreter in wheels.pythons().items() if code == 0 else ():
        if arguments and version not in arguments:
            continue
        figures[version], wrong = judge(version, interpreter, wheels.path_of(version))
        if wrong:
            faults[version] = wrong
        print(f"Python {version}: {wrong or 'ok'} {figures[version]}", flush=True)
    code = 1 if code or faults or not figures else 0
    results.append("wheel", figures=figures, counts={"faults": len(faults)}, exit_code=code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
