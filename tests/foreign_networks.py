"""Networks as other tools have them, written in PyTorch from their description; their weights in these tools' files.

A module's names are mimicry's: its state_dict is what lies in a .pth file; `chainers` gives sngan_projection's names.
"""

import math
import re

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Normed(nn.Module):
    """Divides its weight by sigma: one power iteration from u in every forward, in evaluation, too."""

    def normalize(self, n: int) -> None:
        self.register_buffer("sn_u", torch.randn(1, n))
        self.register_buffer("sn_sigma", torch.ones(1))

    def used(self) -> torch.Tensor:
        if not hasattr(self, "sn_u"):
            return self.weight
        W = self.weight.flatten(1)
        v = F.normalize(self.sn_u @ W, eps=1e-12)
        u = F.normalize(v @ W.T, eps=1e-12)
        gamma = self.gamma.flatten() if hasattr(self, "gamma") else 1
        return gamma * self.weight / (u @ W @ v.T).flatten()


class Conv(Normed, nn.Conv2d):
    def __init__(self, n_in, n_out, kernel, norm=False):
        super().__init__(n_in, n_out, kernel, padding=kernel // 2)
        if norm:
            self.normalize(n_out)

    def forward(self, x):
        return F.conv2d(x, self.used(), self.bias, padding=self.padding)


class Dense(Normed, nn.Linear):
    def __init__(self, n_in, n_out, norm=False, bias=True):
        super().__init__(n_in, n_out, bias)
        if norm:
            self.normalize(n_out)

    def forward(self, x):
        return F.linear(x, self.used(), self.bias)


class Embed(Normed, nn.Embedding):
    def __init__(self, classes, n, norm=True):
        super().__init__(classes, n)
        if norm:
            self.normalize(classes)

    def forward(self, labels):
        return F.embedding(labels, self.used())


class ByClass(nn.Module):
    def __init__(self, n, classes, eps):
        super().__init__()
        self.bn, self.embed = nn.BatchNorm2d(n, eps, affine=False), nn.Embedding(classes, 2 * n)

    def forward(self, x, labels):
        scale, shift = self.embed(labels)[:, :, None, None].chunk(2, 1)
        return self.bn(x) * scale + shift


def bn(n, classes, eps):
    return ByClass(n, classes, eps) if classes else nn.BatchNorm2d(n, eps)


class Up(nn.Module):
    def __init__(self, n_in, n_out, classes, eps, mode):
        super().__init__()
        self.c1, self.c2, self.c_sc = Conv(n_in, n_out, 3), Conv(n_out, n_out, 3), Conv(n_in, n_out, 1)
        self.b1, self.b2, self.mode = bn(n_in, classes, eps), bn(n_out, classes, eps), mode

    def larger(self, x):
        more = {} if self.mode == "nearest" else {"align_corners": False}
        return F.interpolate(x, scale_factor=2, mode=self.mode, **more)

    def forward(self, x, *labels):
        y = self.c1(self.larger(F.relu(self.b1(x, *labels))))
        return self.c2(F.relu(self.b2(y, *labels))) + self.c_sc(self.larger(x))


class Generator(nn.Module):
    """channels: of the dense layer and of each block.  last: the first letter of the last convolution's name."""

    def __init__(self, channels, side=4, dim_z=6, classes=0, mode="bilinear", eps=1e-5, last="c"):
        super().__init__()
        self.side, n = side, len(channels) + 1
        self.l1 = Dense(dim_z, side * side * channels[0])
        for i in range(2, n):
            setattr(self, f"block{i}", Up(channels[i - 2], channels[i - 1], classes, eps, mode))
        setattr(self, f"b{n}", nn.BatchNorm2d(channels[-1], eps))
        setattr(self, f"{last}{n}", Conv(channels[-1], 3, 3))
        self.names = [f"block{i}" for i in range(2, n)], f"b{n}", f"{last}{n}"

    def forward(self, z, *labels):
        x = self.l1(z).view(len(z), -1, self.side, self.side)
        for name in self.names[0]:
            x = getattr(self, name)(x, *labels)
        return torch.tanh(getattr(self, self.names[2])(F.relu(getattr(self, self.names[1])(x))))


class Down(nn.Module):
    def __init__(self, n_in, n_out, norm, first, down):
        super().__init__()
        hidden = n_out if first else n_in
        self.c1, self.c2 = Conv(n_in, hidden, 3, norm), Conv(hidden, n_out, 3, norm)
        if first or down or n_in != n_out:
            self.c_sc = Conv(n_in, n_out, 1, norm)
        self.first, self.down = first, down

    def forward(self, x):
        y = self.c2(F.relu(self.c1(x if self.first else F.relu(x))))
        if self.first:
            return F.avg_pool2d(y, 2) + self.c_sc(F.avg_pool2d(x, 2))
        y = y + (self.c_sc(x) if hasattr(self, "c_sc") else x)
        return F.avg_pool2d(y, 2) if self.down else y


class Discriminator(nn.Module):
    """channels: of each block, the first `halvings` of which halve the size.  concat: the label joins after block 3."""

    def __init__(self, channels, halvings, classes=0, norm=True, bias=True, pool="sum", concat=0, last=None):
        super().__init__()
        ins = [3, *channels]
        ins[3] += concat
        for i, n in enumerate(channels):
            setattr(self, f"block{i + 1}", Down(ins[i], n, norm, i == 0, i < halvings))
        self.end = last or f"l{len(channels) + 1}"
        setattr(self, self.end, Dense(channels[-1], 1, norm, bias))
        if classes:
            self.l_y = Embed(classes, concat or channels[-1], norm)
        self.blocks, self.pool, self.concat = len(channels), pool, concat

    def forward(self, x, *labels):
        for i in range(self.blocks):
            if self.concat and i == 3:
                maps = self.l_y(*labels)[:, :, None, None]
                x = torch.cat([x, maps.expand(-1, -1, *x.shape[2:])], 1)
            x = getattr(self, f"block{i + 1}")(x)
        h = getattr(torch, self.pool)(F.relu(x), (2, 3))
        y = getattr(self, self.end)(h)[:, 0]
        return y + (self.l_y(*labels) * h).sum(1) if labels and not self.concat else y


def stirred(network, seed):
    """In evaluation, with weights of a size that lets numbers through, and moments that are no one's beginning."""
    rng = np.random.default_rng(seed)
    for name, a in network.state_dict().items():
        if a.ndim > 1 and not name.endswith(("sn_u", "embed.weight")):
            a.copy_(torch.tensor(rng.standard_normal(a.shape) * math.sqrt(2 / math.prod(a.shape[1:]))))
        elif name.endswith("running_var"):
            a.copy_(torch.tensor(rng.uniform(0.5, 2, a.shape)))
        elif a.is_floating_point() and "sigma" not in name:
            a.copy_(torch.tensor(rng.standard_normal(a.shape) * 0.3 + ("b1" in name or "b2" in name)))
    return network.eval()


# ---- files ---------------------------------------------------------------------------------------------------------

def checkpoint(network, path, zipped=True, **more):
    """A .pth file as mimicry saves it, with the state of an optimizer that has taken a step."""
    optimizer = torch.optim.Adam(network.parameters(), 2e-4, (0.0, 0.9))
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.save({"model_state_dict": network.state_dict() | more, "optimizer_state_dict": optimizer.state_dict(),
                "global_step": 100_000}, path, _use_new_zipfile_serialization=zipped)
    return path


CHAINERS = {"weight": "W", "bias": "b", "sn_u": "u", "running_mean": "avg_mean", "running_var": "avg_var",
            "num_batches_tracked": "N", "gamma": "gamma"}


def chainers(network):
    """A network's arrays under the names of sngan_projection."""
    found = {}
    for name, a in network.state_dict().items():
        *path, what = name.replace(".bn.", ".").split(".")
        a = a.numpy()
        if what == "sn_sigma":
            continue
        if path[-1] == "embed":
            for half, part in zip(("gammas", "betas"), np.split(a, 2, 1), strict=True):
                found["/".join([*path[:-1], half, "W"])] = part
        elif re.fullmatch(r"b\d+", path[-1]):
            named = {"weight": "gamma", "bias": "beta"} | {k: v for k, v in CHAINERS.items() if k[0] in "rn"}
            found["/".join([*path, named[what]])] = a
        else:
            found["/".join([*path, CHAINERS[what]])] = a
    return found


def snapshot(path, **arrays):
    """An .npz file as Chainer writes it: compressed, names with slashes."""
    np.savez_compressed(path, **arrays)
    return path
