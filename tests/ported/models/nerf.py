"""A radiance field: positional encoding in a loop, skips, volume rendering by running products."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def positional_encoding(x, num_freqs=3):
    out = [x]
    for freq in 2.0 ** torch.linspace(0.0, num_freqs - 1, steps=num_freqs):
        for fn in [torch.sin, torch.cos]:
            out.append(fn(x * freq))
    return torch.cat(out, -1)


class NeRF(nn.Module):
    def __init__(self, D=3, W=16, input_ch=21, skips=(1,)):
        super().__init__()
        self.skips = skips
        self.pts_linears = nn.ModuleList(
            [nn.Linear(input_ch, W)] + [nn.Linear(W, W) if i not in self.skips else nn.Linear(W + input_ch, W) for i in range(D - 1)])
        self.alpha_linear = nn.Linear(W, 1)
        self.rgb_linear = nn.Linear(W, 3)

    def forward(self, pts):
        input_pts = positional_encoding(pts)
        h = input_pts
        for i, l in enumerate(self.pts_linears):
            h = self.pts_linears[i](h)
            h = F.relu(h)
            if i in self.skips:
                h = torch.cat([input_pts, h], -1)
        return torch.cat([self.rgb_linear(h), self.alpha_linear(h)], -1)


def raw2outputs(raw, z_vals, rays_d):
    raw2alpha = lambda raw, dists, act_fn=F.softplus: 1.0 - torch.exp(-act_fn(raw) * dists)
    dists = z_vals[..., 1:] - z_vals[..., :-1]
    dists = torch.cat([dists, torch.tensor([1e1]).expand(dists[..., :1].shape)], -1)
    dists = dists * torch.norm(rays_d[..., None, :], dim=-1)
    rgb = torch.sigmoid(raw[..., :3])
    alpha = raw2alpha(raw[..., 3], dists)
    weights = alpha * torch.cumprod(torch.cat([torch.ones((alpha.shape[0], 1)), 1.0 - alpha + 1e-10], -1), -1)[:, :-1]
    rgb_map = torch.sum(weights[..., None] * rgb, -2)
    depth_map = torch.sum(weights * z_vals, -1)
    acc_map = torch.sum(weights, -1)
    rgb_map = rgb_map + (1.0 - acc_map[..., None])
    return rgb_map, depth_map


def make_model():
    return NeRF()


def make_batch(random, n):
    return {
        "rays_o": random.standard_normal((n, 3)),
        "rays_d": random.standard_normal((n, 3)),
        "target": random.uniform(0, 1, (n, 3)),
    }


def compute_loss(model, rays_o, rays_d, target):
    near, far, n_samples = 0.5, 2.0, 5
    t_vals = torch.linspace(0.0, 1.0, steps=n_samples)
    z_vals = near * (1.0 - t_vals) + far * (t_vals)
    z_vals = z_vals.expand([rays_o.shape[0], n_samples])
    pts = rays_o[..., None, :] + rays_d[..., None, :] * z_vals[..., :, None]
    raw = model(pts)
    rgb, depth = raw2outputs(raw, z_vals, rays_d)
    return torch.mean((rgb - target) ** 2)
