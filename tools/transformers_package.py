"""Hugging Face's `transformers`, the judge of `oneflow.models`: in a folder of the build, never in the environment of
the tests, which judge the same by references of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.results import ROOT

PACKAGE = "transformers==5.24.0"


def folder() -> Path:
    """Where the package lies, installed if it was not there. Append it to `sys.path` behind the environment's own
    packages: the NumPy and the PyTorch of the environment are those that are compared."""
    place = ROOT / "build" / "transformers"
    if not (place / "transformers").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(place), PACKAGE]
        subprocess.run(pip, check=True)
    return place
