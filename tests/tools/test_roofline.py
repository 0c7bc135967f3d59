"""`./dev bench roofline`: flops and bytes of the plan against first principles, and what the sheet makes of them.

The arithmetic here is independent: from the shapes that are written down in each test, not from the plan's.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import models, nn

from benchmarks import roofline
from benchmarks.roofline_rates import COPY, GOALS, PRODUCTS, built_ns, limit_ns

BF16, F32 = 2, 4


def kernels_of(model: Any, loss: Any, *batch: Any) -> list[dict[str, Any]]:
    """Of a training step in bf16 on one H100."""
    step = flow.train_step(
        loss,
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
        mesh=flow.mesh("cuda", dp=1),
        precision="bf16",
    )
    return step.compile_for(roofline.one_gpu(), *batch).kernels()


def of(kernels: list[dict[str, Any]], op: str) -> list[dict[str, Any]]:
    found = [kernel for kernel in kernels if kernel["op"] == op]
    assert found, f"no {op} among {sorted({kernel['op'] for kernel in kernels})}"
    return found


def test_a_linear_layer() -> None:
    """[48, 64] by [96, 64] transposed: 2 m n k each way, three matrices moved once each."""
    model = nn.Linear(64, 96, bias=False)
    kernels = kernels_of(model, lambda x: model(x).square().mean(), flow.spec((48, 64)))
    products = of(kernels, "matmul")
    assert len(products) == 2  # y, and the weight's gradient: x needs none
    for product in products:
        assert product["flops"] == 2 * 48 * 96 * 64
        assert product["bytes"] == BF16 * (48 * 64 + 96 * 64 + 48 * 96)
        assert product["firings"] == 1 and not product["moves"]


def test_the_gradients_of_a_layer_with_a_bias() -> None:
    """Of the same with a bias: its sums read no more than the product does."""
    model = nn.Linear(64, 96)
    kernels = kernels_of(model, lambda x: model(x).square().mean(), flow.spec((48, 64)))
    (joined,) = of(kernels, "matmul_sums")
    assert joined["flops"] == 2 * 48 * 96 * 64 + 48 * 96
    assert joined["bytes"] == BF16 * (48 * 64 + 48 * 96 + 96 * 64 + 96)


def test_the_activation_of_a_layer() -> None:
    """Of two layers, 64 to 96 to 32: y and what the activation is of are written, nothing of both is read again
    forward; backward only the latter is."""
    up, down = nn.Linear(64, 96), nn.Linear(96, 32)
    model = nn.Sequential(up, nn.GELU(approximate="tanh"), down)
    kernels = kernels_of(model, lambda x: model(x).square().mean(), flow.spec((48, 64)))
    (forward,) = of(kernels, "linear_gelu")
    assert forward["bytes"] == BF16 * (48 * 64 + 96 * 64 + 96 + 2 * 48 * 96)
    # A bias (1) and about 20 operations of the activation.
    assert 0 <= forward["flops"] - 2 * 48 * 96 * 64 - 21 * 48 * 96 <= 48 * 96
    (backward,) = of(kernels, "matmul_gelu_grad")
    assert backward["bytes"] == BF16 * (48 * 32 + 96 * 32 + 2 * 48 * 96)
    assert backward["flops"] == 2 * 48 * 96 * 32 + 2 * 48 * 96


def test_a_layer_norm() -> None:
    """Of [48, 64] in f32: x and y, weight and bias, a mean and a deviation of each row."""
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64))
    kernels = kernels_of(model, lambda x: model(x).square().mean(), flow.spec((48, 64)))
    (forward,) = of(kernels, "layer_norm")
    assert [dtype for dtype, _ in forward["inputs"]] == ["f32"] * 3
    rows, width = 48, 64
    assert forward["bytes"] == F32 * (2 * rows * width + 2 * width + 2 * rows)
    # mean (1), centre, square and add (3), scale, weight, bias (3), and the root: about 8 an element
    assert 6 * rows * width <= forward["flops"] <= 10 * rows * width
    # All three gradients in one pass, which reads x and dy once.
    (backward,) = of(kernels, "layer_norm_grads")
    assert backward["bytes"] == F32 * (3 * rows * width + 3 * width + 2 * rows)


def test_an_attention() -> None:
    """Of 2 x 4 heads, 32 words, width 16: scores and their product with v forward; five products backward."""
    batch, heads, words, width = 2, 4, 32, 16
    q = nn.Linear(width * heads, 3 * width * heads, bias=False)

    def loss(x: flow.Tensor) -> flow.Tensor:
        parts = q(x).reshape(batch, words, 3, heads, width)
        a, b, c = (parts[:, :, i].transpose(1, 2) for i in range(3))
        return F.scaled_dot_product_attention(a, b, c).square().mean()

    kernels = kernels_of(q, loss, flow.spec((batch, words, width * heads)))
    (forward,) = of(kernels, "attention")
    products = 2 * (2 * batch * heads * words * words * width)  # two, a multiply-add is two flops
    assert products <= forward["flops"] <= 1.4 * products  # and about 20 for each weight
    every, rows = batch * heads * words * width, batch * heads * words
    assert forward["bytes"] == BF16 * 4 * every + F32 * rows
    (backward,) = of(kernels, "attention_grad")
    assert 2.5 * products <= backward["flops"] <= 2.9 * products
    assert backward["bytes"] == BF16 * 8 * every + F32 * rows


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution(stride: int) -> None:
    """3 x 3 of 16 channels to 24 on 8 x 8 pixels: every weight meets every pixel of the result."""
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 24, 3, stride, 1, bias=False))
    kernels = kernels_of(model, lambda x: model(x).square().mean(), flow.spec((4, 3, 8, 8)))
    side = 8 // stride
    flops = 2 * 4 * side * side * 24 * 16 * 9
    image, weight, result = 4 * 8 * 8 * 16, 24 * 16 * 9, 4 * side * side * 24
    for op in ("conv2d", "conv2d_grad_input", "conv2d_grad_weight"):
        (found,) = [one for one in of(kernels, op) if one["flops"] == flops]
        assert found["bytes"] == BF16 * (image + weight + result), op


def test_a_convolution_and_the_statistics_behind_it() -> None:
    """Of 16 channels to 24 on 8 x 8 pixels: the result is written and not read again, and two numbers of each channel
    beside it. Four operations an element."""
    model = nn.Sequential(nn.Conv2d(16, 24, 3, 1, 1, bias=False), nn.BatchNorm2d(24))
    kernels = kernels_of(model, lambda x: model(x).square().mean(), flow.spec((4, 16, 8, 8)))
    (joined,) = of(kernels, "conv2d_sums")
    image, weight, result = 4 * 8 * 8 * 16, 24 * 16 * 9, 4 * 8 * 8 * 24
    assert joined["bytes"] == BF16 * (image + weight + result) + F32 * 2 * 24
    assert joined["flops"] == 2 * result * 16 * 9 + 4 * result
    assert not [kernel for kernel in kernels if kernel["op"] == "bn_sample_sums"]


def test_what_ours_reach_is_no_more_than_the_limit() -> None:
    for op in ("conv2d", "attention", "attention_grad", "matmul", "layer_norm", "add"):
        for dtype in ("bf16", "f32"):
            inputs = [(dtype, (8, 8))]
            for flops, size in ((10**12, 0), (0, 10**9)):
                limit, _ = limit_ns(op, inputs, flops, size)
                assert limit <= built_ns(op, inputs, flops, size) < 40 * max(limit, 1), (op, dtype)


def test_the_whole_models_have_the_flops_that_their_goals_were_reckoned_with() -> None:
    """Training a sample costs 3 times its forward products: 240.6 Gflop of BERT-Large at 128 words, 24.3 of
    ResNet-50 (less the first layer's gradient of its images)."""
    products = ("matmul", "linear", "matmul_sums", "conv2d", "conv2d_sums", "conv2d_grad_input")
    for case, expected in ((roofline.CASES[0], 240.6e9), (roofline.CASES[2], 24.3e9)):
        step, batch = roofline.step_of(case)
        kernels = step.compile_for(roofline.one_gpu(), **batch).kernels()
        flops = sum(
            one["flops"] * one["firings"]
            for one in kernels
            if one["op"] in (*products, "conv2d_grad_weight", "attention", "attention_grad")
        )
        assert flops / case.batch == pytest.approx(expected, rel=0.02)
        assert GOALS[case.model]["goal"] > 0


def test_the_longer_of_both_limits_binds() -> None:
    narrow = [("bf16", (8, 8))]
    assert limit_ns("matmul", narrow, int(PRODUCTS["bf16"]), 10) == (1e9, "flops")
    assert limit_ns("add", narrow, 10, int(COPY)) == (1e9, "bytes")
    wide = [("f32", (8, 8))]
    assert limit_ns("matmul", wide, 10**12, 0)[0] > 10 * limit_ns("matmul", narrow, 10**12, 0)[0]


def test_a_sheet_sums_what_its_rows_say() -> None:
    kernel = {
        "name": "a",
        "op": "add",
        "moves": False,
        "inputs": [("f32", (1000,)), ("f32", (1000,))],
        "outputs": [("f32", (1000,))],
        "firings": 3,
        "flops": 1000,
        "bytes": 12000,
    }
    move = {**kernel, "op": "assemble", "moves": True, "flops": 0, "bytes": 6000, "firings": 1}
    rows, sums = roofline.sheet([kernel, kernel, move], 4000)
    assert [(row["op"], row["count"], row["MB"]) for row in rows] == [
        ("add", 6, 0.012),
        ("assemble", 1, 0.012),  # read and written
    ]
    assert sums["kernels"] == 7 and sums["bytes"] == 7 * 12000
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-3)
    assert rows[0]["operands"] == "f32[1000] f32[1000] -> f32[1000]"
    assert sums["limit"] == pytest.approx(7 * 12000 / COPY * 1e9)
    assert sums["built"] > sums["limit"] + 7 * 4000


def test_a_small_plan_makes_a_sheet_whose_limit_is_below_what_is_built() -> None:
    config = models.BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    model = models.BertForPreTraining(dataclasses.replace(config, intermediate_size=64))
    tokens = flow.spec((4, 16), flow.int64)

    def loss(tokens: flow.Tensor, labels: flow.Tensor) -> flow.Tensor:
        return F.cross_entropy(model(tokens)[0].flatten(0, 1), labels.flatten())

    rows, sums = roofline.sheet(kernels_of(model, loss, tokens, tokens), 0)
    assert {row["op"] for row in rows} >= {"matmul", "attention", "layer_norm", "cross_entropy"}
    for row in rows:
        assert row["built_us"] >= row["limit_us"], row
    ops = roofline.by_op(rows)
    assert sum(one["count"] for one in ops) == sums["kernels"]
