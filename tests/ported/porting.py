"""Files written for PyTorch, and the same text with its import lines changed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

MODELS = Path(__file__).parent / "models"
NAMES = sorted(path.stem for path in MODELS.glob("*.py"))

_IMPORT = re.compile(r"^(\s*)(import|from) torch\b(.*)$")


def changed(line: str) -> str:
    """An import line of PyTorch as one of ours; every other line as it is."""
    match = _IMPORT.match(line)
    if match is None:
        return line
    indent, word, rest = match.groups()
    if word == "import" and not rest.strip():
        return f"{indent}import oneflow as torch"
    return f"{indent}{word} oneflow{rest}"


def ported(source: str) -> str:
    """The text with its import lines changed."""
    return "\n".join(changed(line) for line in source.split("\n"))


def load(name: str, ours: bool) -> ModuleType:
    """The module of a model file: for PyTorch, or ported."""
    path = MODELS / f"{name}.py"
    source = path.read_text()
    module = ModuleType(f"{'ported' if ours else 'original'}_{name}")
    module.__file__ = str(path)
    # Without the rules of this module, such as its annotations that are not evaluated.
    code = compile(ported(source) if ours else source, str(path), "exec", dont_inherit=True)
    exec(code, module.__dict__)
    return module


@cache
def original(name: str) -> ModuleType:
    """As it is. Cached: pickled classes of a module must be those of one module."""
    return load(name, ours=False)


def make_batch(name: str, size: int, seed: int) -> dict[str, np.ndarray]:
    """Numbers for a model: float32, int64 or bool."""
    batch = original(name).make_batch(np.random.default_rng(seed), size)
    kinds = {"f": np.float32, "i": np.int64, "b": np.bool_}
    return {key: np.ascontiguousarray(x).astype(kinds[x.dtype.kind]) for key, x in batch.items()}


def losses_of(module: Any) -> dict[str, Any]:
    """The losses of a file by name; most have one."""
    return getattr(module, "LOSSES", None) or {"loss": module.compute_loss}
