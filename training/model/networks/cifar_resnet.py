"""The paper's CIFAR network: ResNet-32 with two copies of the last block side by side, for 128 features.

Source: Tang, Huang & Zhang 2020, after BBN (Zhou et al., CVPR 2020, arXiv:1912.02413); ResNet for CIFAR: He et al.,
CVPR 2016. Attribute names follow the authors' checkpoints: conv1, bn1, layer1..3, cb_block, rb_block.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CifarResNet32"]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut without weights (option A: subsample, then pad channels with zeros)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.new_channels = channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, H/stride, W/stride) of (B, C_in, H, W)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1:
            x = F.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new_channels // 2, self.new_channels // 2)
            )
        return F.relu(x + y)


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


class CifarResNet32(nn.Module):
    """ResNet-32 for images of 32×32 pixels, or any size divisible by 4; gives 128 non-negative features."""

    feature_dim = 128

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 5, 1)
        self.layer2 = _stage(16, 32, 5, 2)
        self.layer3 = _stage(32, 64, 4, 2)
        self.cb_block = BasicBlock(64, 64, 1)
        self.rb_block = BasicBlock(64, 64, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Compute (B, 128) features of (B, 3, H, W) normalised images."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = torch.cat((self.cb_block(x), self.rb_block(x)), dim=1)
        return x.mean(dim=(2, 3))
