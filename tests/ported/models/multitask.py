"""Several tasks over one body: ModuleDict, ParameterDict, uncertainty weights, losses in a dict."""

import torch
from torch import nn
import torch.nn.functional as F


class Body(nn.Module):
    def __init__(self, sizes, activation="relu", use_bn=True):
        super().__init__()
        activations = nn.ModuleDict([["lrelu", nn.LeakyReLU(0.1, inplace=True)], ["relu", nn.ReLU(inplace=True)]])
        layers = []
        for in_f, out_f in zip(sizes, sizes[1:]):
            layers += [nn.Linear(in_f, out_f, bias=not use_bn)]
            if use_bn:
                layers += [nn.BatchNorm1d(out_f)]
            layers += [activations[activation]]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class MultiTask(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.body = Body([10, 16, 16])
        self.heads = nn.ModuleDict({name: nn.Linear(16, width) for name, width in tasks.items()})
        self.log_vars = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in tasks})
        self.kinds = {name: "class" if width > 1 else "value" for name, width in tasks.items()}

    def forward(self, x):
        features = self.body(x)
        return {name: head(features) for name, head in self.heads.items()}

    def loss(self, outputs, targets):
        losses = {}
        for name, output in outputs.items():
            if self.kinds[name] == "class":
                losses[name] = F.cross_entropy(output, targets[name], reduction="none")
            else:
                losses[name] = F.smooth_l1_loss(output[..., 0], targets[name], reduction="none", beta=0.5)
        total = 0
        for name, loss in losses.items():
            precision = torch.exp(-self.log_vars[name])
            total += precision * loss.mean() + 0.5 * self.log_vars[name]
        return total


def make_model():
    return MultiTask({"species": 4, "age": 1, "mood": 3})


def make_batch(random, n):
    return {
        "x": random.standard_normal((n, 10)),
        "species": random.integers(0, 4, n),
        "age": random.standard_normal(n),
        "mood": random.integers(0, 3, n),
    }


def compute_loss(model, x, **targets):
    return model.loss(model(x), targets)
