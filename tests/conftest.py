"""Fixtures that all tests share. Anything that could hang is ended by pytest-timeout (pyproject.toml)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# libgomp reads these once, when it is loaded: spinning threads make tests several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files instead of comparing"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): `text` equals tests/golden/`name`. `./dev golden --update` rewrites the file."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        assert path.exists(), f"no golden file {name}: ./dev golden --update writes it"
        assert text == path.read_text(), f"{name} changed; if it should: ./dev golden --update"

    return compare
