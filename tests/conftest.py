"""What all tests share. Anything that could hang is ended by pytest-timeout (pyproject.toml)."""

from __future__ import annotations

import os

# libgomp reads these once, when it is loaded: spinning threads make tests several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
