"""nn.init: PyTorch's distributions by their moments, its exact patterns, lazily."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

torch = pytest.importorskip("torch")

SHAPE = (64, 48, 3, 3)
RANDOM: dict[str, Callable[[Any, Any], Any]] = {
    "uniform": lambda init, t: init.uniform_(t),
    "uniform_bounds": lambda init, t: init.uniform_(t, -2.0, 5.0),
    "normal": lambda init, t: init.normal_(t),
    "normal_moments": lambda init, t: init.normal_(t, 2.0, 0.1),
    "trunc_normal": lambda init, t: init.trunc_normal_(t),
    "trunc_normal_small": lambda init, t: init.trunc_normal_(t, std=0.02),
    "trunc_normal_tight": lambda init, t: init.trunc_normal_(t, 0.0, 1.0, -0.1, 0.2),
    "trunc_normal_tail": lambda init, t: init.trunc_normal_(t, 0.0, 1.0, 1.5, 4.0),
    "xavier_uniform": lambda init, t: init.xavier_uniform_(t, gain=2.0),
    "xavier_normal": lambda init, t: init.xavier_normal_(t),
    "kaiming_uniform": lambda init, t: init.kaiming_uniform_(t, a=0.3),
    "kaiming_uniform_out": lambda init, t: init.kaiming_uniform_(t, mode="fan_out"),
    "kaiming_normal": lambda init, t: init.kaiming_normal_(t, nonlinearity="relu"),
    "kaiming_normal_out": lambda init, t: init.kaiming_normal_(t, 0, "fan_out", "tanh"),
    "orthogonal": lambda init, t: init.orthogonal_(t, gain=1.5),
}


@pytest.mark.parametrize("name", RANDOM)
def test_moments_as_in_torch(name: str) -> None:
    flow.manual_seed(0)
    torch.manual_seed(0)
    parameter = nn.Parameter(shape=SHAPE)
    assert RANDOM[name](nn.init, parameter) is parameter
    ours = parameter.numpy().astype(np.float64)
    theirs = RANDOM[name](torch.nn.init, torch.empty(SHAPE)).double().numpy()
    n = ours.size
    # Of a mean 5 standard errors; the relative error of a spread is below 1 / sqrt(n) for these distributions.
    assert abs(ours.mean() - theirs.mean()) < 5 * theirs.std() * np.sqrt(2 / n)
    np.testing.assert_allclose(ours.std(), theirs.std(), rtol=5 * np.sqrt(2 / n))
    centered = [(x - x.mean()) / x.std() for x in (ours, theirs)]
    # Skewness and kurtosis tell the families apart.
    assert abs((centered[0] ** 3).mean() - (centered[1] ** 3).mean()) < 5 * np.sqrt(12 / n)
    assert abs((centered[0] ** 4).mean() - (centered[1] ** 4).mean()) < 5 * np.sqrt(192 / n)
    if "trunc" in name or "uniform" in name:
        np.testing.assert_allclose(
            [ours.min(), ours.max()], [theirs.min(), theirs.max()], atol=0.05
        )


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        (lambda init, t: init.eye_(t), (3, 5)),
        (lambda init, t: init.dirac_(t), (4, 3, 3)),
        (lambda init, t: init.dirac_(t, 2), (6, 4, 3, 5)),
        (lambda init, t: init.dirac_(t), (2, 3, 2, 3, 4)),
        (lambda init, t: init.constant_(t, 2.5), (3,)),
        (lambda init, t: init.ones_(t), (3, 2)),
        (lambda init, t: init.zeros_(t), (3, 2)),
    ],
)
def test_exact_patterns(call: Any, shape: tuple[int, ...]) -> None:
    expected = call(torch.nn.init, torch.empty(shape)).numpy()
    assert (call(nn.init, nn.Parameter(shape=shape)).numpy() == expected).all()
    assert (call(nn.init, flow.empty(*shape)).numpy() == expected).all()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 2, 4)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = nn.init.orthogonal_(nn.Parameter(shape=shape), 2.0).numpy().reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_sparse() -> None:
    flow.manual_seed(2)
    matrix = nn.init.sparse_(nn.Parameter(shape=(300, 50)), 0.33, std=0.1).numpy()
    assert ((matrix == 0).sum(0) == 99).all()
    assert len({tuple(np.flatnonzero(column == 0)) for column in matrix.T}) == 50
    np.testing.assert_allclose(matrix[matrix != 0].std(), 0.1, rtol=0.05)


GAINS = ["linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]


@pytest.mark.parametrize("name", GAINS)
def test_gains(name: str) -> None:
    assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)


def test_gain_of_a_slope() -> None:
    assert nn.init.calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain(
        "leaky_relu", 0.2
    )


def test_generators_and_seeds() -> None:
    def draw(generator: flow.Generator | None) -> np.ndarray:
        return nn.init.trunc_normal_(nn.Parameter(shape=(5, 4)), generator=generator).numpy()

    flow.manual_seed(1)
    first = draw(None)
    assert (draw(flow.Generator(7)) == draw(flow.Generator(7))).all()
    flow.manual_seed(1)
    assert (draw(None) == first).all() and (draw(None) != first).any()


def test_nothing_is_made_before_it_is_read() -> None:
    huge = nn.Parameter(shape=(1_000_000, 1_000_000))  # 4 TB
    for init in (nn.init.orthogonal_, nn.init.trunc_normal_, nn.init.eye_, nn.init.xavier_normal_):
        init(huge)
    nn.init.sparse_(huge, 0.5)


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: nn.init.eye_(nn.Parameter(shape=(2,))), "2 dims"),
    (lambda: nn.init.sparse_(nn.Parameter(shape=(2,)), 0.1), "2 dims"),
    (lambda: nn.init.dirac_(nn.Parameter(shape=(2, 2))), "3, 4 or 5"),
    (lambda: nn.init.orthogonal_(nn.Parameter(shape=(2,))), "2 dims"),
    (lambda: nn.init.xavier_uniform_(nn.Parameter(shape=(2,))), "fan"),
    (lambda: nn.init.kaiming_normal_(nn.Parameter(shape=(2, 2)), mode="fan"), "fan_in"),
    (lambda: nn.init.calculate_gain("gelu"), "no gain"),
    (lambda: nn.init.trunc_normal_(nn.Parameter(shape=(2,)), a=1, b=0), "no numbers"),
]


@pytest.mark.parametrize(("call", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_refused(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(flow.Error, match=text):
        call()
