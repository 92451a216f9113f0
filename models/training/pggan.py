"""A progressively grown, class-conditional GAN (Karras et al. 2018): the two networks.

Fade-in, equalised learning rate, pixel norm and minibatch standard deviation as in the paper; the
label enters the generator beside the noise and the critic by projection (Miyato & Koyama 2018).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

FIRST_PX = 4
LATENT = 128
LABEL_WIDTH = 64


def levels(size_px: int) -> int:
    """Number of doublings from 4 px; ValueError if the size is not 4, 8, 16 …"""
    count = round(math.log2(size_px / FIRST_PX))
    if count < 0 or FIRST_PX * 2**count != size_px:
        raise ValueError(f"{size_px} px is not 4 px doubled some times")
    return count


def planes(level: int, width: int) -> int:
    """Feature planes at a level: halved from 32 px on, never under 16."""
    return max(16, width >> max(0, level - 2))


class EqualConv(nn.Module):
    """A convolution whose weights are scaled by He's constant at run time, not at the start."""

    def __init__(self, given: int, made: int, kernel: int, gain: float = math.sqrt(2)) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(made, given, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(made))
        self.scale = gain / math.sqrt(given * kernel * kernel)
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate."""

    def __init__(self, given: int, made: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(made, given))
        self.bias = nn.Parameter(torch.zeros(made))
        self.scale = gain / math.sqrt(given)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.scale, self.bias)


def pixel_norm(x: Tensor) -> Tensor:
    """Every pixel's (or row's) features scaled to unit mean square."""
    return x * torch.rsqrt(x.pow(2).mean(dim=1, keepdim=True) + 1e-8)


def spread_plane(x: Tensor) -> Tensor:
    """Minibatch standard deviation: one more plane that says how unlike the batch's films are."""
    spread = (x.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
    return torch.cat([x, spread.expand(x.shape[0], 1, *x.shape[2:])], dim=1)


class Generator(nn.Module):
    """Noise (B, 128) and labels (B, L) → films (B, 1, 4·2^level, 4·2^level) in about [-1, 1]."""

    def __init__(self, size_px: int, labels: int, width: int = 128) -> None:
        super().__init__()
        top = levels(size_px)
        self.label = EqualLinear(labels, LABEL_WIDTH)
        self.start = EqualLinear(LATENT + LABEL_WIDTH, planes(0, width) * FIRST_PX**2, math.sqrt(2))
        self.width = width
        self.first = EqualConv(planes(0, width), planes(0, width), 3)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    EqualConv(planes(level - 1, width), planes(level, width), 3),
                    EqualConv(planes(level, width), planes(level, width), 3),
                ]
            )
            for level in range(1, top + 1)
        )
        self.gray = nn.ModuleList(
            EqualConv(planes(level, width), 1, 1, gain=1.0) for level in range(top + 1)
        )

    def forward(self, noise: Tensor, labels: Tensor, level: int, fade: float) -> Tensor:
        """Films of a level; `fade` in [0, 1] blends it with the level below, doubled."""
        x = self.start(torch.cat([pixel_norm(noise), pixel_norm(self.label(labels))], dim=1))
        x = pixel_norm(functional.leaky_relu(x.view(x.shape[0], -1, FIRST_PX, FIRST_PX), 0.2))
        x = pixel_norm(functional.leaky_relu(self.first(x), 0.2))
        before = x
        for block in list(self.blocks)[:level]:
            before = x
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            for convolution in block:
                x = pixel_norm(functional.leaky_relu(convolution(x), 0.2))
        films: Tensor = self.gray[level](x)
        if level > 0 and fade < 1:
            below = self.gray[level - 1](before)
            below = functional.interpolate(below, scale_factor=2, mode="nearest")
            films = fade * films + (1 - fade) * below
        return films


class Critic(nn.Module):
    """Films of a level and labels → one number each, higher for films held to be real."""

    def __init__(self, size_px: int, labels: int, width: int = 128) -> None:
        super().__init__()
        top = levels(size_px)
        self.gray = nn.ModuleList(EqualConv(1, planes(level, width), 1) for level in range(top + 1))
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    EqualConv(planes(level, width), planes(level, width), 3),
                    EqualConv(planes(level, width), planes(level - 1, width), 3),
                ]
            )
            for level in range(1, top + 1)
        )
        self.last = EqualConv(planes(0, width) + 1, planes(0, width), 3)
        self.flat = EqualLinear(planes(0, width) * FIRST_PX**2, width, math.sqrt(2))
        self.score = EqualLinear(width, 1)
        self.label = EqualLinear(labels, width)

    def forward(self, films: Tensor, labels: Tensor, level: int, fade: float) -> Tensor:
        x = functional.leaky_relu(self.gray[level](films), 0.2)
        for number in range(level, 0, -1):
            for convolution in self.blocks[number - 1]:
                x = functional.leaky_relu(convolution(x), 0.2)
            x = functional.avg_pool2d(x, 2)
            if number == level and fade < 1:
                below = self.gray[level - 1](functional.avg_pool2d(films, 2))
                x = fade * x + (1 - fade) * functional.leaky_relu(below, 0.2)
        x = functional.leaky_relu(self.last(spread_plane(x)), 0.2)
        x = functional.leaky_relu(self.flat(x.flatten(1)), 0.2)
        by_label = (self.label(labels) * x).sum(dim=1) / math.sqrt(x.shape[1])
        answer: Tensor = self.score(x)[:, 0] + by_label
        return answer


def gradient_penalty(
    critic: Critic, real: Tensor, made: Tensor, labels: Tensor, level: int, fade: float, mix: Tensor
) -> Tensor:
    """WGAN-GP (Gulrajani et al. 2017): how far the critic's slope between films is from one."""
    between = (mix * real + (1 - mix) * made).requires_grad_(True)
    answer = critic(between, labels, level, fade).sum()
    (slope,) = torch.autograd.grad(answer, between, create_graph=True)
    return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
