"""Each check accepts this tree, and sees a violation that is planted in a small one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.checks.run import NAMES, ROOT, violations

HEADER = """// Thing: a thing for this test.
//
// A value. Threads: any. Read next: base/other.h.
#ifndef ONEFLOW_BASE_THING_H_
#define ONEFLOW_BASE_THING_H_

namespace oneflow {

struct Thing {
  int size = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_BASE_THING_H_
"""
ENVIRONMENT = "| Variable | Meaning |\n|---|---|\n| `ONEFLOW_LOG` | level |\n"
READER = '#include <cstdlib>\nconst char* Level() { return std::getenv("ONEFLOW_LOG"); }\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree that passes every check."""
    for name, text in {
        "base/thing.h": HEADER,
        "base/thing.cc": '#include "base/thing.h"\n',
        "base/level.cc": READER,
        "docs/environment.md": ENVIRONMENT,
        "python/oneflow/__init__.py": '"""The package."""\n\n\nclass Thing:\n    """A thing."""\n',
    }.items():
        write(tmp_path, name, text)
    for name in ("pyproject.toml", ".clang-format"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name", NAMES)
def test_this_tree_passes(name: str) -> None:
    assert violations(name, ROOT) == []


@pytest.mark.parametrize("name", NAMES)
def test_small_tree_passes(name: str, tree: Path) -> None:
    assert violations(name, tree) == []


PLANTED = [
    # check, file, text, what the violation says
    (
        "layers",
        "plan/a.cc",
        '#include "compiler/graph/graph.h"\n',
        "plan may not include compiler/",
    ),
    (
        "layers",
        "compiler/a.cc",
        '#include "runtime/session.h"\n',
        "compiler may not include runtime/",
    ),
    ("layers", "base/a.cc", '#include "tools/x.h"\n', "base may not include tools/"),
    ("layers", "runtime/a.cc", "#include <cuda_runtime.h>\n", "belongs to kernels/cuda/"),
    ("layers", "kernels/cpu/a.cc", "#include <nccl.h>\n", "belongs to comm/nccl/"),
    ("layers", "runtime/a.cc", "#include <pybind11/pybind11.h>\n", "belongs to python/"),
    ("layers", "runtime/a.cc", '#include "oneapi/dnnl/dnnl.hpp"\n', "belongs to kernels/cpu/"),
    ("layers", "compiler/passes/a.cc", "#include <thread>\n", "must be pure"),
    ("layers", "compiler/passes/a.cc", "#include <chrono>\n", "must be pure"),
    ("layers", "runtime/a.h", "#include <nlohmann/json.hpp>\n", "into .cc files only"),
    (
        "imports",
        "python/oneflow/a.py",
        "def f():\n    from .a import g\n",
        "python/oneflow/a.py:2: oneflow.a is imported inside a function",
    ),
    ("headers", "base/a.h", "#ifndef ONEFLOW_BASE_A_H_\n#define ONEFLOW_BASE_A_H_\n", "opens with"),
    ("headers", "base/a.h", HEADER.replace("Threads: any.", ""), "which threads"),
    ("headers", "base/a.h", HEADER.replace("Read next: base/other.h.", ""), "what to read next"),
    ("headers", "base/a.h", HEADER, "guard is not ONEFLOW_BASE_A_H_"),
    ("headers", "base/thing.h", HEADER.replace("struct Thing", "struct Other"), "no comment"),
    ("headers", "python/oneflow/a.py", "class Bare:\n    pass\n", "class Bare"),
    ("sizes", "base/a.cc", "int a;\n" * 801, "801 lines"),
    ("sizes", "base/a.h", "int a;\n" * 401, "401 lines"),
    ("sizes", "kernels/cuda/a.cu", "int a;\n" * 1001, "1001 lines"),
    ("sizes", "examples/resnet/train.py", "a = 1\n" * 151, "151 lines"),
    ("words", "base/a.cc", "class ShapeUtil {};\n", "ShapeUtil"),
    ("words", "base/a.cc", "struct PlanHelper {};\n", "PlanHelper"),
    ("words", "python/oneflow/a.py", "class SessionManager:\n    pass\n", "SessionManager"),
    ("words", "base/string_utils.cc", "int a;\n", "named after its concept"),
    ("words", "base/a.cc", "int a;  // TODO: more\n", "unfinished"),
    ("words", "python/oneflow/a.py", "a = 1  # good enough for now\n", "unfinished"),
    ("words", "runtime/a.cc", "void F() { throw 1; }\n", "only python/bindings throws"),
    ("words", "compiler/a.cc", "std::unordered_map<int, int> m;\n", "no fixed order"),
    ("words", "tools/a.py", 'HOME = "/home/me"\n', "path of one machine"),
    (
        "environment",
        "runtime/a.cc",
        'auto* a = getenv("ONEFLOW_SECRET");\n',
        "ONEFLOW_SECRET is not",
    ),
    ("environment", "python/oneflow/a.py", 'import os\n\nA = os.environ["RANK"]\n', "RANK is not"),
    (
        "environment",
        "docs/environment.md",
        ENVIRONMENT + "| `ONEFLOW_OLD` | gone |\n",
        "nothing reads",
    ),
    ("environment", "docs/environment.md", ENVIRONMENT * 2, "stands twice"),
    (
        "environment",
        "docs/environment.md",
        "".join(f"| `ONEFLOW_{c}` | x |\n" for c in "ABCDEFGHIJKLM"),
        "13 variables",
    ),
    ("formatting", "base/a.cc", "int  a ;\n", "base/a.cc: not as clang-format-16"),
    ("formatting", "python/oneflow/a.py", "a = [1,2]\n", "not as ruff would format"),
    ("formatting", "python/oneflow/a.py", "import os\n", "F401"),
    ("mypy_types", "python/oneflow/a.py", 'def f(x: int) -> int:\n    return "a"\n', "error"),
    ("mypy_types", "python/oneflow/a.py", "def f(x):\n    return x\n", "annotation"),
]


@pytest.mark.parametrize(("name", "file", "text", "said"), PLANTED)
def test_planted_violation_is_seen(name: str, file: str, text: str, said: str, tree: Path) -> None:
    write(tree, file, text)
    assert any(said in problem for problem in violations(name, tree))


def test_include_cycle_is_seen(tree: Path) -> None:
    write(tree, "base/a.h", '#include "base/b.h"\n')
    write(tree, "base/b.h", '#include "base/a.h"\n')
    assert violations("layers", tree) == ["include cycle: base/a.h -> base/b.h -> base/a.h"]


CYCLES = {
    "plain": "from .a import A\n",
    "only for types": "if TYPE_CHECKING:\n    from .a import A\n",
    "of the package's own name": "from . import Thing, a\n",
    "through a package": "from .sub.c import C\n",
}


@pytest.mark.parametrize("name", CYCLES)
def test_import_cycle_is_seen(name: str, tree: Path) -> None:
    for file in ("__init__", "b", "sub/c"):
        write(tree, f"python/oneflow/{file}.py", "")
    write(tree, "python/oneflow/sub/__init__.py", "from ..a import A\n")
    write(tree, "python/oneflow/a.py", "from .b import B\nfrom . import _core\n")
    assert violations("imports", tree) == []
    write(tree, "python/oneflow/b.py", CYCLES[name])
    assert any(problem.startswith("import cycle: ") for problem in violations("imports", tree))


def test_cycle_of_folders_is_seen(tree: Path) -> None:
    write(tree, "compiler/graph/a.h", '#include "compiler/ops/b.h"\n')
    write(tree, "compiler/ops/b.h", "\n")
    write(tree, "compiler/ops/c.h", '#include "compiler/graph/d.h"\n')
    write(tree, "compiler/graph/d.h", "\n")
    (problem,) = violations("layers", tree)
    assert problem.startswith("folders include each other: compiler/graph/a.h:1")


def test_tests_may_include_anything(tree: Path) -> None:
    write(tree, "runtime/a_test.cc", '#include "compiler/graph/graph.h"\n#include <thread>\n')
    assert violations("layers", tree) == []


def test_hash_table_that_is_only_looked_up_is_accepted(tree: Path) -> None:
    write(tree, "compiler/a.cc", "std::unordered_map<int, int> cost;  // only looked up\n")
    assert violations("words", tree) == []
