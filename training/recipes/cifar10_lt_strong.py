"""CIFAR-10-LT with stronger augmentation: AutoAugment, Cutout and a cosine schedule, 200 epochs.

uv run --group train python -m training train cifar10-lt-strong --data cifar10-lt.zip --out runs/cifar10-lt-strong
"""

from training.recipe import Recipe

RECIPE = Recipe(
    name="cifar10-lt-strong",
    schedule="cosine",
    nesterov=True,
    auto_augment=True,
    cutout=16,
)
