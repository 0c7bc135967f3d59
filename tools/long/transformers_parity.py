"""The models equal Hugging Face's own: folders both ways, outputs, gradients, tokens."""

from __future__ import annotations

import subprocess
import sys

from tools import results, transformers_package
from tools.results import ROOT

COST = "a download of 15 MB, then a minute"
TESTS = "tests/models/test_transformers.py"


def main(arguments: list[str]) -> int:
    folder = str(transformers_package.folder())
    program = f"import sys; sys.path.append({folder!r}); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "-q", TESTS, *arguments],
        cwd=ROOT,
        check=False,
    )
    results.append(
        "transformers-parity",
        counts={},
        figures={"package": transformers_package.PACKAGE},
        exit_code=done.returncode,
    )
    return done.returncode
