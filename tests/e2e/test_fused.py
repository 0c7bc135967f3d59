"""Whole steps with ops joined (chains of elementwise ops, casts of gradients with their updates, slices with
attention) and with each op by itself: the same bits, on a CPU, on software CUDA and on a GPU, under every kind of layout and precision; and they are
really joined."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import store
from oneflow.models import tensor_parallel

from tests.e2e.soft_trace import PLUGIN
from tests.e2e.test_cuda import KINDS, bert, gpt2, next_token, resnet


class Attending(flow.nn.Module):
    """A block whose queries, keys and values are one product, cut by chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = flow.nn.Embedding(37, 32)
        self.qkv, self.proj = flow.nn.Linear(32, 96), flow.nn.Linear(32, 32)
        self.drop, self.head = flow.nn.Dropout(0.1), flow.nn.Linear(32, 37)

    def forward(self, tokens: flow.Tensor) -> flow.Tensor:
        x = self.tokens(tokens)
        n, length, width = x.shape
        q, k, v = (
            part.reshape(n, length, 2, width // 2).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.2)
        return self.head(x + self.drop(self.proj(y.transpose(1, 2).reshape(n, length, width))))


def attending(random: np.random.Generator) -> tuple[flow.nn.Module, Any, list[np.ndarray]]:
    model = Attending()
    return (model, *next_token(model, random))


MODELS = {"attending": attending, "bert": bert, "gpt2": gpt2, "resnet": resnet}
LAYOUTS = {
    "one": ({}, 1, "fp32"),
    "one_bf16": ({}, 1, "bf16"),
    "dp2": ({"dp": 2}, 1, "fp32"),
    "dp2_bf16": ({"dp": 2}, 2, "bf16"),
    "tp2_fp16": ({"tp": 2}, 1, "fp16"),
    "pp2": ({"pp": 2}, 2, "fp32"),
}
# The first and the last op of a chain that each model must have; in narrow precisions a cast stands in between.
# Layouts in which some gradient comes narrow to its update: fp16's are unscaled before.
NARROW = {"one_bf16", "dp2_bf16"}
CHAINS = {
    "attending": ("dropout", "add"),
    "bert": ("dropout", "add"),
    "gpt2": ("dropout", "add"),
    "resnet": ("add", "relu"),
}


class Training:
    def __init__(self, name: str, kind: str, layout: str, adamw: bool = True) -> None:
        flow.manual_seed(5)
        axes, accumulate, precision = LAYOUTS[layout]
        self.model, loss, self.batch = MODELS[name](np.random.default_rng(3))
        self.step = flow.train_step(
            loss,
            model=self.model,
            optimizer=flow.optim.AdamW(self.model.parameters(), lr=1e-2)
            if adamw
            else flow.optim.SGD(self.model.parameters(), lr=1e-2, momentum=0.9),
            mesh=flow.mesh(kind, threads=1, **axes),
            accumulate=accumulate,
            precision=precision,
            parallel=tensor_parallel(self.model)
            if "tp" in axes and name in ("bert", "gpt2")
            else "auto",
        )

    def run(self, steps: int) -> tuple[list[float], dict[str, np.ndarray]]:
        losses = [float(self.step(*self.batch)["loss"]) for _ in range(steps)]
        states = flow.gather(self.model.state_dict())
        return losses, {key: value.numpy().copy() for key, value in states.items()}

    def kernels(self) -> list[dict[str, Any]]:
        return self.step.compile(*self.batch).kernels()

    def narrow_updates(self) -> int:
        """How many updates read a gradient that is not f32."""
        gradients = {"adamw_update": slice(1, 2), "sgd_update": slice(1, 2)}
        gradients["adamw_updates"] = slice(3, None, 4)
        return sum(
            gradient[0] != "f32"
            for kernel in self.kernels()
            if kernel["op"] in gradients
            for gradient in kernel["inputs"][gradients[kernel["op"]]]
        )

    def packed(self) -> int:
        """How many calls of attention read q, k and v from one tensor."""
        return len(re.findall(r"\bpacked=\[[0-9]", self.step.compile(*self.batch).text))

    def padded(self) -> bool:
        """Whether products have the rows of classes that nobody reads."""
        return re.search(r"\bclasses=[1-9]", self.step.compile(*self.batch).text) is not None

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
    other_products = False
    for fuse in (True, False):
        monkeypatch.setattr(store, "FUSES", fuse)
        training = Training(name, "cpu" if kind == "cpu" else "cuda", layout)
        # Of a padded product cuBLASLt takes another kernel, which adds in another order.
        other_products |= kind == "gpu" and training.padded()
        runs[fuse] = training.run(3)
        chains = training.chains()
        assert bool(chains) == fuse
        updates = Counter(kernel["op"] for kernel in training.kernels())
        assert bool(updates["adamw_updates"]) == fuse or layout == "tp2_fp16"
        assert fuse or updates["adamw_update"] > 4
        assert bool(training.narrow_updates()) == (fuse and layout in NARROW)
        # BERT has three products. Heads that are split over devices are cut out of what they are packed in.
        if not fuse or name == "bert":
            assert training.packed() == 0
        if fuse and name == "attending" and layout != "tp2_fp16":
            assert training.packed() >= 2
            for kernel in training.kernels():  # but for those of tokens and of their places
                assert kernel["op"] not in ("slice", "cat") or len(kernel["inputs"][0][1]) < 3
        if fuse:
            first, last = CHAINS[name]
            assert any(first in chain[:-1] and chain[-1] == last for chain in chains), chains
    assert np.isfinite(runs[True][0]).all()
    if other_products:
        np.testing.assert_allclose(runs[True][0], runs[False][0], rtol=1e-3)
        return
    assert runs[True][0] == runs[False][0]
    for key, value in runs[True][1].items():
        assert np.array_equal(value, runs[False][1][key]), key


def round_trips(training: Training) -> int:
    """How many chains are casts alone: copies, as both ends have one type."""
    return sum(
        count for ops, count in training.chains().items() if len(ops) > 1 and {*ops} == {"cast"}
    )


@pytest.mark.parametrize("layout", ["one_bf16", "dp2_bf16", "tp2_fp16"])
@pytest.mark.parametrize("name", ["bert", "gpt2"])
@pytest.mark.parametrize("kind", ["cpu", *KINDS])
def test_what_is_widened_and_narrowed_again_is_no_copy(
    monkeypatch: pytest.MonkeyPatch, kind: str, name: str, layout: str
) -> None:
    """Of the operands of a mixed step's products, which a view stands before (test_fusion_changes_no_bit: that losses
    and states keep their bits)."""
    if kind == "software":
        monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))
    training = Training(name, "cpu" if kind == "cpu" else "cuda", layout)
    assert round_trips(training) == 0
    # GELU's result goes to the next product as it is: nothing reads it to write it again.
    for kernel in training.kernels():
        if kernel["op"] == "cast":
            assert kernel["inputs"][0][0] != kernel["outputs"][0][0]


@pytest.mark.parametrize("adamw", [True, False], ids=["adamw", "sgd"])
@pytest.mark.parametrize("kind", ["cpu", *KINDS])
def test_updates_take_the_place_of_casts(
    monkeypatch: pytest.MonkeyPatch, kind: str, adamw: bool
) -> None:
    if kind == "software":
        monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))
    runs, casts = {}, {}
    for fuse in (True, False):
        monkeypatch.setattr(store, "FUSES", fuse)
        training = Training("gpt2", "cpu" if kind == "cpu" else "cuda", "one_bf16", adamw)
        runs[fuse] = training.run(3)
        kernels = training.kernels()
        casts[fuse] = sum(
            kernel["op"] == "cast" and kernel["inputs"][0][0] == "bf16" for kernel in kernels
        )
        # Those of the layer's four products and their biases; norms and tables have sums in f32.
        assert training.narrow_updates() == (8 if fuse else 0)
    assert casts[False] - casts[True] >= 4
    assert runs[True][0] == runs[False][0]
    for key, value in runs[True][1].items():
        assert np.array_equal(value, runs[False][1][key]), key


class Normed(flow.nn.Module):
    """Norms of rows as wide as one kernel takes them for all gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.first = flow.nn.Linear(16, 256), flow.nn.LayerNorm(256)
        self.last = flow.nn.LayerNorm(256)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.last(F.relu(self.first(self.up(x))))


@pytest.mark.parametrize("axes", [{}, {"dp": 2}], ids=["one", "dp2"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradients_of_a_norm_are_one_kernel(
    monkeypatch: pytest.MonkeyPatch, kind: str, axes: dict[str, int]
) -> None:
    """The sums of rows that lie apart, in micro-batches too, are those of one CPU."""
    if kind == "software":
        monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))
    x = np.random.default_rng(3).standard_normal((48, 16)).astype(np.float32)
    y = np.random.default_rng(4).standard_normal((48, 256)).astype(np.float32)
    runs = {}
    for device, split in (("cpu", {}), ("cuda", axes)):
        flow.manual_seed(5)
        model = Normed()
        step = flow.train_step(
            lambda x, y, model=model: (model(x) - y).square().mean(),
            model=model,
            optimizer=flow.optim.SGD(model.parameters(), lr=0.5),
            mesh=flow.mesh(device, threads=1, **split),
            accumulate=2,
        )
        for _ in range(3):
            step(x, y)
        ops = Counter(kernel["op"] for kernel in step.compile(x, y).kernels())
        alone = ops["layer_norm_grad"], ops["layer_norm_weight_grad"]
        assert (ops["layer_norm_grads"] == 0) == (device == "cpu")
        assert alone == ((2, 2) if device == "cpu" else (0, 0))
        runs[device] = {
            key: value.numpy().copy() for key, value in flow.gather(model.state_dict()).items()
        }
    for key, value in runs["cpu"].items():
        np.testing.assert_allclose(runs["cuda"][key], value, rtol=1e-4, atol=1e-5, err_msg=key)
