"""Training curves beside PyTorch's: the setting, what is run on either side, and the rule of comparison.

A setting is trained over several seeds. A seed is the initial weights (the same numbers on both sides), the order of
the data (the same batches) and, where there is dropout, each side's own masks. What PyTorch's seeds differ by among
themselves is the measure: `violations` says where our curves leave it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F

IGNORED = -100  # labels of positions that do not count
MASK_TOKEN = 3
FIRST_WORD = 4  # smaller tokens are special


@dataclass(frozen=True)
class Setting:
    """How a model is trained; the schedule rises linearly over `warmup` steps and falls linearly to 0."""

    masked: bool  # BERT's masked words, else the next token
    vocabulary: int = 256
    length: int = 64
    samples: int = 16
    steps: int = 300
    window: int = 20  # steps that one figure of a curve is the mean of
    held_out: int = 8  # batches that are not trained on
    lr: float = 1e-3
    warmup: int = 30
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1  # of matrices
    clip_norm: float = 1.0

    def rate(self, step: int) -> float:
        """The share of `lr` at a step, counted from 0."""
        rise = (step + 1) / max(1, self.warmup)
        fall = (self.steps - step) / (self.steps - self.warmup + 1)
        return min(1.0, rise, fall)


@dataclass(frozen=True)
class Curve:
    """The loss of each step, and that of the held-out batches after the last, without dropout."""

    losses: list[float]
    held_out: float

    def figures(self, window: int) -> np.ndarray:
        """Means over windows, then the held-out loss."""
        means = np.asarray(self.losses, np.float64).reshape(-1, window).mean(1)
        return np.append(means, self.held_out)


Batch = dict[str, np.ndarray]


@dataclass
class Text:
    """Sentences of a random language, where each word is followed by a few others more often than by the rest.

    The language belongs to the vocabulary alone; the seed draws sentences.
    """

    setting: Setting
    seed: int
    _cumulative: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        words = self.setting.vocabulary - FIRST_WORD
        language = np.random.default_rng(words)
        weights = language.permuted(np.tile(1 / np.arange(1, words + 1) ** 1.5, (words, 1)), axis=1)
        self._cumulative = np.cumsum(weights / weights.sum(1, keepdims=True), axis=1)
        self._random = np.random.default_rng([self.seed, words])

    def batch(self) -> Batch:
        """The next batch: `tokens` and `labels`, i64[samples, length]."""
        setting, random = self.setting, self._random
        words = len(self._cumulative)
        extent = setting.length if setting.masked else setting.length + 1
        drawn = random.random((extent, setting.samples))
        rows = [random.integers(0, words, setting.samples)]
        for one in drawn[1:]:
            found = (self._cumulative[rows[-1]] < one[:, None]).sum(1)
            rows.append(np.minimum(found, words - 1))
        text = np.stack(rows, 1) + FIRST_WORD
        if not setting.masked:
            return {"tokens": text[:, :-1].copy(), "labels": text[:, 1:].copy()}
        # Of 15 % of the words most are hidden, some replaced, some left (Devlin et al. 2018).
        chosen = random.random(text.shape) < 0.15
        chosen[:, 0] |= ~chosen.any(1)
        fate = random.random(text.shape)
        tokens = np.where(chosen & (fate < 0.8), MASK_TOKEN, text)
        others = random.integers(FIRST_WORD, setting.vocabulary, text.shape)
        tokens = np.where(chosen & (fate >= 0.9), others, tokens)
        return {"tokens": tokens, "labels": np.where(chosen, text, IGNORED)}


def held_out(setting: Setting) -> list[Batch]:
    """The batches that judge the end of a run, the same for all seeds."""
    text = Text(setting, seed=1_000_000)
    return [text.batch() for _ in range(setting.held_out)]


def decays(shape: Sequence[int]) -> bool:
    """Weight decay is for matrices: not for biases nor for the weights of norms."""
    return len(shape) > 1


def train(
    setting: Setting, model: flow.nn.Module, seed: int, precision: str, log: Callable[[str], None]
) -> Curve:
    """Our run. `model(tokens)` gives logits [n, l, vocabulary]."""
    groups = [
        {"params": [p for p in model.parameters() if decays(p.shape)]},
        {"params": [p for p in model.parameters() if not decays(p.shape)], "weight_decay": 0.0},
    ]
    optimizer = flow.optim.AdamW(
        groups, lr=setting.lr, betas=setting.betas, weight_decay=setting.weight_decay
    )
    scheduler = flow.optim.lr_scheduler.LambdaLR(optimizer, setting.rate)

    def loss(tokens: Any, labels: Any) -> Any:
        return F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten(), ignore_index=IGNORED)

    mesh = flow.mesh("cpu", dp=1)
    step = flow.train_step(
        loss,
        model=model,
        optimizer=optimizer,
        mesh=mesh,
        precision=precision,
        clip_norm=setting.clip_norm,
        seed=seed,
    )
    judge = flow.eval_step(loss, model=model, mesh=mesh, precision=precision)
    text, losses = Text(setting, seed), []
    for index in range(setting.steps):
        losses.append(float(step(**text.batch())["loss"]))
        scheduler.step()
        if (index + 1) % 50 == 0:
            log(f"step {index + 1}: {losses[-1]:.3f}")
    end = [float(judge(**batch)) for batch in held_out(setting)]
    return Curve(losses, float(np.mean(end)))


def train_torch(
    setting: Setting,
    parameters: Sequence[Any],
    logits: Callable[[Any], Any],
    seed: int,
    precision: str,
    *,
    training: Callable[[bool], Any],
    log: Callable[[str], None],
) -> Curve:
    """PyTorch's run; `training(False)` turns dropout off. "bf16" is its autocast."""
    import torch

    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if decays(p.shape)]},
            {"params": [p for p in parameters if not decays(p.shape)], "weight_decay": 0.0},
        ],
        lr=setting.lr,
        betas=setting.betas,
        weight_decay=setting.weight_decay,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, setting.rate)

    def loss(batch: Batch) -> Any:
        tokens, labels = (torch.tensor(batch[name]) for name in ("tokens", "labels"))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            scores = logits(tokens)
        return torch.nn.functional.cross_entropy(
            scores.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED
        )

    torch.manual_seed(seed + 1)
    text, losses = Text(setting, seed), []
    training(True)
    for index in range(setting.steps):
        optimizer.zero_grad()
        value = loss(text.batch())
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, setting.clip_norm)
        optimizer.step()
        scheduler.step()
        losses.append(float(value.detach()))
        if (index + 1) % 50 == 0:
            log(f"step {index + 1}: {losses[-1]:.3f}")
    training(False)
    with torch.no_grad():
        end = [float(loss(batch)) for batch in held_out(setting)]
    return Curve(losses, float(np.mean(end)))


@dataclass(frozen=True)
class Comparison:
    """Both sides' figures [seeds, windows + 1], and what follows from them."""

    ours: np.ndarray
    theirs: np.ndarray

    @property
    def spread(self) -> float:
        """The mean width of the band that PyTorch's seeds span."""
        return float((self.theirs.max(0) - self.theirs.min(0)).mean())

    @property
    def farthest(self) -> float:
        """How far beyond the band our curves go, in widths; at most 0 within it."""
        beyond = np.maximum(self.ours - self.theirs.max(0), self.theirs.min(0) - self.ours)
        return float(beyond.max()) / self.spread

    @property
    def shift(self) -> float:
        """The largest distance of the means over the seeds, in widths."""
        return float(np.abs(self.ours.mean(0) - self.theirs.mean(0)).max()) / self.spread

    @property
    def learned(self) -> float:
        """What PyTorch's curves fell by, in widths: a band as wide as this would judge nothing."""
        mean = self.theirs.mean(0)
        return float(mean[0] - mean[-1]) / self.spread

    def violations(self) -> list[str]:
        """Where the rule of docs/testing.md ("Training curves") is broken."""
        found = []
        if not np.isfinite(self.ours).all():
            return ["a loss is not finite"]
        if self.learned < 4:
            found.append(f"PyTorch learned only {self.learned:.1f} widths of its own spread")
        if self.farthest > 0.5:
            found.append(f"a curve lies {self.farthest:.2f} widths beyond PyTorch's band")
        if self.shift > 0.5:
            found.append(f"the mean curve lies {self.shift:.2f} widths beside PyTorch's")
        return found


def compare(ours: Sequence[Curve], theirs: Sequence[Curve], window: int) -> Comparison:
    """The figures of the same seeds."""
    return Comparison(*(np.stack([c.figures(window) for c in side]) for side in (ours, theirs)))
