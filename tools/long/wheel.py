"""`pip install .` into a fresh environment: builds, imports in at most 0.5 s, needs neither GPU nor PyTorch, and
runs what the tutorial and the README show.

All of it is judged from a folder outside the tree, so that nothing of the source tree is seen.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tools import process, results
from tools.examples_of_pages import program_of
from tools.run_tests import LOGS, ROOT

COST = "a release build without the compiler cache's help for other paths: 3-8 minutes"
PAGES = ("README.md", "docs/tutorial.md")
PROBE = """
import sys, time
start = time.perf_counter()
import oneflow
seconds = time.perf_counter() - start
assert "torch" not in sys.modules
print(oneflow.__file__, round(seconds, 3))
"""


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="oneflow-wheel-") as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        subprocess.run(
            [sys.executable, "-m", "venv", str(python.parent.parent)], check=True, timeout=300
        )
        install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", str(ROOT)]
        code = process.run(install, 2400, cwd=Path(folder), log=LOGS / "wheel-install.log")
        seconds: list[float] = []
        for _ in range(3 if code == 0 else 0):
            probe = subprocess.run(
                [str(python), "-c", PROBE], cwd=folder, capture_output=True, text=True, timeout=120
            )
            if probe.returncode or not probe.stdout.startswith(folder):
                print(probe.stdout + probe.stderr)
                code = 1
                break
            seconds.append(float(probe.stdout.split()[-1]))
        launch = python.parent / "oneflow-launch"
        if code == 0 and process.run(
            [str(launch), "--help"], 60, cwd=Path(folder), log=LOGS / "wheel-launch.log"
        ):
            print("oneflow-launch --help failed")
            code = 1
        ran = []
        for page in PAGES if code == 0 else ():
            program = Path(folder) / f"{Path(page).stem}.py"
            program.write_text(program_of(ROOT / page))
            log = LOGS / f"wheel-{Path(page).stem}.log"
            # -I: neither PYTHONPATH nor the folder of the program is on the path.
            if process.run([str(python), "-I", str(program)], 300, cwd=Path(folder), log=log):
                print(f"the program of {page} failed ({log.relative_to(ROOT)})")
                code = 1
            else:
                ran.append(page)
        if seconds and min(seconds) > 0.5:
            print(f"import takes {min(seconds)} s, at most 0.5 s are allowed")
            code = 1
    results.append("wheel", figures={"import_seconds": seconds, "pages": ran}, exit_code=code)
    print("ok" if code == 0 else "FAILED (build/test-logs/wheel-install.log)", seconds)
    return code
