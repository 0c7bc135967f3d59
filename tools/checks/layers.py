"""Layers: who may include whom, no include cycle, foreign headers only where they belong."""

from __future__ import annotations

import re
from pathlib import Path

from tools.checks.tree import files, includes

DOC = __doc__

# docs/architecture.md. Folders that are not listed (python, tools, tests) may include anything.
ALLOWED = {
    "base": set(),
    "plan": {"base"},
    "compiler": {"base", "plan"},
    "kernels": {"base", "plan"},
    "comm": {"base"},
    "interpreter": {"base", "plan", "compiler", "kernels"},
    "runtime": {"base", "plan", "kernels", "comm"},
}

# Foreign headers and the folders that alone may see them.
FOREIGN = [
    (re.compile(r"^(cuda|cublas|cudnn|curand|nvtx3|nvml|driver_types)"),
     ("kernels/cuda/", "runtime/devices/cuda/", "comm/nccl/")),
    (re.compile(r"^nccl"), ("comm/nccl/", "runtime/devices/cuda/")),
    (re.compile(r"^infiniband/|^rdma/"), ("comm/verbs/",)),
    (re.compile(r"^pybind11/|^Python\.h$"), ("python/",)),
    (re.compile(r"dnnl"), ("kernels/cpu/",)),
]  # fmt: skip

# The compiler is pure, and so is an actor: nothing that knows a thread, a clock or a file.
PURE = ("compiler/", "runtime/actor/", "runtime/actor.")
IMPURE = re.compile(
    r"^(thread|mutex|shared_mutex|condition_variable|future|atomic|chrono|ctime|time\.h|fstream|filesystem"
    r"|random|pthread\.h|unistd\.h|sys/.*)$"
)


def check(root: Path) -> list[str]:
    problems: list[str] = []
    headers: dict[str, list[str]] = {}
    folders: dict[str, dict[str, str]] = {}
    for path in files(root, ".h", ".cc", ".cu", ".cuh"):
        name = path.relative_to(root).as_posix()
        is_test = name.endswith(("_test.cc", "_for_test.h"))
        for line, quoted, header in includes(path.read_text(errors="replace")):
            place = f"{name}:{line}"
            if quoted and (root / header).exists():
                headers.setdefault(name, []).append(header)
                # Folders by their headers: a source may call back what its folder's users define.
                if path.suffix in (".h", ".cuh") and not is_test:
                    source, target = Path(name).parent.as_posix(), Path(header).parent.as_posix()
                    folders.setdefault(source, {}).setdefault(target, f"{place} includes {header}")
            for pattern, places in FOREIGN:
                if (
                    pattern.search(header)
                    and not (root / header).exists()
                    and not name.startswith(places)
                ):
                    problems.append(f"{place}: <{header}> belongs to {', '.join(places)} only")
            if header == "nlohmann/json.hpp" and path.suffix == ".h":
                problems.append(
                    f"{place}: <{header}> belongs into .cc files only (3 s per include)"
                )
            if not is_test and name.startswith(PURE) and IMPURE.match(header):
                problems.append(f"{place}: <{header}> in code that must be pure")
            top, target = name.split("/")[0], header.split("/")[0]
            if is_test or top not in ALLOWED or top == target or not quoted:
                continue
            if (
                target in ALLOWED
                and target not in ALLOWED[top]
                or target in ("python", "tools", "tests")
            ):
                problems.append(f"{place}: {top} may not include {target}/ ({header})")
    for cycle in cycles(headers):
        problems.append("include cycle: " + " -> ".join(cycle))
    for cycle in cycles(
        {source: [t for t in targets if t != source] for source, targets in folders.items()}
    ):
        edges = [folders[a][b] for a, b in zip(cycle, cycle[1:], strict=False)]
        problems.append("folders include each other: " + "; ".join(edges))
    return problems


def cycles(edges: dict[str, list[str]]) -> list[list[str]]:
    """One cycle for each back edge of a depth-first walk in sorted order; each ends where it begins."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> None:
        if node in path:
            found.append([*path[path.index(node) :], node])
            return
        if node in done:
            return
        for target in sorted(set(edges.get(node, ()))):
            walk(target, [*path, node])
        done.add(node)

    for node in sorted(edges):
        walk(node, [])
    return found
