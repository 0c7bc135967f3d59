"""What nvcc makes of kernels/cuda/*.cu for an architecture: registers, shared memory, stack and spills of each kernel.

No GPU is needed: the figures are the assembler's (`ptxas -v`). A file that was compiled is not compiled again while
nothing that it read and no option changes; objects lie in build/cuda-resources/sm_NN.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "kernels" / "cuda"
OBJECTS = ROOT / "build" / "cuda-resources"
LIMIT = 900  # seconds for one file
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


def link(architecture: str) -> Path:
    """liboneflow_cuda.so of that architecture alone, from the objects of all files."""
    folder = OBJECTS / f"sm_{architecture}"
    library = folder / "liboneflow_cuda.so"
    objects = [str(folder / f"{file}.o") for file in files()]
    command = [find_nvcc(), "-shared", "-cudart=static", *objects, "-o", str(library), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise RuntimeError(f"linking for sm_{architecture}:\n{done.stderr[-2000:]}")
    return library
