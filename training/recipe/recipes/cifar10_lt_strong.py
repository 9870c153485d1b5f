"""CIFAR-10-LT with stronger augmentation: AutoAugment, Cutout, a cosine schedule, 200 epochs, on small images first.

uv run --group train python -m training train cifar10-lt-strong --data cifar10-lt.zip --out runs/cifar10-lt-strong

Images of 20 and then 24 pixels cost 0.4 and 0.6 of a full one (progressive resizing), so 200 epochs cost what 130 do.
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(
    name="cifar10-lt-strong",
    batch_size=128,
    schedule="cosine",
    nesterov=True,
    auto_augment=True,
    cutout=16,
    progressive_sizes=((0, 20), (80, 24), (130, 32)),
    evaluate_every=20,
)
