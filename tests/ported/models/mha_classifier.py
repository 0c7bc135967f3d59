"""Sentence classifier: nn.MultiheadAttention with a padding mask, masked means, class-level no_grad for an average."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class EncoderBlock(nn.Module):
    def __init__(self, embed_dim, num_heads, expand):
        super().__init__()
        self.attention = nn.MultiheadAttention(embed_dim, num_heads, batch_first=True)
        self.norm1 = nn.LayerNorm(embed_dim)
        self.fc1 = nn.Linear(embed_dim, expand)
        self.fc2 = nn.Linear(expand, embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim)

    def forward(self, x, key_padding_mask):
        attended, _ = self.attention(x, x, x, key_padding_mask=key_padding_mask, need_weights=False)
        x = self.norm1(x + attended)
        return self.norm2(x + self.fc2(F.relu(self.fc1(x), inplace=True)))


@torch.no_grad()
class RunningCenter(nn.Module):
    """Made under no_grad as a whole."""

    def __init__(self, dim, momentum=0.9):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("center", torch.zeros(1, dim))

    @torch.no_grad()
    def update(self, x):
        self.center = self.center * self.momentum + x.mean(dim=0, keepdim=True) * (1 - self.momentum)


class Classifier(nn.Module):
    def __init__(self, vocab=20, dim=16, num_classes=4):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim, padding_idx=0)
        self.pos = nn.Parameter(torch.zeros(1, 8, dim))
        self.blocks = nn.ModuleList(EncoderBlock(dim, 4, 32) for _ in range(2))
        self.center = RunningCenter(dim)
        self.head = nn.Linear(dim, num_classes)
        nn.init.xavier_uniform_(self.head.weight)

    def forward(self, tokens):
        mask = tokens == 0
        x = self.embed(tokens) + self.pos
        for block in self.blocks:
            x = block(x, mask)
        kept = (~mask).unsqueeze(-1).float()
        pooled = (x * kept).sum(1) / kept.sum(1).clamp(min=1e-6)
        centered = pooled - self.center.center
        if self.training:
            self.center.update(pooled)
        return self.head(centered)


def make_model():
    return Classifier()


def make_batch(random, n):
    tokens = random.integers(1, 20, (n, 8))
    tokens[random.integers(2, 9, n)[:, None] <= range(8)] = 0
    return {"tokens": tokens, "label": random.integers(0, 4, n)}


def compute_loss(model, tokens, label):
    return F.cross_entropy(model(tokens), label)
