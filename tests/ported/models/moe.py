"""Mixture of experts with dense routing: top-k gates by scatter_, stacked experts by einsum, a balancing loss."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Router(nn.Module):
    def __init__(self, dim, num_experts, top_k):
        super().__init__()
        self.top_k = top_k
        self.gate = nn.Linear(dim, num_experts, bias=False)

    def forward(self, x):
        logits = self.gate(x)
        top_logits, indices = logits.topk(self.top_k, dim=-1)
        zeros = torch.full_like(logits, float("-inf"))
        sparse_logits = zeros.scatter(-1, indices, top_logits)
        return F.softmax(sparse_logits, dim=-1), indices, F.softmax(logits, dim=-1)


class Experts(nn.Module):
    def __init__(self, num_experts, dim, hidden):
        super().__init__()
        self.w1 = nn.Parameter(torch.empty(num_experts, dim, hidden))
        self.b1 = nn.Parameter(torch.zeros(num_experts, 1, hidden))
        self.w2 = nn.Parameter(torch.empty(num_experts, hidden, dim))
        nn.init.normal_(self.w1, std=0.2)
        nn.init.normal_(self.w2, std=0.2)

    def forward(self, x):
        h = torch.einsum("nd,edh->enh", x, self.w1) + self.b1
        return torch.einsum("enh,ehd->end", F.gelu(h), self.w2)


class SparseMoE(nn.Module):
    def __init__(self, dim=8, num_experts=4, top_k=2):
        super().__init__()
        self.router = Router(dim, num_experts, top_k)
        self.experts = Experts(num_experts, dim, 2 * dim)
        self.num_experts = num_experts
        self.aux_loss = None

    def forward(self, x):
        b, t, d = x.shape
        flat = x.view(-1, d)
        weights, indices, probs = self.router(flat)
        mask = torch.zeros_like(probs).scatter_(1, indices, 1.0)
        density = mask.mean(dim=0)
        self.aux_loss = self.num_experts * torch.sum(density * probs.mean(dim=0))
        out = self.experts(flat)
        return torch.einsum("ne,end->nd", weights, out).view(b, t, d)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(13, 8)
        self.layers = nn.ModuleList([SparseMoE() for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(8) for _ in range(2)])
        self.head = nn.Linear(8, 13, bias=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for norm, layer in zip(self.norms, self.layers):
            x = x + layer(norm(x))
        return self.head(x), sum(layer.aux_loss for layer in self.layers)


def make_model():
    return Model()


def make_batch(random, n):
    tokens = random.integers(0, 13, (n, 7))
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:]}


def compute_loss(model, tokens, targets):
    logits, aux = model(tokens)
    return F.cross_entropy(logits.reshape(-1, 13), targets.reshape(-1)) + 0.01 * aux
