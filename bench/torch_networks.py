"""minigan/networks in PyTorch, for comparisons of values (tests) and of speed (bench)."""

from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm


def scaled(channels, width):
    return [max(1, round(c * width)) for c in channels]


class CNNGenerator(nn.Module):
    def __init__(self, size=32, channels=3, dim_z=128, width=1.0, code=False):
        super().__init__()
        ch = scaled((512, 256, 128, 64), width)
        sizes = [size // 8, size // 4, size // 2, size]
        self.bottom = (ch[0], sizes[0], sizes[0])
        self.dense = nn.Linear(dim_z, ch[0] * sizes[0] ** 2)
        self.first = nn.BatchNorm1d(ch[0] * sizes[0] ** 2, eps=2e-5) if code else None
        self.deconv = nn.ModuleList(
            nn.ConvTranspose2d(ch[i], ch[i + 1], 4, 2, 1, output_padding=sizes[i + 1] - 2 * sizes[i]) for i in range(3))
        self.bn = nn.ModuleList(nn.BatchNorm2d(c, eps=2e-5) for c in ch[1:])
        if code:
            self.deconv.append(nn.ConvTranspose2d(ch[3], channels, 3, 1, 1))
        else:
            self.conv = nn.Conv2d(ch[3], channels, 3, 1, 1)

    def forward(self, z):
        x = self.dense(z)
        x = (x if self.first is None else F.relu(self.first(x))).view(-1, *self.bottom)
        for deconv, bn in zip(self.deconv, self.bn, strict=False):
            x = F.relu(bn(deconv(x)))
        return torch.tanh(self.conv(x) if self.first is None else self.deconv[3](x))


class CNNDiscriminator(nn.Module):
    def __init__(self, size=32, channels=3, width=1.0, norm=spectral_norm, hidden=(64, 64, 128, 128, 256, 256, 512),
                 slope=0.1):
        super().__init__()
        self.slope = slope
        ch = [channels, *scaled(hidden, width)]
        self.conv = nn.ModuleList(norm(nn.Conv2d(ch[i], ch[i + 1], (3, 4)[i % 2], (1, 2)[i % 2], 1)) for i in range(7))
        self.dense = norm(nn.Linear((size // 8) ** 2 * ch[7], 1))

    def forward(self, x):
        for conv in self.conv:
            x = F.leaky_relu(conv(x), self.slope)
        return self.dense(x.flatten(1)).flatten()


class DCGANGenerator(nn.Module):
    """As an image of 1 x 1 pixels with dim_z channels that only transposed convolutions enlarge."""

    def __init__(self, size=64, channels=3, dim_z=100, width=1.0, hidden=(512, 256, 128, 64)):
        super().__init__()
        ch = [*scaled(hidden, width), channels]
        self.dense = nn.ConvTranspose2d(dim_z, ch[0], size >> len(hidden), 1, 0, bias=False)
        self.first = nn.BatchNorm2d(ch[0], eps=2e-5)
        self.deconv = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False) for a, b in pairwise(ch))
        self.bn = nn.ModuleList(nn.BatchNorm2d(c, eps=2e-5) for c in ch[1:-1])

    def forward(self, z):
        x = F.relu(self.first(self.dense(z[:, :, None, None])))
        for deconv, bn in zip(self.deconv, self.bn, strict=False):
            x = F.relu(bn(deconv(x)))
        return torch.tanh(self.deconv[-1](x))


class DCGANDiscriminator(nn.Module):
    """Convolutions down to one number; BN after all but the first and the last."""

    def __init__(self, size=64, channels=3, width=1.0, norm=spectral_norm, hidden=(64, 128, 256, 512)):
        super().__init__()
        ch = [channels, *scaled(hidden, width)]
        self.conv = nn.ModuleList(norm(nn.Conv2d(a, b, 4, 2, 1, bias=False)) for a, b in pairwise(ch))
        self.norm = nn.ModuleList(nn.BatchNorm2d(c, eps=2e-5) for c in ch[2:])
        self.dense = norm(nn.Conv2d(ch[-1], 1, size >> len(hidden), 1, 0, bias=False))

    def forward(self, x):
        x = F.leaky_relu(self.conv[0](x), 0.2)
        for conv, bn in zip(self.conv[1:], self.norm, strict=True):
            x = F.leaky_relu(bn(conv(x)), 0.2)
        return self.dense(x).flatten()


class MNISTGenerator(nn.Module):
    def __init__(self, size=28, channels=1, dim_z=100, width=1.0):
        super().__init__()
        ch, side = [*scaled((128, 64), width), channels], size // 4
        self.bottom = (ch[0], side, side)
        self.dense = nn.Linear(dim_z, ch[0] * side ** 2)
        self.first = nn.BatchNorm1d(ch[0] * side ** 2, eps=2e-5)
        self.deconv = nn.ModuleList(nn.ConvTranspose2d(a, b, 5, 2, 2, 1) for a, b in pairwise(ch))
        self.bn = nn.ModuleList([nn.BatchNorm2d(ch[1], eps=2e-5)])

    def forward(self, z):
        x = self.first(F.leaky_relu(self.dense(z), 0.2)).view(-1, *self.bottom)
        x = self.bn[0](F.leaky_relu(self.deconv[0](x), 0.2))
        return 2 * torch.sigmoid(self.deconv[1](x)) - 1


class MNISTDiscriminator(nn.Module):
    def __init__(self, size=28, channels=1, width=1.0, norm=spectral_norm):
        super().__init__()
        ch = [channels, *scaled((64, 128, 256), width)]
        self.conv = nn.ModuleList(norm(nn.Conv2d(a, b, 5, 2, 2, bias=False)) for a, b in pairwise(ch))
        self.dense = norm(nn.Linear(((size + 7) // 8) ** 2 * ch[3], 1, bias=False))

    def forward(self, x):
        x = (x + 1) / 2
        for conv in self.conv:
            x = F.leaky_relu(conv(x), 0.2)
        return self.dense(x.flatten(1)).flatten()


class ConditionalBatchNorm(nn.BatchNorm2d):
    def __init__(self, channels, classes):
        super().__init__(channels, eps=2e-5, affine=False)
        self.weight = nn.Parameter(torch.ones(classes, channels))
        self.bias = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, x, labels):
        x = F.batch_norm(x, self.running_mean, self.running_var, None, None, self.training, self.momentum, self.eps)
        return x * self.weight[labels][:, :, None, None] + self.bias[labels][:, :, None, None]


class UpBlock(nn.Module):
    def __init__(self, n_in, n_out, classes):
        super().__init__()
        self.bn1, self.bn2 = (ConditionalBatchNorm(n, classes) if classes else nn.BatchNorm2d(n, eps=2e-5)
                              for n in (n_in, n_out))
        self.conv1, self.conv2 = nn.Conv2d(n_in, n_out, 3, 1, 1), nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.shortcut = nn.Conv2d(n_in, n_out, 1)

    def forward(self, x, *labels):
        y = self.conv1(F.interpolate(F.relu(self.bn1(x, *labels)), scale_factor=2))
        return self.conv2(F.relu(self.bn2(y, *labels))) + self.shortcut(F.interpolate(x, scale_factor=2))


class ResNetGenerator(nn.Module):
    def __init__(self, size=32, channels=3, dim_z=128, width=1.0, hidden=(256, 256, 256, 256), classes=0):
        super().__init__()
        ch = scaled(hidden, width)
        side = size // 2 ** (len(ch) - 1)
        self.bottom = (ch[0], side, side)
        self.dense = nn.Linear(dim_z, ch[0] * side ** 2)
        self.blocks = nn.ModuleList(UpBlock(ch[i], ch[i + 1], classes) for i in range(len(ch) - 1))
        self.bn = nn.BatchNorm2d(ch[-1], eps=2e-5)
        self.conv = nn.Conv2d(ch[-1], channels, 3, 1, 1)

    def forward(self, z, *labels):
        x = self.dense(z).view(-1, *self.bottom)
        for block in self.blocks:
            x = block(x, *labels)
        return torch.tanh(self.conv(F.relu(self.bn(x))))


class DownBlock(nn.Module):
    def __init__(self, n_in, n_out, first, down, norm, wide=False):
        super().__init__()
        hidden = n_out if first or wide else n_in
        self.first, self.down = first, down
        self.conv1 = norm(nn.Conv2d(n_in, hidden, 3, 1, 1))
        self.conv2 = norm(nn.Conv2d(hidden, n_out, 3, 1, 1))
        self.shortcut = norm(nn.Conv2d(n_in, n_out, 1)) if down or wide or n_in != n_out else None

    def forward(self, x):
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.first:
            return F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2))
        short = x if self.shortcut is None else self.shortcut(x)
        return F.avg_pool2d(y, 2) + F.avg_pool2d(short, 2) if self.down else y + short


class ResNetDiscriminator(nn.Module):
    def __init__(self, size=32, channels=3, width=1.0, norm=spectral_norm, hidden=(128, 128, 128, 128), halvings=2,
                 mean=False, bias=False, wide=False, classes=0, condition="", join=2):
        super().__init__()
        ch, joined = [channels, *scaled(hidden, width)], scaled([128], width)[0] if condition == "concat" else 0
        self.mean, self.condition, self.join = mean, condition, join
        self.blocks = nn.ModuleList(
            DownBlock(ch[i] + (joined if i == join else 0), ch[i + 1], i == 0, i < halvings, norm, wide)
            for i in range(len(hidden)))
        self.dense = norm(nn.Linear(ch[-1], 1, bias=bias))
        if condition in ("projection", "concat"):
            self.embed = norm(nn.Embedding(classes, joined or ch[-1]))
        elif condition == "ac":
            self.classify = norm(nn.Linear(ch[-1], classes))

    def forward(self, x, labels=None):
        for i, block in enumerate(self.blocks):
            if self.condition == "concat" and i == self.join:
                maps = self.embed(labels)[:, :, None, None]
                x = torch.cat([x, maps.expand(-1, -1, *x.shape[2:])], 1)
            x = block(x)
        h = (torch.mean if self.mean else torch.sum)(F.relu(x), (2, 3))
        y = self.dense(h).flatten()
        if self.condition == "projection":
            y = y + (self.embed(labels) * h).sum(1)
        return (y, self.classify(h)) if self.condition == "ac" else y


STL, IMAGENET = (64, 128, 256, 512, 1024), (64, 128, 256, 512, 1024, 1024)
LARGE = partial(ResNetGenerator, hidden=(1024, 1024, 512, 256, 128, 64))
NETWORKS = {
    "cnn": (CNNGenerator, CNNDiscriminator),
    "cnn-code": (partial(CNNGenerator, code=True),
                 partial(CNNDiscriminator, hidden=(64, 128, 128, 256, 256, 512, 512), slope=0.2)),
    "cnn-bssn": (partial(CNNGenerator, code=True), CNNDiscriminator),
    "resnet": (ResNetGenerator, ResNetDiscriminator),
    "resnet-stl": (partial(ResNetGenerator, hidden=(512, 256, 128, 64)),
                   partial(ResNetDiscriminator, hidden=STL, halvings=4, bias=True, join=3)),
    "resnet-64": (partial(ResNetGenerator, hidden=(1024, 512, 256, 128, 64)),
                  partial(ResNetDiscriminator, hidden=STL, halvings=5, bias=True, join=3)),
    "resnet-imagenet": (LARGE, partial(ResNetDiscriminator, hidden=IMAGENET, halvings=5, bias=True, join=3)),
    "resnet-bssn": (LARGE, partial(ResNetDiscriminator, hidden=IMAGENET, halvings=5, bias=True, join=3, wide=True)),
    "dcgan": (DCGANGenerator, DCGANDiscriminator),
    "dcgan-32": (partial(DCGANGenerator, hidden=(512, 256, 128)), partial(DCGANDiscriminator, hidden=(128, 256, 512))),
    "mnist-bssn": (MNISTGenerator, MNISTDiscriminator),
    "resnet-wgan-gp": (partial(ResNetGenerator, hidden=(128,) * 4), partial(ResNetDiscriminator, mean=True, bias=True)),
}
