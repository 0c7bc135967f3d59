"""The models equal Hugging Face's own: folders both ways, outputs, gradients, tokens.

`transformers` is installed into a folder of the build and never into the environment of the tests, which
judge the same by references of their own.
"""

from __future__ import annotations

import subprocess
import sys

from tools import results
from tools.results import ROOT

COST = "a download of 15 MB, then a minute"
PACKAGE = "transformers==5.24.0"
TESTS = "tests/models/test_transformers.py"


def main(arguments: list[str]) -> int:
    folder = ROOT / "build" / "transformers"
    if not (folder / "transformers").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), PACKAGE]
        subprocess.run(pip, check=True)
    # Behind the environment's own packages: its NumPy and PyTorch are the ones that are compared.
    program = f"import sys; sys.path.append({str(folder)!r}); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "-q", TESTS, *arguments],
        cwd=ROOT,
        check=False,
    )
    results.append(
        "transformers-parity", counts={}, figures={"package": PACKAGE}, exit_code=done.returncode
    )
    return done.returncode
