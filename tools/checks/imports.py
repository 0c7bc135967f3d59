"""Imports of the Python package: an order. No cycle, TYPE_CHECKING included, and none hidden inside a function."""

from __future__ import annotations

import ast
from pathlib import Path

from tools.checks.layers import cycles
from tools.checks.tree import files

DOC = __doc__

PACKAGE = "oneflow"


def check(root: Path) -> list[str]:
    folder = root / "python" / PACKAGE
    modules = {module_name(folder, path): path for path in files(folder, ".py")}
    problems: list[str] = []
    edges: dict[str, list[str]] = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text(), str(path))
        inside = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
            for node in ast.walk(function)
        }
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(tree):
            for target in targets(node, package, modules):
                edges.setdefault(name, []).append(target)
                if id(node) in inside:
                    place = f"{path.relative_to(root).as_posix()}:{node.lineno}"
                    problems.append(f"{place}: {target} is imported inside a function")
    for cycle in cycles(edges):
        problems.append("import cycle: " + " -> ".join(cycle))
    return problems


def module_name(folder: Path, path: Path) -> str:
    """oneflow.nn.module; oneflow.nn for its __init__.py."""
    parts = [PACKAGE, *path.relative_to(folder).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def targets(node: ast.AST, package: str, modules: dict[str, Path]) -> list[str]:
    """The package's modules that an import statement runs: those named, and the packages on the way to them.

    Packages around the importing module are left out: they run already.
    """
    if isinstance(node, ast.Import):
        named = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = package.split(".")[: len(package.split(".")) - (node.level - 1)]
        origin = ".".join([*(base if node.level else []), *filter(None, [node.module])])
        named = []
        for alias in node.names:
            if f"{origin}.{alias.name}" in modules:
                named.append(f"{origin}.{alias.name}")
            # Of a package around this module only what its __init__.py makes is an edge: the rest of
            # the names are extension modules.
            elif not is_around(origin, package) or (
                origin in modules and defines(modules[origin], alias.name)
            ):
                named.append(origin)
    else:
        return []
    found = []
    for name in named:
        parts = name.split(".")
        for i in range(1, len(parts) + 1):
            prefix = ".".join(parts[:i])
            if prefix in modules and (prefix == name or not is_around(prefix, package)):
                found.append(prefix)
    return found


def is_around(package: str, inner: str) -> bool:
    """Whether `inner` is `package` or lies in it: then it runs already."""
    return inner == package or inner.startswith(package + ".")


def defines(path: Path, name: str) -> bool:
    """Whether a package's __init__.py imports or makes `name`."""
    for statement in ast.parse(path.read_text(), str(path)).body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)) and statement.name == name:
            return True
        if isinstance(statement, ast.ImportFrom) and any(
            (alias.asname or alias.name) == name for alias in statement.names
        ):
            return True
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in statement.targets
        ):
            return True
    return False
