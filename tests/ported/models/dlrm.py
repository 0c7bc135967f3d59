"""A recommender: one embedding per feature, pairwise products, the lower triangle by index."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class DLRM(nn.Module):
    def create_mlp(self, ln, sigmoid_layer):
        layers = nn.ModuleList()
        for i in range(0, len(ln) - 1):
            n, m = ln[i], ln[i + 1]
            LL = nn.Linear(int(n), int(m), bias=True)
            layers.append(LL)
            if i == sigmoid_layer:
                layers.append(nn.Sigmoid())
            else:
                layers.append(nn.ReLU())
        return torch.nn.Sequential(*layers)

    def __init__(self, m_spa=8, ln_emb=(7, 5, 9)):
        super(DLRM, self).__init__()
        self.emb_l = nn.ModuleList()
        for n in ln_emb:
            EE = nn.Embedding(n, m_spa)
            nn.init.uniform_(EE.weight, -(1 / n) ** 0.5, (1 / n) ** 0.5)
            self.emb_l.append(EE)
        self.bot_l = self.create_mlp([4, 16, m_spa], -1)
        ni = len(ln_emb) + 1
        self.top_l = self.create_mlp([m_spa + ni * (ni - 1) // 2, 8, 1], 1)

    def apply_emb(self, lS_i, emb_l):
        return [E(lS_i[:, k]) for k, E in enumerate(emb_l)]

    def interact_features(self, x, ly):
        (batch_size, d) = x.shape
        T = torch.cat([x] + ly, dim=1).view((batch_size, -1, d))
        Z = torch.bmm(T, torch.transpose(T, 1, 2))
        _, ni, nj = Z.shape
        li = torch.tensor([i for i in range(ni) for j in range(i)])
        lj = torch.tensor([j for i in range(nj) for j in range(i)])
        Zflat = Z[:, li, lj]
        R = torch.cat([x] + [Zflat], dim=1)
        return R

    def forward(self, dense_x, lS_i):
        x = self.bot_l(dense_x)
        ly = self.apply_emb(lS_i, self.emb_l)
        z = self.interact_features(x, ly)
        p = self.top_l(z)
        return torch.clamp(p, min=1e-4, max=1 - 1e-4)


def make_model():
    return DLRM()


def make_batch(random, n):
    return {
        "dense_x": random.standard_normal((n, 4)),
        "lS_i": random.integers(0, 5, (n, 3)),
        "target": random.integers(0, 2, (n, 1)),
    }


def compute_loss(model, dense_x, lS_i, target):
    return nn.BCELoss(reduction="mean")(model(dense_x, lS_i), target.float())
