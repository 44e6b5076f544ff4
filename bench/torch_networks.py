"""The networks of minigan/models.py in PyTorch, for comparisons of values (tests) and of speed (bench)."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm


class CNNGenerator(nn.Module):
    def __init__(self, size=32, channels=3, dim_z=128, width=1.0):
        super().__init__()
        ch = [max(1, round(c * width)) for c in (512, 256, 128, 64)]
        sizes = [size // 8, size // 4, size // 2, size]
        self.bottom = (ch[0], sizes[0], sizes[0])
        self.dense = nn.Linear(dim_z, ch[0] * sizes[0] ** 2)
        self.deconv = nn.ModuleList(
            nn.ConvTranspose2d(ch[i], ch[i + 1], 4, 2, 1, output_padding=sizes[i + 1] - 2 * sizes[i]) for i in range(3))
        self.bn = nn.ModuleList(nn.BatchNorm2d(c, eps=2e-5) for c in ch[1:])
        self.conv = nn.Conv2d(ch[3], channels, 3, 1, 1)

    def forward(self, z):
        x = self.dense(z).view(-1, *self.bottom)
        for deconv, bn in zip(self.deconv, self.bn, strict=True):
            x = F.relu(bn(deconv(x)))
        return torch.tanh(self.conv(x))


class CNNDiscriminator(nn.Module):
    def __init__(self, size=32, channels=3, width=1.0, norm=spectral_norm):
        super().__init__()
        ch = [channels] + [max(1, round(c * width)) for c in (64, 64, 128, 128, 256, 256, 512)]
        self.conv = nn.ModuleList(norm(nn.Conv2d(ch[i], ch[i + 1], (3, 4)[i % 2], (1, 2)[i % 2], 1)) for i in range(7))
        self.dense = norm(nn.Linear((size // 8) ** 2 * ch[7], 1))

    def forward(self, x):
        for conv in self.conv:
            x = F.leaky_relu(conv(x), 0.1)
        return self.dense(x.flatten(1)).flatten()


class UpBlock(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(ch, eps=2e-5), nn.BatchNorm2d(ch, eps=2e-5)
        self.conv1, self.conv2 = nn.Conv2d(ch, ch, 3, 1, 1), nn.Conv2d(ch, ch, 3, 1, 1)
        self.shortcut = nn.Conv2d(ch, ch, 1)

    def forward(self, x):
        y = self.conv1(F.interpolate(F.relu(self.bn1(x)), scale_factor=2))
        return self.conv2(F.relu(self.bn2(y))) + self.shortcut(F.interpolate(x, scale_factor=2))


class ResNetGenerator(nn.Module):
    def __init__(self, size=32, channels=3, dim_z=128, width=1.0):
        super().__init__()
        ch = max(1, round(256 * width))
        self.bottom = (ch, size // 8, size // 8)
        self.dense = nn.Linear(dim_z, ch * (size // 8) ** 2)
        self.blocks = nn.Sequential(*(UpBlock(ch) for _ in range(3)))
        self.bn = nn.BatchNorm2d(ch, eps=2e-5)
        self.conv = nn.Conv2d(ch, channels, 3, 1, 1)

    def forward(self, z):
        return torch.tanh(self.conv(F.relu(self.bn(self.blocks(self.dense(z).view(-1, *self.bottom))))))


class DownBlock(nn.Module):
    def __init__(self, n_in, n_out, first, down, norm):
        super().__init__()
        hidden = n_out if first else n_in
        self.first, self.down = first, down
        self.conv1 = norm(nn.Conv2d(n_in, hidden, 3, 1, 1))
        self.conv2 = norm(nn.Conv2d(hidden, n_out, 3, 1, 1))
        self.shortcut = norm(nn.Conv2d(n_in, n_out, 1)) if down or n_in != n_out else None

    def forward(self, x):
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.first:
            return F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2))
        short = x if self.shortcut is None else self.shortcut(x)
        return F.avg_pool2d(y, 2) + F.avg_pool2d(short, 2) if self.down else y + short


class ResNetDiscriminator(nn.Module):
    def __init__(self, size=32, channels=3, width=1.0, norm=spectral_norm):
        super().__init__()
        ch = max(1, round(128 * width))
        self.blocks = nn.Sequential(DownBlock(channels, ch, True, True, norm), DownBlock(ch, ch, False, True, norm),
                                    DownBlock(ch, ch, False, False, norm), DownBlock(ch, ch, False, False, norm))
        self.dense = norm(nn.Linear(ch, 1, bias=False))

    def forward(self, x):
        return self.dense(F.relu(self.blocks(x)).sum((2, 3))).flatten()


NETWORKS = {"cnn": (CNNGenerator, CNNDiscriminator), "resnet": (ResNetGenerator, ResNetDiscriminator)}
