"""What all tests share. Anything that could hang is ended by pytest-timeout (pyproject.toml)."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Programs that tests start see this tree's package and the tests' own modules, like the tests themselves.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), str(ROOT / "python"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# libgomp reads these once, when it is loaded: spinning threads make tests several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Whoever runs the suite in the background has SIGINT ignored, which every program started from here would
# inherit; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `./dev long transformers-parity` brings the package that these compare with.
collect_ignore = [] if importlib.util.find_spec("transformers") else ["models/test_transformers.py"]
