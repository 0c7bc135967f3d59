"""Small checkpoints of known contents, written without a training, and what is found of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from oneflow import checkpoint
from oneflow.epochs import Epoch
from oneflow.manifest import KINDS, file_name
from oneflow.publication import Claim
from oneflow.serialization import pack
from oneflow.snapshot import Snapshot

TENSORS = {
    "model": {"a.weight": (3, 5), "a.bias": (3,), "empty": (0, 2)},
    "optimizer": {"a.weight.exp_avg": (3, 5), "a.bias.exp_avg": (3,)},
}


def values(kind: str, steps: int) -> dict[str, np.ndarray]:
    """Tensors that differ from one step to another."""
    return {
        name: np.random.default_rng([steps, i]).standard_normal(shape).astype(np.float32)
        for i, (name, shape) in enumerate(TENSORS[kind].items())
    }


def snapshot(
    target: Path, steps: int, extra: Any = None, parts: int = 1, fence: Epoch | None = None
) -> Snapshot:
    """As rank 0 of one takes it; of several parts, as if so many ranks had written."""
    files = {}
    for kind in KINDS:
        tensors = values(kind, steps)
        for part in range(parts):
            names = sorted(tensors)[part::parts]
            files[file_name(kind, part, parts)] = pack({name: tensors[name] for name in names})
    seeds, loader = {"step": 1, "tensors": [0, 0]}, {"epoch": 0, "batch": steps, "seed": 3}
    size = sum(packed.num_bytes for packed in files.values())
    claim, number = Claim(target, fence), 0 if fence is None else fence.number
    return Snapshot(
        target, files, steps, loader, seeds, extra, size, claim, 0, 1, 1.0, None, number, fence
    )


def write(target: Path, steps: int, **options: Any) -> None:
    snapshot(target, steps, **options).write()


def names(folder: Path) -> list[str]:
    """What lies in a folder of checkpoints, sorted; but the claim of the last run, which must be there alone."""
    found = sorted(path.name for path in folder.iterdir())
    claims = [name for name in found if name.endswith(".claim")]
    assert len(claims) == 1, claims
    return [name for name in found if name not in claims]


def steps_found(directory: Path) -> int:
    """Of the checkpoint that is found, whose contents must be those that were written."""
    found = checkpoint.find(directory)
    assert found is not None
    for kind, tensors in (("model", found.model), ("optimizer", found.optimizer)):
        expected = values(kind, found.steps)
        assert sorted(tensors) == sorted(expected)
        for name, value in expected.items():
            assert tensors[name].numpy().tobytes() == value.tobytes()
            assert tensors[name].shape == value.shape
    assert found.loader == {"epoch": 0, "batch": found.steps, "seed": 3}
    return found.steps
