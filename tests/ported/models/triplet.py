"""A siamese network with three kinds of pooling, weight norm by hand, a triplet loss."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class GeM(nn.Module):
    def __init__(self, p=3, eps=1e-6):
        super(GeM, self).__init__()
        self.p = nn.Parameter(torch.ones(1) * p)
        self.eps = eps

    def forward(self, x):
        return F.avg_pool2d(x.clamp(min=self.eps).pow(self.p), (x.size(-2), x.size(-1))).pow(1.0 / self.p)

    def __repr__(self):
        return self.__class__.__name__ + "(p=" + "{:.4f}".format(self.p.data.tolist()[0]) + ")"


class WeightNormLinear(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        v = torch.empty(out_features, in_features)
        nn.init.kaiming_uniform_(v, a=5 ** 0.5)
        self.weight_v = nn.Parameter(v)
        self.weight_g = nn.Parameter(v.norm(dim=1, keepdim=True))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x):
        w = self.weight_g * self.weight_v / self.weight_v.norm(dim=1, keepdim=True)
        return F.linear(x, w, self.bias)


class EmbeddingNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.convnet = nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.PReLU(), nn.MaxPool2d(2, stride=2),
            nn.Conv2d(6, 8, 2), nn.InstanceNorm2d(8, affine=True), nn.PReLU(8),
        )
        self.pool = GeM()
        self.fc = WeightNormLinear(16, 6)

    def forward(self, x):
        output = self.convnet(x)
        mx = output.amax(dim=(2, 3))
        gm = torch.flatten(self.pool(output), 1)
        return F.normalize(self.fc(torch.cat([mx, gm], 1)), p=2, dim=1)


class TripletNet(nn.Module):
    def __init__(self, embedding_net):
        super().__init__()
        self.embedding_net = embedding_net

    def forward(self, x1, x2, x3):
        output = self.embedding_net(torch.cat([x1, x2, x3]))
        return output.chunk(3)


def make_model():
    return TripletNet(EmbeddingNet())


def make_batch(random, n):
    return {name: random.standard_normal((n, 1, 8, 8)) for name in ("anchor", "positive", "negative")}


def compute_loss(model, anchor, positive, negative):
    a, p, n = model(anchor, positive, negative)
    distance_positive = (a - p).pow(2).sum(1)
    distance_negative = (a - n).pow(2).sum(1)
    losses = F.relu(distance_positive - distance_negative + 0.4)
    return losses.mean() + F.triplet_margin_loss(a, p, n, margin=0.3)
