"""Capsules: routing by agreement over detached votes, squash, a margin loss with advanced indexing."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def squash(x, dim=-1):
    squared_norm = (x ** 2).sum(dim=dim, keepdim=True)
    scale = squared_norm / (1 + squared_norm)
    return scale * x / (squared_norm.sqrt() + 1e-8)


class PrimaryCaps(nn.Module):
    def __init__(self, num_conv_units, in_channels, out_channels, kernel_size, stride):
        super(PrimaryCaps, self).__init__()
        self.conv = nn.Conv2d(in_channels, out_channels * num_conv_units, kernel_size=kernel_size, stride=stride)
        self.out_channels = out_channels

    def forward(self, x):
        batch_size = x.shape[0]
        out = self.conv(x)
        return squash(out.contiguous().view(batch_size, -1, self.out_channels), dim=-1)


class DigitCaps(nn.Module):
    def __init__(self, in_dim, in_caps, num_caps, dim_caps, num_routing):
        super(DigitCaps, self).__init__()
        self.in_caps = in_caps
        self.num_caps = num_caps
        self.num_routing = num_routing
        self.W = nn.Parameter(0.1 * torch.randn(1, num_caps, in_caps, dim_caps, in_dim))

    def forward(self, x):
        batch_size = x.size(0)
        x = x.unsqueeze(1).unsqueeze(4)
        u_hat = torch.matmul(self.W, x)
        u_hat = u_hat.squeeze(-1)
        temp_u_hat = u_hat.detach()
        b = torch.zeros(batch_size, self.num_caps, self.in_caps, 1).to(x.device)
        for route_iter in range(self.num_routing - 1):
            c = b.softmax(dim=1)
            s = (c * temp_u_hat).sum(dim=2)
            v = squash(s)
            uv = torch.matmul(temp_u_hat, v.unsqueeze(-1))
            b += uv
        c = b.softmax(dim=1)
        s = (c * u_hat).sum(dim=2)
        return squash(s)


class CapsNet(nn.Module):
    def __init__(self):
        super(CapsNet, self).__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.relu = nn.ReLU(inplace=True)
        self.primary_caps = PrimaryCaps(num_conv_units=2, in_channels=6, out_channels=4, kernel_size=3, stride=2)
        self.digit_caps = DigitCaps(in_dim=4, in_caps=8, num_caps=5, dim_caps=6, num_routing=3)

    def forward(self, x):
        out = self.relu(self.conv(x))
        out = self.primary_caps(out)
        out = self.digit_caps(out)
        return torch.norm(out, dim=-1)


def make_model():
    return CapsNet()


def make_batch(random, n):
    return {"x": random.standard_normal((n, 1, 8, 8)), "labels": random.integers(0, 5, n)}


def compute_loss(model, x, labels):
    logits = model(x)
    onehot = torch.zeros_like(logits)
    onehot[torch.arange(x.size(0)), labels] = 1.0
    left = (0.9 - logits).clamp(min=0.0) ** 2
    right = F.relu(logits - 0.1) ** 2
    margin = (onehot * left + 0.5 * (1 - onehot) * right).sum()
    own = logits[torch.arange(x.size(0)), labels]
    return margin / x.size(0) - 0.1 * own.mean()
