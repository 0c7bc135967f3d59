"""Rates of an H100 that `./dev bench roofline` reckons with: the device's limits, and what our kernels reach of them.

A rate that was measured says so (benchmarks/results/gpu-check.jsonl, e17b5c0, and the reference for GPUs in its
section 1); the others are what the headers of kernels/cuda/*.cu predict, and have not run on a GPU. Pure functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Types = list[tuple[str, tuple[int, ...]]]

COPY = 3.0e12  # bytes/s read and written by a copy: measured
# Operations/s of products: 16-bit floats with tensor cores (a product of 8192 measured 798e12 with random data; 790
# over a step), f32 without TF32 (measured 51.5), f64.
PRODUCTS = {"bf16": 790e12, "f16": 790e12, "f32": 51.5e12, "f64": 60e12}
VECTOR = 66.9e12  # other operations, in f32: the datasheet's
FALLBACK = 0.25 * VECTOR  # of products in our own tiles, without tensor cores: predicted

OF_PRODUCTS = frozenset(
    ("matmul", "conv2d", "conv2d_grad_input", "conv2d_grad_weight", "attention", "attention_grad")
)


@dataclass(frozen=True)
class Reached:
    """The share of a copy's rate that a kernel reaches, at best; and whether that was measured, on large arrays."""

    share: float
    measured: bool = False


UNARY = Reached(0.94, True)
BINARY = Reached(0.96, True)
REACHED = {
    "add": BINARY,
    "relu": UNARY,
    "relu_grad": BINARY,
    "exp": Reached(0.93, True),
    "tanh": Reached(0.92, True),
    "sum": Reached(0.91, True),
    "softmax": Reached(0.55, True),
    "permute": Reached(0.65, True),
    "dropout": Reached(0.93, True),
    "dropout_grad": Reached(0.93, True),
    "sgd_update": Reached(0.89, True),
    "adamw_update": Reached(0.93, True),
    "layer_norm": Reached(0.8),
    "layer_norm_grad": Reached(0.8),
    "layer_norm_weight_grad": Reached(0.8),
    "bn_sum": Reached(0.75),
    "bn_sq_sum": Reached(0.75),
    "bn_apply": Reached(0.75),
    "bn_grad_sums": Reached(0.75),
    "bn_grad_input": Reached(0.75),
    "cross_entropy": Reached(0.75),
    "cross_entropy_grad": Reached(0.75),
    "embedding": Reached(0.8),
    "embedding_grad": Reached(0.3),
    "max_pool2d": Reached(0.6),
    "max_pool2d_grad": Reached(0.3),
    "avg_pool2d": Reached(0.6),
    "avg_pool2d_grad": Reached(0.6),
}
NARROW_NORMS = Reached(0.6)  # of 16-bit floats
OTHERS = Reached(0.88)  # the goal of elementwise kernels
MATMUL_16_BIT = (
    660e12  # mean over a step: predicted; squares of 4096 and 8192 measured 694e12 to 779e12
)

# Goals in samples/s, and what others have published for the same model (the reference for GPUs, sections 2, 14, 15).
GOALS: dict[str, dict[str, Any]] = {
    "bert-large-s128": {
        "floor": 2000,
        "goal": 2200,
        "stretch": 2400,
        "pytorch_expected": "1550-1800",
        "published": "none at s128",
    },
    "bert-large-s512": {
        "floor": 460,
        "goal": 505,
        "stretch": 540,
        "pytorch_expected": "370-420",
        "published": "MLPerf 970 packed, FP8, 254 of 512 words",
    },
    "resnet50": {
        "floor": 5000,
        "goal": 6000,
        "stretch": 7000,
        "pytorch_expected": "3600-4600",
        "published": "MLPerf 7010-7161, fp16; PyTorch eager NCHW 2790",
    },
}


def arithmetic(op: str, inputs: Types) -> float:
    """Operations/s of a perfect kernel."""
    if op in OF_PRODUCTS:
        return PRODUCTS.get(inputs[0][0], VECTOR)
    return VECTOR


def limit_ns(op: str, inputs: Types, flops: int, size: int) -> tuple[float, str]:
    """The least time of a kernel of `flops` that moves `size` bytes, and what binds it."""
    computing = flops / arithmetic(op, inputs) * 1e9
    moving = size / COPY * 1e9
    return max(computing, moving), "flops" if computing > moving else "bytes"


def built_ns(op: str, inputs: Types, outputs: Types, flops: int, size: int) -> float:
    """The time of our kernel, without what a launch costs."""
    rate = arithmetic(op, inputs)
    if op == "matmul" and inputs[0][0] in ("bf16", "f16"):
        rate = MATMUL_16_BIT
    elif op in OF_PRODUCTS and op != "matmul":
        rate = FALLBACK / wasted(op, inputs, outputs)
    reached = REACHED.get(op, OTHERS)
    if op.startswith("layer_norm") and inputs[0][0] != "f32":
        reached = NARROW_NORMS
    return max(flops / rate, size / (COPY * reached.share)) * 1e9


def wasted(op: str, inputs: Types, outputs: Types) -> float:
    """How many times the operations that are needed our fallback does."""
    if op == "attention_grad":
        return 1.4  # scores and their slopes in both passes
    if op == "conv2d_grad_input":  # multiplies the zeros between the pixels of a strided image
        image, result = outputs[0][1], inputs[0][1]
        return max(1.0, math.prod(image[1:3]) / math.prod(result[1:3]))
    return 1.0
