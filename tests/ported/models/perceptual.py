"""Super-resolution with a perceptual loss: hooks collect features of a frozen network, pixel shuffle."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ESPCN(nn.Module):
    def __init__(self, upscale_factor=2, channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(8, channels * (upscale_factor ** 2), kernel_size=3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)
        self._initialize_weights()

    def _initialize_weights(self):
        nn.init.orthogonal_(self.conv1.weight, nn.init.calculate_gain("tanh"))
        nn.init.orthogonal_(self.conv2.weight)

    def forward(self, x):
        upsampled = F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
        x = torch.tanh(self.conv1(x))
        x = self.pixel_shuffle(self.conv2(x))
        return x.add_(upsampled)


class FeatureExtractor(nn.Module):
    def __init__(self, layers=("1", "4")):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=False), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=False),
        )
        for p in self.net.parameters():
            p.requires_grad = False
        self._features = {layer: None for layer in layers}
        self.handles = []
        for layer_id in layers:
            layer = dict([*self.net.named_modules()])[layer_id]
            self.handles.append(layer.register_forward_hook(self.save_outputs_hook(layer_id)))
        self.net[0].register_forward_pre_hook(lambda module, args: ((args[0] - 0.1) / 0.9,))

    def save_outputs_hook(self, layer_id):
        def fn(module, input, output):
            self._features[layer_id] = output
        return fn

    def forward(self, x):
        _ = self.net(x)
        return dict(self._features)


class Perceptual(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = ESPCN()
        self.vgg = FeatureExtractor().eval()

    def forward(self, lr, hr):
        sr = self.model(lr)
        with torch.no_grad():
            wanted = self.vgg(hr)
        found = self.vgg(sr)
        loss = F.l1_loss(sr, hr)
        for key in found:
            loss += 0.1 * F.mse_loss(found[key], wanted[key])
        return loss


def make_model():
    return Perceptual()


def make_batch(random, n):
    return {"lr": random.standard_normal((n, 3, 4, 4)), "hr": random.standard_normal((n, 3, 8, 8))}


def compute_loss(model, lr, hr):
    return model(lr, hr)
