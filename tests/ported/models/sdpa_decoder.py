"""A decoder with F.scaled_dot_product_attention and a learned relative position bias."""

import torch
from torch import nn
import torch.nn.functional as F


class RelativeBias(nn.Module):
    def __init__(self, num_buckets, heads):
        super().__init__()
        self.num_buckets = num_buckets
        self.relative_attention_bias = nn.Embedding(num_buckets, heads)

    def forward(self, i, j):
        q_pos = torch.arange(i, dtype=torch.long)
        k_pos = torch.arange(j, dtype=torch.long)
        rel_pos = k_pos[None, :] - q_pos[:, None]
        n = -rel_pos
        n = torch.max(n, torch.zeros_like(n))
        n = torch.min(n, torch.full_like(n, self.num_buckets - 1))
        values = self.relative_attention_bias(n)
        return values.permute(2, 0, 1).unsqueeze(0)


class Attention(nn.Module):
    def __init__(self, dim, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x, bias=None):
        b, n, d = x.shape
        q, (k, v) = self.to_q(x), self.to_kv(x).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        if bias is None:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            mask = torch.ones(n, n, dtype=torch.bool).tril()
            bias = bias.masked_fill(~mask, float("-inf"))
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.to_out(out.transpose(1, 2).flatten(2))


class Decoder(nn.Module):
    def __init__(self, num_tokens=18, dim=16, heads=4):
        super().__init__()
        self.token_emb = nn.Embedding(num_tokens, dim)
        self.rel = RelativeBias(6, heads)
        self.layers = nn.ModuleList()
        for _ in range(2):
            self.layers.append(nn.ModuleDict({
                "norm": nn.LayerNorm(dim),
                "attn": Attention(dim, heads, causal=True),
                "ff": nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)),
            }))

    def forward(self, x):
        x = self.token_emb(x)
        bias = self.rel(x.shape[-2], x.shape[-2])
        for i, layer in enumerate(self.layers):
            x = x + layer["attn"](layer["norm"](x), bias if i == 0 else None)
            x = x + layer["ff"](x)
        return x @ self.token_emb.weight.t()


def make_model():
    return Decoder()


def make_batch(random, n):
    tokens = random.integers(0, 18, (n, 9))
    return {"x": tokens[:, :-1], "y": tokens[:, 1:]}


def compute_loss(model, x, y):
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten(), label_smoothing=0.1)
