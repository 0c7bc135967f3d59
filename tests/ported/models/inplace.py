"""Writing in place wherever people do: slices, views, masks, halves of channels, shifts, accumulators."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class TemporalShift(nn.Module):
    def __init__(self, n_segment=4, n_div=4):
        super().__init__()
        self.n_segment = n_segment
        self.fold_div = n_div

    def forward(self, x):
        nt, c, h, w = x.size()
        n_batch = nt // self.n_segment
        x = x.view(n_batch, self.n_segment, c, h, w)
        fold = c // self.fold_div
        out = torch.zeros_like(x)
        out[:, :-1, :fold] = x[:, 1:, :fold]
        out[:, 1:, fold: 2 * fold] = x[:, :-1, fold: 2 * fold]
        out[:, :, 2 * fold:] = x[:, :, 2 * fold:]
        return out.view(nt, c, h, w)


class Coupling(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(c // 2, 8, 3, padding=1), nn.ReLU(True), nn.Conv2d(8, c, 1))

    def forward(self, x):
        y = x.clone()
        a, b = y[:, ::2], y[:, 1::2]
        log_s, t = self.net(a.contiguous()).chunk(2, 1)
        b.mul_(torch.sigmoid(log_s)).add_(t)
        return y


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.shift = TemporalShift()
        self.coupling = Coupling(8)
        self.attn = nn.Linear(8, 8)
        self.fc = nn.Linear(8, 5)
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, video):
        b, t, c, h, w = video.shape
        x = self.stem(video.flatten(0, 1))
        residual = x
        x = F.leaky_relu(x, 0.1, True)
        x = self.shift(x)
        x += residual
        x = self.coupling(x)
        x = x.mean((2, 3)).view(b, t, -1)
        scores = self.attn(x)
        scores[:, :, 0] = 0
        scores[:, -1] *= 0.5
        scores[scores < -0.5] = -0.5
        scores.transpose(1, 2)[:, 2:4].clamp_(max=0.3)
        x = x * scores.sigmoid_()
        out = torch.zeros(b, x.size(-1))
        for i in range(t):
            out += x[:, i]
        out /= t
        if self.training:
            self.steps += 1
        return self.fc(out)


def make_model():
    return Net()


def make_batch(random, n):
    return {"video": random.standard_normal((n, 4, 3, 4, 4)), "label": random.integers(0, 5, n)}


def compute_loss(model, video, label):
    return F.cross_entropy(model(video), label)
