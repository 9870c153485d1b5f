"""CIFAR-100-LT with stronger augmentation: AutoAugment, Cutout and a cosine schedule, 200 epochs.

uv run --group train python -m training train cifar100-lt-strong --data cifar100-lt.zip --out runs/cifar100-lt-strong
"""

from training.recipe import Recipe

RECIPE = Recipe(
    name="cifar100-lt-strong",
    schedule="cosine",
    nesterov=True,
    auto_augment=True,
    cutout=16,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)
