"""Whole steps with chains of elementwise ops as one task and with each op by itself: the same bits, on a CPU, on
software CUDA and on a GPU, under every kind of layout and precision; and chains are really there."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import oneflow as flow
import pytest
from oneflow import store
from oneflow.models import tensor_parallel

from tests.e2e.soft_trace import PLUGIN
from tests.e2e.test_cuda import KINDS, bert, gpt2, resnet

MODELS = {"bert": bert, "gpt2": gpt2, "resnet": resnet}
LAYOUTS = {
    "one": ({}, 1, "fp32"),
    "dp2": ({"dp": 2}, 1, "fp32"),
    "dp2_bf16": ({"dp": 2}, 2, "bf16"),
    "tp2_fp16": ({"tp": 2}, 1, "fp16"),
    "pp2": ({"pp": 2}, 2, "fp32"),
}
# The first and the last op of a chain that each model must have; in narrow precisions a cast stands in between.
CHAINS = {"bert": ("dropout", "add"), "gpt2": ("dropout", "add"), "resnet": ("add", "relu")}


class Training:
    def __init__(self, name: str, kind: str, layout: str) -> None:
        flow.manual_seed(5)
        axes, accumulate, precision = LAYOUTS[layout]
        self.model, loss, self.batch = MODELS[name](np.random.default_rng(3))
        self.step = flow.train_step(
            loss,
            model=self.model,
            optimizer=flow.optim.AdamW(self.model.parameters(), lr=1e-2),
            mesh=flow.mesh(kind, threads=1, **axes),
            accumulate=accumulate,
            precision=precision,
            parallel=tensor_parallel(self.model) if "tp" in axes and name != "resnet" else "auto",
        )

    def run(self, steps: int) -> tuple[list[float], dict[str, np.ndarray]]:
        losses = [float(self.step(*self.batch)["loss"]) for _ in range(steps)]
        states = flow.gather(self.model.state_dict())
        return losses, {key: value.numpy().copy() for key, value in states.items()}

    def chains(self) -> Counter[tuple[str, ...]]:
        found: Counter[tuple[str, ...]] = Counter()
        for ops in re.findall(r"\bops=\[([^]]*)\]", self.step.compile(*self.batch).text):
            found[tuple(op.strip('" ') for op in ops.split(","))] += 1
        return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["cpu", *KINDS])
def test_fusion_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch, kind: str, name: str, layout: str
) -> None:
    if kind == "software":
        monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))
    runs = {}
    for fuse in (True, False):
        monkeypatch.setattr(store, "FUSES", fuse)
        training = Training(name, "cpu" if kind == "cpu" else "cuda", layout)
        runs[fuse] = training.run(3)
        chains = training.chains()
        assert bool(chains) == fuse
        if fuse:
            first, last = CHAINS[name]
            assert any(first in chain[:-1] and chain[-1] == last for chain in chains), chains
    assert runs[True][0] == runs[False][0]
    assert np.isfinite(runs[True][0]).all()
    for key, value in runs[True][1].items():
        assert np.array_equal(value, runs[False][1][key]), key
