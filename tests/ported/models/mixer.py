"""MLP-Mixer, with functions that return modules."""

from functools import partial

import torch
from torch import nn
import torch.nn.functional as F


class PreNormResidual(nn.Module):
    def __init__(self, dim, fn):
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        return self.fn(self.norm(x)) + x


def FeedForward(dim, expansion_factor=4, dropout=0.0, dense=nn.Linear):
    inner_dim = int(dim * expansion_factor)
    return nn.Sequential(
        dense(dim, inner_dim), nn.GELU(), nn.Dropout(dropout), dense(inner_dim, dim), nn.Dropout(dropout)
    )


class Patches(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        x = x.unfold(2, self.p, self.p).unfold(3, self.p, self.p)
        b, c, h, w, p1, p2 = x.shape
        return x.permute(0, 2, 3, 4, 5, 1).reshape(b, h * w, p1 * p2 * c)


class Mean(nn.Module):
    def forward(self, x):
        return torch.mean(x, dim=1)


def MLPMixer(*, image_size, channels, patch_size, dim, depth, num_classes):
    num_patches = (image_size // patch_size) ** 2
    chan_first, chan_last = partial(nn.Conv1d, kernel_size=1), nn.Linear
    return nn.Sequential(
        Patches(patch_size),
        nn.Linear((patch_size ** 2) * channels, dim),
        *[nn.Sequential(
            PreNormResidual(dim, FeedForward(num_patches, 2, dense=chan_first)),
            PreNormResidual(dim, FeedForward(dim, 0.5, dense=chan_last)),
        ) for _ in range(depth)],
        nn.LayerNorm(dim),
        Mean(),
        nn.Linear(dim, num_classes),
    )


def make_model():
    return MLPMixer(image_size=8, channels=3, patch_size=4, dim=16, depth=2, num_classes=6)


def make_batch(random, n):
    return {"image": random.standard_normal((n, 3, 8, 8)), "label": random.integers(0, 6, n)}


def compute_loss(model, image, label):
    return F.cross_entropy(model(image), label)
