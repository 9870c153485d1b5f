"""The authors' networks and classifier, reimplemented from the paper and the layout of their checkpoints.

This module does not use `training/model/`, so imported bundles can be compared with it. Weights are random, and the
batch normalisation statistics come from a batch of noise. Checkpoints are written like the authors' `save_latest` and
`save_model`: DataParallel around the state dicts, the running mean as a NumPy array.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Authors", "ResNet", "resnet", "resnet32"]


def conv(inside: int, outside: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False)


class Block(nn.Module):
    """A residual block of two 3x3 convolutions, or of 1x1, 3x3 in groups, 1x1; `shortcut` makes the residual fit."""

    def __init__(self, inside: int, outside: int, stride: int, shortcut: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.conv1 = conv(inside, outside, 3, stride)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = conv(outside, outside, 3)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    def __init__(self, inside: int, planes: int, stride: int, groups: int, width: int, shortcut: Any) -> None:
        super().__init__()
        inner = planes * width // 64 * groups
        self.conv1 = conv(inside, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv(inner, inner, 3, stride, groups)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = conv(inner, 4 * planes, 1)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """For 224 pixels: 7x7 convolution, pooling, four stages, the mean of 7x7 positions."""

    def __init__(self, blocks: tuple[int, ...], *, bottleneck: bool, groups: int = 1, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inside = 64
        factor = 4 if bottleneck else 1
        for stage, count in enumerate(blocks):
            layers = []
            for index in range(count):
                planes = 64 * 2**stage
                stride = 2 if stage > 0 and index == 0 else 1
                outside = planes * factor
                fits = stride == 1 and inside == outside
                shortcut = None if fits else nn.Sequential(conv(inside, outside, 1, stride), nn.BatchNorm2d(outside))
                layers.append(
                    Bottleneck(inside, planes, stride, groups, width, shortcut)
                    if bottleneck
                    else Block(inside, outside, stride, shortcut)
                )
                inside = outside
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return nn.functional.avg_pool2d(x, 7, 1).flatten(1)


class ResNet32(nn.Module):
    """For 32 pixels: three stages of 5, 5 and 4 blocks, then two blocks side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv(3, 16, 3)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1, None) for _ in range(5)))
        self.layer2 = nn.Sequential(Block(16, 32, 2, self.widen), *(Block(32, 32, 1, None) for _ in range(4)))
        self.layer3 = nn.Sequential(Block(32, 64, 2, self.widen), *(Block(64, 64, 1, None) for _ in range(3)))
        self.cb_block = Block(64, 64, 1, None)
        self.rb_block = Block(64, 64, 1, None)

    @staticmethod
    def widen(x: Tensor) -> Tensor:
        """Every second position; half as many channels of zeros before and after."""
        x = x[:, :, ::2, ::2]
        zeros = torch.zeros_like(x[:, : x.shape[1] // 2])
        return torch.cat((zeros, x, zeros), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        both = torch.cat((self.cb_block(x), self.rb_block(x)), dim=1)
        return nn.functional.adaptive_avg_pool2d(both, 1).flatten(1)


class Authors:
    """A network with random weights, a classifier, and the running mean of its features."""

    def __init__(self, network: nn.Module, width: int, classes: int, side: int, batch: int = 8) -> None:
        self.network = network
        self.side = side
        generator = torch.Generator().manual_seed(0)
        self.weight = (torch.rand(classes, width, generator=generator) * 2 - 1) * (10 / width**0.5)
        noise = torch.randn(batch, 3, side, side, generator=generator)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.uniform_(module.bias, -0.5, 0.5, generator=generator)
        with torch.inference_mode():
            network.train()(noise)
            self.embed = np.zeros(width, np.float32)
            for features in (network.eval()(noise[: batch // 2]), network(noise[batch // 2 :])):
                self.embed = 0.9 * self.embed + features.mean(0).numpy()

    @torch.inference_mode()
    def tde(
        self, pixels: NDArray[np.uint8], mean: Any, std: Any, alpha: float, heads: int = 2, tau: float = 16.0,
        gamma: float = 1 / 32,
    ) -> NDArray[np.float32]:  # fmt: skip
        """(B, H, W, 3) uint8 -> (B, C): per head, the feature's direction less alpha times its part along the mean."""
        images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - colour(mean)) / colour(std)
        total = torch.zeros(len(pixels), len(self.weight))
        parts = (self.network(images), self.weight, torch.from_numpy(self.embed)[None])
        for feature, weight, mean_part in zip(*(part.chunk(heads, dim=1) for part in parts), strict=True):
            x, c = (vector / vector.norm(dim=1, keepdim=True) for vector in (feature, mean_part))
            w = weight / (weight.norm(dim=1, keepdim=True) + gamma)
            total += tau / heads * (x - alpha * (x @ c.T) * c) @ w.T
        return total.numpy()

    def state_dict(self) -> dict[str, Any]:
        """As of `{name: DataParallel(network).state_dict()}`."""
        classifier = nn.Module()
        classifier.weight = nn.Parameter(self.weight)
        networks = {"feat_model": self.network, "classifier": classifier}
        return {name: nn.DataParallel(module).state_dict() for name, module in networks.items()}

    def latest(self, **changes: Any) -> dict[str, Any]:
        return {"epoch": 200, "state_dict": self.state_dict(), "embed": self.embed} | changes

    def save_latest(self, path: Path, **options: Any) -> Path:
        torch.save(self.latest(), path, **options)
        return path

    def save_best(self, path: Path) -> Path:
        best = {"epoch": 90, "best_epoch": 87, "state_dict_best": self.state_dict(), "best_acc": np.float64(0.5)}
        torch.save(best | {"embed": self.embed}, path)
        return path


def colour(numbers: Any) -> Tensor:
    return torch.tensor(numbers).view(1, 3, 1, 1)


def resnet32(classes: int, side: int = 32) -> Authors:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Authors(ResNet32(), 128, classes, side)


def resnet(blocks: tuple[int, ...], classes: int, **options: Any) -> Authors:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Authors(ResNet(blocks, **options), 2048 if options["bottleneck"] else 512, classes, 224, batch=4)
