"""WaveNet: causal dilated convolutions, gated units, a sum of skips."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalConv1d(nn.Conv1d):
    def __init__(self, in_channels, out_channels, kernel_size, dilation=1, **kwargs):
        self._left_padding = (kernel_size - 1) * dilation
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation, **kwargs)

    def forward(self, input):
        return super().forward(F.pad(input, (self._left_padding, 0)))


class ResidualBlock(nn.Module):
    def __init__(self, res_channels, skip_channels, dilation):
        super().__init__()
        self.dilated = CausalConv1d(res_channels, 2 * res_channels, 2, dilation=dilation)
        self.conv_res = nn.Conv1d(res_channels, res_channels, 1)
        self.conv_skip = nn.Conv1d(res_channels, skip_channels, 1)

    def forward(self, x, skip_size):
        output = self.dilated(x)
        filter, gate = torch.split(output, output.size(1) // 2, dim=1)
        gated = torch.tanh(filter) * torch.sigmoid(gate)
        output = self.conv_res(gated)
        output += x[:, :, -output.size(2):]
        skip = self.conv_skip(gated)
        skip = skip[:, :, -skip_size:]
        return output, skip


class WaveNet(nn.Module):
    def __init__(self, layer_size=3, in_channels=10, res_channels=8):
        super().__init__()
        self.in_channels = in_channels
        self.causal = CausalConv1d(in_channels, res_channels, 2, bias=False)
        self.blocks = nn.ModuleList([ResidualBlock(res_channels, in_channels, 2 ** i) for i in range(layer_size)])
        self.conv1 = nn.Conv1d(in_channels, in_channels, 1)
        self.conv2 = nn.Conv1d(in_channels, in_channels, 1)

    def forward(self, x):
        x = F.one_hot(x, self.in_channels).float().transpose(1, 2)
        output = self.causal(x)
        skip_connections = []
        for block in self.blocks:
            output, skip = block(output, 8)
            skip_connections.append(skip)
        output = torch.sum(torch.stack(skip_connections), dim=0)
        output = self.conv1(F.relu(output))
        return self.conv2(F.relu(output))


def make_model():
    return WaveNet()


def make_batch(random, n):
    samples = random.integers(0, 10, (n, 13))
    return {"x": samples[:, :-1], "y": samples[:, -8:]}


def compute_loss(model, x, y):
    return F.cross_entropy(model(x), y)
