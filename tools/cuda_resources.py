"""What nvcc makes of kernels/cuda/*.cu for an architecture: registers, shared memory, stack and spills of each kernel,
and liboneflow_cuda.so, which a loader takes where no driver is.

No GPU is needed: the figures are the assembler's (`ptxas -v`). A file that was compiled is not compiled again while
nothing that it read and no option changes; objects lie in build/cuda-resources/sm_NN.

    python -m tools.cuda_resources ARCHITECTURE [FILE...]    a line for each file, and one for the library
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "kernels" / "cuda"
OBJECTS = ROOT / "build" / "cuda-resources"
LIMIT = 900  # seconds for one file
# Kernels that may spill, by file, and why.
MAY_SPILL: dict[str, str] = {}
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:, used \d+ barriers)?(?:.*?, (\d+) bytes smem)?")


@dataclass(frozen=True)
class Resources:
    """One kernel of one file, as the assembler has it."""

    file: str
    kernel: str  # with its template arguments
    registers: int
    shared_bytes: int
    stack_bytes: int
    spilled_bytes: int  # stored and loaded


@dataclass
class Build:
    """What became of an architecture's files and, where none of them failed, of its library."""

    kernels: list[Resources] = field(default_factory=list)
    library: Path | None = None
    wrong: list[str] = field(default_factory=list)


def find_nvcc() -> str:
    """nvcc of CUDA 13: the environment's or the system's; empty if there is none."""
    wheels = sorted(ROOT.glob(".venv/lib/python3.*/site-packages/nvidia/cu13/bin/nvcc"))
    for candidate in [*map(str, wheels), "nvcc", "/usr/local/cuda/bin/nvcc"]:
        found = shutil.which(candidate)
        if found is None:
            continue
        said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60)
        if "release 13" in said.stdout:
            return found
    return ""


def find_cublas() -> str:
    """The folder of cublasLt.h in the environment or the toolkit; empty if it is in neither."""
    wheels = sorted(ROOT.glob(".venv/lib/python3.*/site-packages/nvidia/*/include"))
    for folder in [*wheels, Path("/usr/local/cuda/include")]:
        if (folder / "cublasLt.h").exists():
            return str(folder)
    return ""


def missing() -> str:
    """Why nothing can be compiled here; empty if all is there."""
    if not find_nvcc():
        return "no nvcc of CUDA 13 was found (./dev cuda installs it)"
    asked = "#if !__has_include(<cublasLt.h>)\n#error\n#endif\n"
    command = ["g++", "-E", "-x", "c++", "-"]  # the compiler may have it on a path of its own
    found = (
        find_cublas()
        or not subprocess.run(
            command, input=asked, text=True, capture_output=True, timeout=60
        ).returncode
    )
    if not found:
        return "cublasLt.h was not found (./dev cuda installs it)"
    return ""


def files() -> list[str]:
    """The files that make up liboneflow_cuda.so, without their ending."""
    return sorted(path.stem for path in SOURCES.glob("*.cu"))


def flags(architecture: str) -> list[str]:
    """As kernels/cuda/CMakeLists.txt has them, and the assembler's report."""
    text = (SOURCES / "CMakeLists.txt").read_text()
    found = re.search(r"set\(flags (.*?)\)", text, re.DOTALL)
    assert found, "kernels/cuda/CMakeLists.txt sets no flags"
    common = found[1].replace("${CMAKE_SOURCE_DIR}", str(ROOT)).split()
    cublas = find_cublas()
    return [
        *common,
        *([f"-I{cublas}"] if cublas else []),
        f"-gencode=arch=compute_{architecture},code=sm_{architecture}",
        "-Xptxas=-v",
    ]


def depended_on(rule: Path) -> list[str]:
    """The files of this tree in a rule as compilers write them for make, by their paths from its root."""
    names = rule.read_text().replace("\\\n", " ").split(":", 1)[1].split()
    inside = {Path(name).resolve() for name in names}
    return sorted(str(path.relative_to(ROOT)) for path in inside if path.is_relative_to(ROOT))


def fingerprint(options: Sequence[str], depends: Sequence[str]) -> str:
    """Of what an object is made from: options without their paths, and the files that were read."""
    digest = hashlib.sha256("\0".join(option for option in options if "/" not in option).encode())
    for name in depends:
        path = ROOT / name
        digest.update(name.encode() + (path.read_bytes() if path.exists() else b""))
    return digest.hexdigest()


def parse(file: str, text: str) -> list[Resources]:
    """The kernels in the assembler's report, by name."""
    found: list[Resources] = []
    name, spills = "", (0, 0)
    for line in text.splitlines():
        if entry := ENTRY.search(line):
            name, spills = entry[1], (0, 0)
        elif (stack := SPILLS.search(line)) and name:
            spills = (int(stack[1]), int(stack[2]) + int(stack[3]))
        elif (used := USED.search(line)) and name:
            found.append(Resources(file, name, int(used[1]), int(used[2] or 0), *spills))
            name = ""
    return sorted(found, key=lambda one: one.kernel)


def readable(names: list[str]) -> list[str]:
    """Mangled names as a reader has them, without the namespaces, arguments and results."""
    demangled = subprocess.run(
        ["c++filt"], input="\n".join(names), capture_output=True, text=True, timeout=60, check=True
    ).stdout.splitlines()
    short = []
    for name in demangled:
        name = re.sub(r"oneflow::kernels::|\(anonymous namespace\)::|_GLOBAL__N__\w+::", "", name)
        depth, end = 0, len(name)
        for at, letter in enumerate(name):
            depth += {"<": 1, ">": -1}.get(letter, 0)
            if letter == "(" and depth == 0:
                end = at
                break
        short.append(name[:end].removeprefix("void "))
    return short


def compile_file(file: str, architecture: str) -> list[Resources]:
    """Compiles one file unless that was done; RuntimeError with the compiler's words if it fails."""
    folder = OBJECTS / f"sm_{architecture}"
    folder.mkdir(parents=True, exist_ok=True)
    options = flags(architecture)
    known, built = folder / f"{file}.json", folder / f"{file}.o"
    if known.exists() and built.exists():
        kept = json.loads(known.read_text())
        if kept["key"] == fingerprint(options, kept["depends"]):
            return [Resources(**one) for one in kept["kernels"]]
    rule = folder / f"{file}.d"
    command = [find_nvcc(), *options, "-MD", "-MF", str(rule)]
    command += ["-c", str(SOURCES / f"{file}.cu"), "-o", str(built)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise RuntimeError(f"nvcc {file}.cu for sm_{architecture}:\n{done.stderr[-2000:]}")
    found = parse(file, done.stdout + done.stderr)
    if found:
        names = readable([one.kernel for one in found])
        found = [
            Resources(**{**asdict(one), "kernel": name})
            for one, name in zip(found, names, strict=True)
        ]
    depends = depended_on(rule)
    kept = {"key": fingerprint(options, depends), "depends": depends}
    known.write_text(json.dumps({**kept, "kernels": [asdict(one) for one in found]}))
    return found


def spills(kernels: list[Resources]) -> list[str]:
    """The kernels that spill and may not."""
    return [
        f"{one.file}: {one.kernel} spills {one.spilled_bytes} bytes"
        for one in kernels
        if one.spilled_bytes and one.file not in MAY_SPILL
    ]


def link(architecture: str) -> Path:
    """liboneflow_cuda.so of that architecture alone, from the objects of all files; the loader has taken it.

    RuntimeError with the words of the linker or of the loader if it fails.
    """
    folder = OBJECTS / f"sm_{architecture}"
    library = folder / "liboneflow_cuda.so"
    objects = [str(folder / f"{file}.o") for file in files()]
    command = [find_nvcc(), "-shared", "-cudart=static", *objects, "-o", str(library), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise RuntimeError(f"linking for sm_{architecture}:\n{done.stderr[-2000:]}")
    try:
        assert ctypes.CDLL(str(library)).oneflow_cuda_api  # the one entry
    except (OSError, AttributeError) as error:
        raise RuntimeError(f"loading {library.name} for sm_{architecture}: {error}") from error
    return library


def build(architecture: str, chosen: Sequence[str] = ()) -> Build:
    """Compiles all files, or those `chosen`, as many at once as there are cores, and links what are all; prints a line
    for each file and for the library: `ok` or `FAILED`, what it is, what it has or what is wrong with it."""
    made = Build()

    def say(what: str, wrong: list[str], seconds: float, has: str = "") -> None:
        print(f"{'FAILED' if wrong else 'ok':6} sm_{architecture} {what}: {has} ({seconds:.1f} s)")
        print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
        made.wrong += [f"sm_{architecture} {one}" for one in wrong]

    def compile_one(file: str) -> tuple[list[Resources], list[str], float]:
        start = time.monotonic()
        try:
            kernels = compile_file(file, architecture)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return [], [str(error)], time.monotonic() - start
        return kernels, spills(kernels), time.monotonic() - start

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = {pool.submit(compile_one, file): file for file in chosen or files()}
        for done in as_completed(running):
            kernels, wrong, seconds = done.result()
            say(running[done], wrong, seconds, f"{len(kernels)} kernels")
            made.kernels += kernels
    made.kernels.sort(key=lambda one: (one.file, one.kernel))
    if not chosen and not made.wrong:
        start = time.monotonic()
        try:
            made.library = link(architecture)
            say("library", [], time.monotonic() - start, "linked and loaded")
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            say("library", [str(error)], time.monotonic() - start)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("architecture", help="a compute capability, as 90")
    parser.add_argument(
        "files", nargs="*", help="of kernels/cuda, without .cu; all if none is named"
    )
    options = parser.parse_args()
    if why := missing():
        print(why)
        return 1
    return 1 if build(options.architecture, options.files).wrong else 0


if __name__ == "__main__":
    sys.exit(main())
