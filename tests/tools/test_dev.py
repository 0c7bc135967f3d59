"""./dev says what it knows, and as an ordinary user names the packages that are missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "dev"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def setup(tmp_path: Path, script: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Runs `script` after tools/setup/setup.sh, with `programs` (shell texts) first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in programs.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    prologue = f"""
set -euo pipefail
root={tmp_path}
say() {{ echo "== $*" >&2; }}
fail() {{ echo "error: $*" >&2; exit 1; }}
source {ROOT}/tools/setup/setup.sh
"""
    return subprocess.run(
        ["bash", "-c", prologue + script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
    )


def test_help_names_every_command() -> None:
    result = dev("help")
    assert result.returncode == 0
    for command in [
        "setup",
        "build",
        "test",
        "long",
        "bench",
        "check",
        "fmt",
        "reference",
        "golden",
        "plan",
        "python",
    ]:
        assert f"./dev {command}" in result.stdout


def test_unknown_command_is_refused() -> None:
    assert dev("frobnicate").returncode == 2


def test_ordinary_user_is_told_what_to_install(tmp_path: Path) -> None:
    packages = tmp_path / "packages.txt"
    packages.write_text("# needed\npresent-dev\nabsent-dev  # for this\nother-dev\n")
    result = setup(
        tmp_path,
        f"install_packages {packages}",
        id="echo 1000",
        dpkg_query="echo 'ii present-dev'",
        apt_get="exit 99",
    )
    assert result.returncode == 1
    assert result.stderr.endswith(
        "apt-get install -y --no-install-recommends absent-dev other-dev\n"
    )


def test_nothing_is_installed_when_all_is_there(tmp_path: Path) -> None:
    packages = tmp_path / "packages.txt"
    packages.write_text("present-dev\n")
    result = setup(
        tmp_path,
        f"install_packages {packages}",
        id="echo 0",
        dpkg_query="echo 'ii present-dev'",
        apt_get="exit 99",
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_stamp_follows_the_requirements(tmp_path: Path) -> None:
    stamps = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        copy = folder / "setup"
        subprocess.run(
            ["cp", "-r", str(ROOT / "tools" / "setup"), str(copy)], check=True, timeout=60
        )
        if number == 1:
            (copy / "python-test.txt").open("a").write("one-more==1.0\n")
        script = (
            f"setup_dir={copy}; root=/same; venv=/same/.venv; stamp_path build; stamp_path test"
        )
        stamps.append(setup(folder, script).stdout.split())
    assert stamps[0][0] == stamps[1][0]
    assert stamps[0][1] != stamps[1][1]
