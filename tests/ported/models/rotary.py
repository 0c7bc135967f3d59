"""Attention by einsum with rotary positions, as in papers' own code."""

import torch
from torch import einsum, nn
import torch.nn.functional as F


def exists(val):
    return val is not None


class RotaryEmbedding(nn.Module):
    def __init__(self, dim):
        super().__init__()
        inv_freq = 1.0 / (10000 ** (torch.arange(0, dim, 2).float() / dim))
        self.register_buffer("inv_freq", inv_freq)

    def forward(self, max_seq_len, *, device):
        seq = torch.arange(max_seq_len, device=device).type_as(self.inv_freq)
        freqs = einsum("i , j -> i j", seq, self.inv_freq)
        return torch.cat((freqs, freqs), dim=-1)


def rotate_half(x):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


def apply_rotary_pos_emb(pos, t):
    return (t * pos.cos()) + (rotate_half(t) * pos.sin())


class SwiGLU(nn.Module):
    def forward(self, x):
        x, gate = x.chunk(2, dim=-1)
        return F.silu(gate) * x


class ParallelTransformerBlock(nn.Module):
    def __init__(self, dim, dim_head=8, heads=2, ff_mult=2):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        attn_inner_dim = dim_head * heads
        ff_inner_dim = dim * ff_mult
        self.fused_dims = (attn_inner_dim, dim_head, dim_head, (ff_inner_dim * 2))
        self.heads = heads
        self.scale = dim_head**-0.5
        self.rotary_emb = RotaryEmbedding(dim_head)
        self.fused_attn_ff_proj = nn.Linear(dim, sum(self.fused_dims), bias=False)
        self.attn_out = nn.Linear(attn_inner_dim, dim, bias=False)
        self.ff_out = nn.Sequential(SwiGLU(), nn.Linear(ff_inner_dim, dim, bias=False))
        self.mask = None
        self.pos_emb = None

    def get_mask(self, n, device):
        return torch.ones((n, n), device=device, dtype=torch.bool).triu(1)

    def forward(self, x):
        n, device, h = x.shape[1], x.device, self.heads
        x = self.norm(x)
        q, k, v, ff = self.fused_attn_ff_proj(x).split(self.fused_dims, dim=-1)
        q = q.view(q.shape[0], n, h, -1).transpose(1, 2)
        positions = self.rotary_emb(n, device=device)
        q, k = map(lambda t: apply_rotary_pos_emb(positions, t), (q, k))
        q = q * self.scale
        sim = einsum("b h i d, b j d -> b h i j", q, k)
        causal_mask = self.get_mask(n, device)
        sim = sim.masked_fill(causal_mask, -torch.finfo(sim.dtype).max)
        sim = sim - sim.amax(dim=-1, keepdim=True).detach()
        attn = sim.softmax(dim=-1)
        out = einsum("b h i j, b j d -> b h i d", attn, v)
        out = out.transpose(1, 2).reshape(out.shape[0], n, -1)
        return self.attn_out(out) + self.ff_out(ff)


class Residual(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x, **kwargs):
        y = self.fn(x, **kwargs)
        if not any([t.requires_grad for t in (x, y)]):
            return x.add_(y)
        y += x
        return y


def make_model():
    model = nn.Sequential(
        nn.Embedding(17, 16),
        *[Residual(ParallelTransformerBlock(16)) for _ in range(2)],
        nn.LayerNorm(16),
        nn.Linear(16, 17, bias=False),
    )
    nn.init.normal_(model[0].weight, std=0.02)
    return model


def make_batch(random, n):
    tokens = random.integers(0, 17, (n, 8))
    return {"x": tokens[:, :-1], "labels": tokens[:, 1:]}


def compute_loss(model, x, labels):
    logits = model(x)
    return F.cross_entropy(logits.transpose(1, 2), labels)
