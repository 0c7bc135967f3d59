"""MBConv with squeeze and excitation, in the style of a library: partials, in-place SiLU, mul_."""

from functools import partial

import torch
from torch import nn
import torch.nn.functional as F


class SqueezeExcite(nn.Module):
    def __init__(self, in_chs, rd_ratio=0.25, act_layer=nn.SiLU):
        super().__init__()
        rd_channels = max(1, int(in_chs * rd_ratio))
        self.conv_reduce = nn.Conv2d(in_chs, rd_channels, 1, bias=True)
        self.act1 = act_layer(inplace=True)
        self.conv_expand = nn.Conv2d(rd_channels, in_chs, 1, bias=True)
        self.gate = nn.Sigmoid()

    def forward(self, x):
        x_se = x.mean((2, 3), keepdim=True)
        x_se = self.conv_reduce(x_se)
        x_se = self.act1(x_se)
        x_se = self.conv_expand(x_se)
        return x * self.gate(x_se)


def drop_path(x, drop_prob: float = 0.0, training: bool = False):
    if drop_prob == 0.0 or not training:
        return x
    keep_prob = 1 - drop_prob
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    random_tensor = x.new_empty(shape).bernoulli_(keep_prob)
    return x * random_tensor.div_(keep_prob)


class MBConv(nn.Module):
    def __init__(self, in_chs, out_chs, stride=1, exp_ratio=2, norm_layer=nn.BatchNorm2d, drop_path_rate=0.0):
        super().__init__()
        mid_chs = in_chs * exp_ratio
        self.has_skip = in_chs == out_chs and stride == 1
        self.drop_path_rate = drop_path_rate
        self.conv_pw = nn.Conv2d(in_chs, mid_chs, 1, bias=False)
        self.bn1 = norm_layer(mid_chs)
        self.conv_dw = nn.Conv2d(mid_chs, mid_chs, 5, stride=stride, padding=2, groups=mid_chs, bias=False)
        self.bn2 = norm_layer(mid_chs)
        self.act = nn.SiLU(inplace=True)
        self.se = SqueezeExcite(mid_chs)
        self.conv_pwl = nn.Conv2d(mid_chs, out_chs, 1, bias=False)
        self.bn3 = norm_layer(out_chs)

    def forward(self, x):
        shortcut = x
        x = self.act(self.bn1(self.conv_pw(x)))
        x = self.act(self.bn2(self.conv_dw(x)))
        x = self.se(x)
        x = self.bn3(self.conv_pwl(x))
        if self.has_skip:
            x = drop_path(x, self.drop_path_rate, self.training)
            x = x + shortcut
        return x


class EfficientNet(nn.Module):
    def __init__(self, num_classes=6):
        super().__init__()
        norm_layer = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
        self.conv_stem = nn.Conv2d(3, 8, 3, stride=1, padding=1, bias=False)
        self.bn1 = norm_layer(8)
        self.act1 = nn.SiLU(inplace=True)
        blocks = [MBConv(8, 8, norm_layer=norm_layer), MBConv(8, 12, stride=2, norm_layer=norm_layer)]
        self.blocks = nn.Sequential(*blocks)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(12, num_classes)

    def forward_features(self, x):
        x = self.act1(self.bn1(self.conv_stem(x)))
        return self.blocks(x)

    def forward(self, x):
        x = self.forward_features(x)
        x = self.global_pool(x).flatten(1)
        return self.classifier(x)


def make_model():
    return EfficientNet()


def make_batch(random, n):
    return {"image": random.standard_normal((n, 3, 8, 8)), "label": random.integers(0, 6, n)}


def compute_loss(model, image, label):
    return F.cross_entropy(model(image), label, label_smoothing=0.1)
