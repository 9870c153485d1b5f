"""CIFAR-100-LT with stronger augmentation: AutoAugment, Cutout, a cosine schedule, 200 epochs, on small images first.

uv run --group train python -m training train cifar100-lt-strong --data cifar100-lt.zip --out runs/cifar100-lt-strong

Images of 20 and then 24 pixels cost 0.4 and 0.6 of a full one (progressive resizing), so 200 epochs cost what 130 do.
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(
    name="cifar100-lt-strong",
    batch_size=128,
    schedule="cosine",
    nesterov=True,
    auto_augment=True,
    cutout=16,
    progressive_sizes=((0, 20), (80, 24), (130, 32)),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    evaluate_every=20,
)
