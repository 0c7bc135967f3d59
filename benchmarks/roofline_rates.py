"""Rates of an H100 that `./dev bench roofline` reckons with: the device's limits, and what our kernels reach of them.

A rate that was measured says so (benchmarks/results/gpu-check.jsonl, docs/cuda.md, and the reference for GPUs in its
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
FALLBACK = 0.25 * VECTOR  # of attention in f32, in our own tiles without tensor cores: predicted
# What ours reach on an H100, measured: attention with dropout, d = 64, of 128 to 512 words 81e12 to 104e12 and
# 75e12 to 124e12; cuDNN's exact engines on a 3x3 convolution of 128 channels.
ATTENTION_16_BIT = {"attention": 92e12, "attention_grad": 100e12}
CONVOLUTION = {"bf16": 448e12, "f16": 448e12, "f32": 20e12}

MATMULS = frozenset(("matmul", "linear", "linear_gelu", "matmul_gelu_grad", "matmul_sums"))
OF_PRODUCTS = MATMULS | frozenset(
    (
        "conv2d",
        "conv2d_sums",
        "conv2d_grad_input",
        "conv2d_grad_weight",
        "attention",
        "attention_grad",
    )
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
    "fused": Reached(0.8),
    "sum": Reached(0.91, True),
    "softmax": Reached(0.55, True),
    "permute": Reached(0.65, True),
    "dropout": Reached(0.93, True),
    "dropout_grad": Reached(0.93, True),
    "sgd_update": Reached(0.89, True),
    "adamw_update": Reached(0.93, True),
    "adamw_updates": Reached(0.8),
    "layer_norm": Reached(0.91, True),
    "layer_norm_grad": Reached(0.95, True),
    "layer_norm_weight_grad": Reached(0.86, True),
    "layer_norm_grads": Reached(0.85),
    "bn_sum": Reached(0.44, True),
    "bn_sq_sum": Reached(0.7),
    "bn_sample_sums": Reached(0.6, True),
    "bn_join_squares": Reached(0.2),
    "bn_apply": Reached(0.69, True),
    "bn_grad_sums": Reached(0.81, True),
    "bn_grad_input": Reached(0.92, True),
    "cross_entropy": Reached(0.95, True),
    "cross_entropy_grad": Reached(0.92, True),
    "gelu": Reached(0.95, True),
    "gelu_grad": Reached(0.95, True),
    "embedding": Reached(0.89, True),
    "embedding_grad": Reached(0.17, True),
    "max_pool2d": Reached(0.27, True),
    "max_pool2d_grad": Reached(0.49, True),
    "avg_pool2d": Reached(0.6),
    "avg_pool2d_grad": Reached(0.6),
}
# Of 16-bit floats.
NARROW_NORMS = {
    "layer_norm": Reached(0.77, True),
    "layer_norm_grad": Reached(0.88, True),
    "layer_norm_weight_grad": Reached(0.74, True),
    "layer_norm_grads": Reached(0.75),
}
WINDOWS = Reached(0.77, True)  # bytes of a convolution of 1x1 in 16 bits
AROUND_SUMS = 5e3  # ns of the two small kernels around a convolution that sums: predicted
OTHERS = Reached(0.88)  # the goal of elementwise kernels
MATMUL_16_BIT = 760e12  # mean over a step of BERT-Large: measured

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


def built_ns(op: str, inputs: Types, flops: int, size: int) -> float:
    """The time of our kernel, without what a launch costs."""
    rate, dtype = arithmetic(op, inputs), inputs[0][0] if inputs else ""
    reached, beside = REACHED.get(op, OTHERS), 0.0
    if op in MATMULS and dtype in ("bf16", "f16"):
        rate = MATMUL_16_BIT
    elif op.startswith("conv2d"):
        rate, reached = CONVOLUTION.get(dtype, FALLBACK), WINDOWS
        if op == "conv2d_sums":
            beside = sums_ns(inputs, size)
    elif op.startswith("attention"):
        rate = ATTENTION_16_BIT[op] if dtype in ("bf16", "f16") else FALLBACK / wasted(op)
    elif op in NARROW_NORMS and dtype != "f32":
        reached = NARROW_NORMS[op]
    return max(flops / rate, size / (COPY * reached.share)) * 1e9 + beside


def sums_ns(inputs: Types, size: int) -> float:
    """What the sums of a convolution's result cost beside it: cuDNN makes them where channels are whole vectors of
    four, else a kernel reads the result, most of what is no input, again."""
    (dtype, image), (_, filters) = inputs
    if image[-1] % 4 == 0:
        return AROUND_SUMS
    element = 4 if dtype == "f32" else 2
    result = size - element * (math.prod(image) + math.prod(filters))
    return result / (COPY * REACHED["bn_sample_sums"].share) * 1e9


def wasted(op: str) -> float:
    """How many times the operations that are needed our fallback does: scores and their slopes in both passes."""
    return 1.4 if op == "attention_grad" else 1.0
