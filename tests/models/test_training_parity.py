"""A small GPT-2 over 60 steps within the spread of PyTorch's own seeds; `./dev long parity` is the same at full size."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow.models import GPT2, GPT2Config

from tests.models.judged import torch_state
from tests.models.training_parity import Comparison, Curve, Setting, Text, train, train_torch

torch = pytest.importorskip("torch")

SEEDS = (0, 1, 2)
SETTING = Setting(
    masked=False,
    vocabulary=40,
    length=24,
    samples=8,
    steps=60,
    window=10,
    held_out=4,
    lr=3e-3,
    warmup=10,
)


def _silent(line: str) -> None:
    del line


def _model(seed: int) -> GPT2:
    flow.manual_seed(seed)
    return GPT2(
        GPT2Config(
            vocab_size=SETTING.vocabulary,
            n_positions=SETTING.length,
            n_embd=32,
            n_layer=2,
            n_head=4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )


@functools.cache
def theirs(precision: str) -> list[Curve]:
    from tests.models import torch_gpt2

    def run(seed: int) -> Curve:
        values: dict[int, Any] = {}
        state = {}
        for name, tensor in torch_state(_model(seed)).items():  # tied names share a tensor
            if id(tensor) not in values:
                values[id(tensor)] = tensor.detach().float().requires_grad_(tensor.requires_grad)
            state[name] = values[id(tensor)]
        return train_torch(
            SETTING,
            [value for value in values.values() if value.requires_grad],
            lambda tokens: torch_gpt2.logits(state, tokens, 2, 4),
            seed,
            precision,
            training=lambda on: None,
            log=_silent,
        )

    return [run(seed) for seed in SEEDS]


def _figures(curves: list[Curve]) -> np.ndarray:
    return np.stack([curve.figures(SETTING.window) for curve in curves])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_curves_lie_in_the_band_of_pytorchs_seeds(precision: str) -> None:
    ours = [train(SETTING, _model(seed), seed, precision, _silent) for seed in SEEDS]
    found = Comparison(_figures(ours), _figures(theirs(precision.replace("fp32", "f32"))))
    assert found.violations() == []
    if precision == "fp32":  # without dropout only rounding is left between a seed's two runs
        first = np.array([[curve.losses[0] for curve in side] for side in (ours, theirs("f32"))])
        assert np.abs(first[0] - first[1]).max() < 1e-5


def test_the_rule_sees_a_curve_beside_the_band() -> None:
    fall = np.linspace(5, 1, 7)
    right = fall + np.array([[-0.1], [0.0], [0.1]])
    assert Comparison(right[::-1], right).violations() == []
    assert Comparison(right + 0.09, right).violations() == []
    (shifted,) = Comparison(right + np.array([[0.0], [-0.1], [0.11]]), right).violations()
    assert "beyond PyTorch's band" in shifted
    late = right.copy()
    late[:, 3] += 0.11
    assert any("mean curve" in one for one in Comparison(late, right).violations())
    wide = fall + np.array([[-1.0], [0.0], [1.0]])
    assert any("widths of its own spread" in one for one in Comparison(wide, wide).violations())
    assert Comparison(np.full_like(right, np.nan), right).violations() == ["a loss is not finite"]


def test_texts_have_a_language_and_seeds_draw_from_it() -> None:
    masked = Setting(masked=True, vocabulary=40)
    one, other = Text(masked, 0).batch(), Text(masked, 1).batch()
    again = Text(masked, 0).batch()
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["tokens"], other["tokens"])
    chosen = one["labels"] >= 0
    assert 0.1 < chosen.mean() < 0.2
    assert (one["tokens"][chosen] == 3).mean() > 0.7 and (one["tokens"][~chosen] != 3).all()
    text = Text(SETTING, 0)
    pairs: dict[int, list[int]] = {}
    for _ in range(20):
        batch = text.batch()
        assert np.array_equal(batch["tokens"][:, 1:], batch["labels"][:, :-1])
        for a, b in zip(batch["tokens"].ravel(), batch["labels"].ravel(), strict=True):
            pairs.setdefault(int(a), []).append(int(b))
    # The likeliest follower has a share far above that of an even draw, 1 / 36.
    shares = [max(map(after.count, set(after))) / len(after) for after in pairs.values()]
    assert np.mean(shares) > 0.2
